//! `Transformer`, and the encoders and decoders it is made of.
//!
//! What the layers share is here: their hyper-parameters, their activation, and the masks of a call. A model that needs
//! only one side (BERT, GPT) is made of [`TransformerEncoder`]s alone.

use std::fmt;
use std::rc::Rc;

use super::{Dropout, LayerNorm, Linear};
use crate::functional;
use crate::init;
use crate::module::Module;
use crate::tensor::{Tensor, fault, where_};
use crate::trace;

mod decoder;
mod encoder;

pub use decoder::{TransformerDecoder, TransformerDecoderLayer};
pub use encoder::{TransformerEncoder, TransformerEncoderLayer};

/// Hyper-parameters of an encoder or decoder layer.
#[derive(Clone, Debug)]
struct LayerConfig {
    d_model: usize,
    nhead: usize,
    dim_feedforward: usize,
    dropout: f64,
    activation: Activation,
    layer_norm_eps: f64,
    batch_first: bool,
    norm_first: bool,
    bias: bool,
}

impl LayerConfig {
    fn new(d_model: usize, nhead: usize) -> Self {
        Self {
            d_model,
            nhead,
            dim_feedforward: 2048,
            dropout: 0.1,
            activation: Activation::new(functional::relu),
            layer_norm_eps: 1e-5,
            batch_first: false,
            norm_first: false,
            bias: true,
        }
    }

    #[track_caller]
    fn norm(&self) -> LayerNorm {
        LayerNorm::new([self.d_model]).eps(self.layer_norm_eps).bias(self.bias)
    }

    fn dropout(&self) -> Dropout {
        Dropout::new().p(self.dropout)
    }

    #[track_caller]
    fn attention(&self) -> super::MultiheadAttention {
        let attention = super::MultiheadAttention::new(self.d_model, self.nhead);
        attention.dropout(self.dropout).batch_first(self.batch_first).bias(self.bias)
    }

    /// The two products of the feed-forward block.
    #[track_caller]
    fn feedforward(&self) -> [Linear; 2] {
        let (outer, inner) = (self.d_model, self.dim_feedforward);
        [Linear::new(outer, inner).bias(self.bias), Linear::new(inner, outer).bias(self.bias)]
    }
}

/// What stands between the two products of a feed-forward block.
#[derive(Clone)]
struct Activation(Rc<dyn Fn(&Tensor) -> Tensor>);

impl Activation {
    fn new(function: impl Fn(&Tensor) -> Tensor + 'static) -> Self {
        Self(Rc::new(function))
    }

    fn apply(&self, x: &Tensor) -> Tensor {
        (self.0)(x)
    }
}

impl fmt::Debug for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Activation")
    }
}

/// The setters that encoder and decoder layers have in common. Each type says how it takes over a new configuration
/// (`reconfigure`), and which of its parts hold parameters of the feed-forward block or a bias (`rebuild`).
macro_rules! layer_setters {
    () => {
        /// Features between the two products of the feed-forward block; 2048 unless set.
        #[must_use]
        #[track_caller]
        pub fn dim_feedforward(mut self, dim_feedforward: usize) -> Self {
            self.config.dim_feedforward = dim_feedforward;
            self.rebuild()
        }

        /// Probability of each dropout, those of the attention weights included; 0.1 unless set.
        #[must_use]
        #[track_caller]
        pub fn dropout(mut self, dropout: f64) -> Self {
            self.config.dropout = dropout;
            self.reconfigure()
        }

        /// The function between the two products; [`relu`](crate::functional::relu) unless set.
        #[must_use]
        pub fn activation(mut self, activation: impl Fn(&Tensor) -> Tensor + 'static) -> Self {
            self.config.activation = Activation::new(activation);
            self
        }

        /// What the norms add to the variance; 1e-5 unless set.
        #[must_use]
        #[track_caller]
        pub fn layer_norm_eps(mut self, layer_norm_eps: f64) -> Self {
            self.config.layer_norm_eps = layer_norm_eps;
            self.reconfigure()
        }

        /// Whether the batch comes before the sequence: `[N, length, d_model]`.
        #[must_use]
        #[track_caller]
        pub fn batch_first(mut self, batch_first: bool) -> Self {
            self.config.batch_first = batch_first;
            self.reconfigure()
        }

        /// Whether each block normalizes its input instead of its output.
        #[must_use]
        pub fn norm_first(mut self, norm_first: bool) -> Self {
            self.config.norm_first = norm_first;
            self
        }

        /// Whether products and norms have a bias.
        #[must_use]
        #[track_caller]
        pub fn bias(mut self, bias: bool) -> Self {
            self.config.bias = bias;
            self.rebuild()
        }
    };
}
use layer_setters;

/// The masks of a call, by PyTorch's names. A `bool` mask is true where a query may *not* look; one of floats is added
/// to the scores. Masks named `src` are of what is encoded, `tgt` of what is decoded, and `memory` of how the latter
/// looks at the former; each module reads those that concern it.
///
/// | mask | shape |
/// |---|---|
/// | `src_mask` | `[S, S]` or `[N * nhead, S, S]` |
/// | `tgt_mask` | `[T, T]` or `[N * nhead, T, T]` |
/// | `memory_mask` | `[T, S]` or `[N * nhead, T, S]` |
/// | `..._key_padding_mask` | `[N, S]`, `[N, T]`, `[N, S]`; without the `N` where there is no batch |
/// | `..._is_causal` | position `i` sees `0..=i`; beside a mask it says only that the mask is that one |
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let model = nn::Transformer::new(8, 2).num_encoder_layers(1).num_decoder_layers(1).dim_feedforward(16);
/// let masks = nn::TransformerMasks::new().tgt_is_causal(true);
/// let out = model.forward_with(&Tensor::rand([5, 2, 8]), &Tensor::rand([3, 2, 8]), &masks);
/// assert_eq!(out.shape().to_string(), "[3, 2, 8]");
/// ```
#[derive(Clone, Debug, Default)]
pub struct TransformerMasks {
    src_mask: Option<Tensor>,
    tgt_mask: Option<Tensor>,
    memory_mask: Option<Tensor>,
    src_key_padding_mask: Option<Tensor>,
    tgt_key_padding_mask: Option<Tensor>,
    memory_key_padding_mask: Option<Tensor>,
    src_is_causal: bool,
    tgt_is_causal: bool,
    memory_is_causal: bool,
}

macro_rules! mask_setters {
    ($($(#[doc = $doc:literal])* $name:ident: $ty:ty => |$value:ident| $stored:expr;)*) => {
        $(
            $(#[doc = $doc])*
            #[must_use]
            pub fn $name(mut self, $value: $ty) -> Self {
                self.$name = $stored;
                self
            }
        )*
    };
}

impl TransformerMasks {
    /// No masks.
    pub fn new() -> Self {
        Self::default()
    }

    mask_setters! {
        /// Where encoded positions look at one another.
        src_mask: &Tensor => |mask| Some(mask.clone());
        /// Where decoded positions look at one another.
        tgt_mask: &Tensor => |mask| Some(mask.clone());
        /// Where decoded positions look at encoded ones.
        memory_mask: &Tensor => |mask| Some(mask.clone());
        /// Which encoded positions are padding, to the encoder.
        src_key_padding_mask: &Tensor => |mask| Some(mask.clone());
        /// Which decoded positions are padding.
        tgt_key_padding_mask: &Tensor => |mask| Some(mask.clone());
        /// Which encoded positions are padding, to the decoder.
        memory_key_padding_mask: &Tensor => |mask| Some(mask.clone());
        /// Encoded positions see only earlier ones and themselves.
        src_is_causal: bool => |is_causal| is_causal;
        /// Decoded positions see only earlier ones and themselves.
        tgt_is_causal: bool => |is_causal| is_causal;
        /// Decoded position `i` sees the encoded positions `0..=i`.
        memory_is_causal: bool => |is_causal| is_causal;
    }

    /// How encoded positions look at one another.
    fn src(&self) -> super::AttentionOptions {
        attention_options(&self.src_mask, &self.src_key_padding_mask, self.src_is_causal)
    }

    /// How decoded positions look at one another.
    fn tgt(&self) -> super::AttentionOptions {
        attention_options(&self.tgt_mask, &self.tgt_key_padding_mask, self.tgt_is_causal)
    }

    /// How decoded positions look at encoded ones.
    fn memory(&self) -> super::AttentionOptions {
        attention_options(&self.memory_mask, &self.memory_key_padding_mask, self.memory_is_causal)
    }
}

fn attention_options(mask: &Option<Tensor>, padding: &Option<Tensor>, is_causal: bool) -> super::AttentionOptions {
    let mut options = super::AttentionOptions::new().need_weights(false).is_causal(is_causal);
    if let Some(mask) = mask {
        options = options.attn_mask(mask);
    }
    if let Some(padding) = padding {
        options = options.key_padding_mask(padding);
    }
    options
}

/// An encoder and a decoder that looks at what it encoded: `torch.nn.Transformer`.
///
/// Matrices start Xavier-uniform. `src` is `[S, N, d_model]`, `tgt` and the result `[T, N, d_model]`; with `batch_first`
/// the batch comes first; without a batch there is no `N`. For an encoder or decoder of one's own (PyTorch's
/// `custom_encoder`, `custom_decoder`) use [`TransformerEncoder`] and [`TransformerDecoder`] directly.
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let model = nn::Transformer::new(16, 4).num_encoder_layers(2).num_decoder_layers(2).dim_feedforward(32);
/// let (src, tgt) = (Tensor::rand([10, 3, 16]), Tensor::rand([7, 3, 16]));
/// assert_eq!(model.forward(&src, &tgt).shape().to_string(), "[7, 3, 16]");
/// ```
#[derive(Debug, Module)]
#[module(custom_forward)]
pub struct Transformer {
    config: LayerConfig,
    /// The encoder.
    pub encoder: TransformerEncoder,
    /// The decoder.
    pub decoder: TransformerDecoder,
}

impl Transformer {
    /// Six layers on either side, of `nhead` heads over `d_model` features (512 and 8 in PyTorch, unless given).
    #[track_caller]
    pub fn new(d_model: usize, nhead: usize) -> Self {
        Self::build(LayerConfig::new(d_model, nhead), 6, 6)
    }

    #[track_caller]
    fn build(config: LayerConfig, n_encoder_layers: usize, n_decoder_layers: usize) -> Self {
        let encoder = Self::build_encoder(&config, n_encoder_layers);
        let decoder = Self::build_decoder(&config, n_decoder_layers);
        Self { config, encoder, decoder }
    }

    #[track_caller]
    fn build_encoder(config: &LayerConfig, n_layers: usize) -> TransformerEncoder {
        // Every layer is drawn by itself; `TransformerEncoder::new` would make copies first.
        let mut layers = Vec::with_capacity(n_layers);
        for _ in 0..n_layers {
            layers.push(TransformerEncoderLayer::build(config.clone()));
        }
        let encoder = TransformerEncoder { layers, norm: Some(config.norm()) };
        xavier(&encoder);
        encoder
    }

    #[track_caller]
    fn build_decoder(config: &LayerConfig, n_layers: usize) -> TransformerDecoder {
        let mut layers = Vec::with_capacity(n_layers);
        for _ in 0..n_layers {
            layers.push(TransformerDecoderLayer::build(config.clone()));
        }
        let decoder = TransformerDecoder { layers, norm: Some(config.norm()) };
        xavier(&decoder);
        decoder
    }

    /// Number of encoder layers.
    #[must_use]
    #[track_caller]
    pub fn num_encoder_layers(mut self, num_encoder_layers: usize) -> Self {
        self.encoder = Self::build_encoder(&self.config, num_encoder_layers);
        self
    }

    /// Number of decoder layers.
    #[must_use]
    #[track_caller]
    pub fn num_decoder_layers(mut self, num_decoder_layers: usize) -> Self {
        self.decoder = Self::build_decoder(&self.config, num_decoder_layers);
        self
    }

    layer_setters!();

    /// Makes everything anew.
    #[track_caller]
    fn rebuild(self) -> Self {
        Self::build(self.config, self.encoder.layers.len(), self.decoder.layers.len())
    }

    /// Takes over what changes no shape.
    #[track_caller]
    fn reconfigure(mut self) -> Self {
        let config = &self.config;
        let encoder_layers = self.encoder.layers.into_iter();
        self.encoder.layers = encoder_layers.map(|layer| layer.configured(config.clone())).collect();
        let decoder_layers = self.decoder.layers.into_iter();
        self.decoder.layers = decoder_layers.map(|layer| layer.configured(config.clone())).collect();
        (self.encoder.norm, self.decoder.norm) = (Some(config.norm()), Some(config.norm()));
        self
    }

    /// The decoded target, without masks.
    #[track_caller]
    pub fn forward(&self, src: &Tensor, tgt: &Tensor) -> Tensor {
        self.forward_with(src, tgt, &TransformerMasks::new())
    }

    /// The decoded target under masks.
    #[track_caller]
    pub fn forward_with(&self, src: &Tensor, tgt: &Tensor, masks: &TransformerMasks) -> Tensor {
        let _scope = trace::enter(self.key());
        let memory = self.encoder.forward_with(src, masks);
        self.decoder.forward_with(tgt, &memory, masks)
    }

    /// The mask `f32` `[sz, sz]` that lets position `i` see `0..=i`: 0 there, -inf elsewhere.
    #[track_caller]
    pub fn generate_square_subsequent_mask(sz: usize) -> Tensor {
        where_(&functional::attention::causal(sz.into(), sz.into()), Tensor::zeros([sz, sz]), f64::NEG_INFINITY)
    }
}

/// Draws every matrix of `module` Xavier-uniform.
fn xavier(module: &impl Module) {
    for parameter in module.parameters() {
        if parameter.shape().len() > 1 {
            init::xavier_uniform_(&parameter, 1.0);
        }
    }
}

/// The fault, if `x` is not a sequence of `d_model` features.
#[track_caller]
fn check_sequence(what: &str, name: &str, x: &Tensor, d_model: usize) -> Result<(), Tensor> {
    let Some(ty) = x.checked_ty() else { return Err(x.clone()) };
    let is_sequence = matches!(ty.rank(), 2 | 3) && ty.shape.dims().last() == Some(&d_model.into());
    if is_sequence && ty.dtype.is_float() {
        return Ok(());
    }
    Err(fault(format!(
        "{what}: {name} is {ty}, expected floats of two or three dimensions, the last of them {d_model}"
    )))
}
