//! all-MiniLM-L6-v2 in nnc's own layers: BERT's encoder, and the mean over the words of a sentence.

use std::path::{Path, PathBuf};

use nnc::prelude::*;
use serde::Deserialize;
use tokenizers::{Tokenizer, TruncationParams};

/// What of `config.json` decides the shape of the model.
#[derive(Deserialize)]
struct Config {
    hidden_size: usize,
    intermediate_size: usize,
    layer_norm_eps: f64,
    max_position_embeddings: usize,
    num_attention_heads: usize,
    num_hidden_layers: usize,
    type_vocab_size: usize,
    vocab_size: usize,
}

/// The network: words to a unit vector.
#[derive(Module)]
pub(crate) struct MiniLm {
    word_embeddings: Embedding,
    position_embeddings: Embedding,
    token_type_embeddings: Embedding,
    norm: LayerNorm,
    encoder: TransformerEncoder,
}

/// How BERT's files call the parameters, and how nnc does.
const NAMES: &[(&str, &str)] = &[
    ("embeddings.LayerNorm.*", "norm.*"),
    ("embeddings.*.weight", "*.weight"),
    ("encoder.layer.*.attention.output.dense.*", "encoder.layers.*.self_attn.out_proj.*"),
    ("encoder.layer.*.attention.output.LayerNorm.*", "encoder.layers.*.norm1.*"),
    ("encoder.layer.*.intermediate.dense.*", "encoder.layers.*.linear1.*"),
    ("encoder.layer.*.output.dense.*", "encoder.layers.*.linear2.*"),
    ("encoder.layer.*.output.LayerNorm.*", "encoder.layers.*.norm2.*"),
];

/// The three projections of attention, which nnc keeps as one.
const PROJECTIONS: [&str; 3] = [
    "encoder.layer.*.attention.self.query.*",
    "encoder.layer.*.attention.self.key.*",
    "encoder.layer.*.attention.self.value.*",
];

impl MiniLm {
    /// Reads `config.json` and the weights of a folder.
    pub(crate) fn load(folder: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        let config: Config = serde_json::from_slice(&std::fs::read(folder.join("config.json"))?)?;
        let model = Self::new(&config);
        let mut state = StateDict::load(folder)?;
        // The pooler is for another task, and positions are counted.
        for unused in ["pooler.dense.weight", "pooler.dense.bias", "embeddings.position_ids"] {
            state.remove(unused);
        }
        let state = state.concat(&PROJECTIONS, "encoder.layers.*.self_attn.in_proj_*")?.rename_by(NAMES)?;
        model.load_state_dict(&state)?;
        model.eval();
        Ok(model)
    }

    fn new(config: &Config) -> Self {
        let (width, eps) = (config.hidden_size, config.layer_norm_eps);
        let layer = TransformerEncoderLayer::new(width, config.num_attention_heads)
            .dim_feedforward(config.intermediate_size)
            .activation(functional::gelu)
            .layer_norm_eps(eps)
            .batch_first(true);
        Self {
            word_embeddings: Embedding::new(config.vocab_size, width),
            position_embeddings: Embedding::new(config.max_position_embeddings, width),
            token_type_embeddings: Embedding::new(config.type_vocab_size, width),
            norm: LayerNorm::new(width).eps(eps),
            encoder: TransformerEncoder::new(layer, config.num_hidden_layers),
        }
    }

    /// The function that is compiled: `ids: i64[N, L]` of words, and `padding: bool[N, L]`, true beyond a sentence's end, to unit
    /// vectors `f32[N, width]`.
    pub(crate) fn trace(&self) -> Result<nnc::ir::Module, nnc::frontend::trace::TraceError> {
        trace("embed", |t| {
            t.bind(self);
            self.embed(&t.input("ids", "i64[N, L]"), &t.input("padding", "bool[N, L]"))
        })
    }

    fn embed(&self, ids: &Tensor, padding: &Tensor) -> Tensor {
        let positions = self.position_embeddings.forward(&range(ids.size(1)));
        // All words are of the first of two sentences.
        let kind = self.token_type_embeddings.weight.tensor().select(0, 0);
        let x = self.norm.forward(&(self.word_embeddings.forward(ids) + positions + kind));
        let x = self.encoder.forward_with(&x, &TransformerMasks::new().src_key_padding_mask(padding));
        let words = (!padding).unsqueeze(-1).float();
        let mean = (x * &words).sum(1) / words.sum(1);
        functional::normalize(&mean, 2.0, 1, 1e-12)
    }
}

/// Sentences to vectors: the tokenizer and the compiled network.
pub(crate) struct Embedder {
    tokenizer: Tokenizer,
    network: Jit,
}

/// Sentences are padded to a multiple of this many words, so that a program serves several lengths.
const LENGTH_STEP: usize = 16;
/// Words of a sentence that count: what the package was trained for.
const MAX_LENGTH: usize = 256;

impl Embedder {
    /// Reads tokenizer and weights from a folder; compiles nothing yet.
    pub(crate) fn load(folder: &Path, tier: Tier, threads: usize) -> Result<Self, Box<dyn std::error::Error>> {
        let mut tokenizer = Tokenizer::from_file(folder.join("tokenizer.json")).map_err(|error| error.to_string())?;
        let truncation = TruncationParams { max_length: MAX_LENGTH, ..TruncationParams::default() };
        tokenizer.with_truncation(Some(truncation)).map_err(|error| error.to_string())?;
        tokenizer.with_padding(None);
        let options = nnc::Options { tier, freeze: true, ..nnc::Options::default() };
        let network = jit(MiniLm::load(folder)?.trace()?)?.options(options).threads(threads);
        Ok(Self { tokenizer, network })
    }

    /// The unit vector of a sentence.
    pub(crate) fn embed(&mut self, sentence: &str) -> Result<Vec<f32>, Box<dyn std::error::Error>> {
        let encoding = self.tokenizer.encode(sentence, true).map_err(|error| error.to_string())?;
        let n_words = encoding.len();
        let length = n_words.next_multiple_of(LENGTH_STEP);
        let mut ids = ndarray::Array2::<i64>::zeros((1, length));
        for (slot, &id) in ids.iter_mut().zip(encoding.get_ids()) {
            *slot = i64::from(id);
        }
        let padding = ndarray::Array2::from_shape_fn((1, length), |(_, position)| position >= n_words);
        Ok(self.network.call(&[&ids, &padding])?.remove(0).to_f32())
    }

    /// The compilations so far, one a length.
    pub(crate) fn compilations(&self) -> &[nnc::Compilation] {
        self.network.compilations()
    }
}

/// Where `scripts/fetch_models.sh` puts the model.
pub(crate) fn default_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("out/models/minilm")
}
