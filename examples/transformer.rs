//! Attention is all there is: a `Transformer`, run forward and trained by one step; and a classifier in the shape of
//! BERT, made of a `TransformerEncoder`.
//!
//! ```text
//! cargo run --release --example transformer
//! ```

use nnc::prelude::*;

/// Words of the classifier's sentences: padding, the mark at the beginning, and the rest.
const PAD: i64 = 0;
const CLS: i64 = 1;
const VOCABULARY: usize = 22;
/// The longest sentence, the mark included.
const LENGTH: usize = 12;

fn main() -> Result<(), Error> {
    manual_seed(0);
    encoder_and_decoder()?;
    classifier()
}

/// A model of two inputs: forward in evaluation mode, then one step of gradient descent.
fn encoder_and_decoder() -> Result<(), Error> {
    let transformer_model = Transformer::new(32, 4).num_encoder_layers(2).num_decoder_layers(2).dim_feedforward(64);
    println!("{transformer_model}\n");

    let (src, tgt) = (Tensor::rand([10, 8, 32]), Tensor::rand([20, 8, 32]));
    transformer_model.eval();
    let mut forward = jit(trace("forward", |t| {
        t.bind(&transformer_model);
        transformer_model.forward(&t.input("src", "f32[S, N, 32]"), &t.input("tgt", "f32[T, N, 32]"))
    })?)?;
    let out = forward.call(&[&src.data()?, &tgt.data()?])?.remove(0);
    println!("forward: {} and {} give {}", src.ty(), tgt.ty(), out.ty());

    // In training a position of the target must not see those after it, which it is to predict.
    transformer_model.train();
    let masks = TransformerMasks::new().tgt_is_causal(true);
    let mut loss = nnc::grad_fn(transformer_model.named_parameters(), |t| {
        let (src, tgt) = (t.input("src", "f32[S, N, 32]"), t.input("tgt", "f32[T, N, 32]"));
        let out = transformer_model.forward_with(&src, &tgt, &masks);
        functional::mse_loss(&out, &t.input("next", "f32[T, N, 32]"))
    })?;
    let next = Tensor::rand([20, 8, 32]);
    let (src, tgt, next) = (src.data()?, tgt.data()?, next.data()?);
    let (before, grads) = loss.call(&[&src, &tgt, &next])?;
    for (parameter, grad) in transformer_model.parameters().iter().zip(&grads) {
        parameter.set(parameter.to_array() - nnc::frontend::array::to_f32(grad) * 0.1)?;
    }
    let (after, _) = loss.call(&[&src, &tgt, &next])?;
    println!("loss {before:.4} before a training step, {after:.4} after it; lower: {}\n", after < before);
    Ok(())
}

/// A sentence encoder in the shape of BERT, with a classifier on top of its first position.
#[derive(Module)]
struct Bert {
    word_embeddings: Embedding,
    position_embeddings: Embedding,
    norm: LayerNorm,
    dropout: Dropout,
    encoder: TransformerEncoder,
    pooler: Linear,
    classifier: Linear,
}

impl Bert {
    fn new(hidden_size: usize, num_heads: usize, num_layers: usize, num_labels: usize) -> Self {
        let layer = TransformerEncoderLayer::new(hidden_size, num_heads)
            .dim_feedforward(4 * hidden_size)
            .activation(functional::gelu)
            .layer_norm_eps(1e-12)
            .batch_first(true);
        Self {
            word_embeddings: Embedding::new(VOCABULARY, hidden_size).padding_idx(PAD),
            position_embeddings: Embedding::new(LENGTH, hidden_size),
            norm: LayerNorm::new(hidden_size).eps(1e-12),
            dropout: Dropout::new().p(0.1),
            encoder: TransformerEncoder::new(layer, num_layers),
            pooler: Linear::new(hidden_size, hidden_size),
            classifier: Linear::new(hidden_size, num_labels),
        }
    }
}

impl Forward for Bert {
    fn forward(&self, tokens: &Tensor) -> Tensor {
        let positions = self.position_embeddings.forward(&range(tokens.size(1)));
        let x = self.word_embeddings.forward(tokens) + positions;
        let x = self.dropout.forward(&self.norm.forward(&x));
        let masks = TransformerMasks::new().src_key_padding_mask(&tokens.eq(PAD));
        let x = self.encoder.forward_with(&x, &masks);
        let pooled = self.pooler.forward(&x.select(1, 0)).tanh();
        self.classifier.forward(&pooled)
    }
}

/// `n` sentences of different lengths, and whether most of their words are from the second half of the vocabulary.
fn sentences(n: usize, seed: u64) -> (ndarray::Array2<i64>, ndarray::Array1<i64>) {
    let mut generator = nnc::frontend::random::Generator::new(seed);
    let mut tokens = ndarray::Array2::from_elem((n, LENGTH), PAD);
    let mut labels = ndarray::Array1::zeros(n);
    let half = (VOCABULARY as i64 - 2) / 2;
    for (mut row, label) in tokens.rows_mut().into_iter().zip(&mut labels) {
        // An odd number of words: one half is always the larger.
        let n_words = 1 + 2 * generator.below((LENGTH as u64 - 1).div_ceil(2)) as usize;
        row[0] = CLS;
        let mut n_second = 0;
        for word in row.iter_mut().skip(1).take(n_words) {
            *word = 2 + generator.below(VOCABULARY as u64 - 2) as i64;
            n_second += usize::from(*word >= 2 + half);
        }
        *label = i64::from(2 * n_second > n_words);
    }
    (tokens, labels)
}

/// Trains the classifier until it tells the halves of the vocabulary apart.
fn classifier() -> Result<(), Error> {
    let model = Bert::new(32, 4, 2, 2);
    println!("{model}\n");
    println!("{} parameters", model.parameters().iter().map(Parameter::numel).sum::<usize>());
    let mut trainer = Trainer::new(model, Loss::cross_entropy(), AdamW::new(2e-3)).build()?;
    for step in 0..200 {
        let (tokens, labels) = sentences(32, step);
        let loss = trainer.step(&tokens, &labels)?;
        if step % 50 == 0 {
            println!("step {step}: loss {loss:.4}");
        }
    }
    let (tokens, labels) = sentences(256, 1000);
    let logits = Tensor::from_data(trainer.predict(&tokens)?);
    let predicted = logits.argmax(1).to_array_i64()?;
    let right = predicted.iter().zip(&labels).filter(|(predicted, label)| predicted == label).count();
    println!("more than four of five new sentences are classified right: {}", right * 5 > labels.len() * 4);
    Ok(())
}
