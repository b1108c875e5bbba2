//! `TransformerEncoderLayer` and `TransformerEncoder`.

use super::super::{Dropout, LayerNorm, Linear, ModuleList, MultiheadAttention};
use super::{Activation, LayerConfig, TransformerMasks, check_sequence, layer_setters};
use crate::module::{Forward, Module};
use crate::tensor::{Tensor, sound};
use crate::trace;

/// Self-attention and a feed-forward block, each with a shortcut and a norm: `torch.nn.TransformerEncoderLayer`.
///
/// Takes and gives `[S, N, d_model]`; with `batch_first` the batch comes first; without a batch there is no `N`.
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let layer = nn::TransformerEncoderLayer::new(16, 4).dim_feedforward(32).activation(functional::gelu);
/// assert_eq!(layer.forward(&Tensor::rand([10, 3, 16])).shape().to_string(), "[10, 3, 16]");
/// ```
#[derive(Debug, Module)]
pub struct TransformerEncoderLayer {
    config: LayerConfig,
    /// The attention.
    pub self_attn: MultiheadAttention,
    /// The first product of the feed-forward block.
    pub linear1: Linear,
    /// After the activation.
    pub dropout: Dropout,
    /// The second product of the feed-forward block.
    pub linear2: Linear,
    /// Of the attention.
    pub norm1: LayerNorm,
    /// Of the feed-forward block.
    pub norm2: LayerNorm,
    /// After the attention.
    pub dropout1: Dropout,
    /// After the feed-forward block.
    pub dropout2: Dropout,
}

impl TransformerEncoderLayer {
    /// `nhead` heads over `d_model` features.
    #[track_caller]
    pub fn new(d_model: usize, nhead: usize) -> Self {
        Self::build(LayerConfig::new(d_model, nhead))
    }

    #[track_caller]
    pub(super) fn build(config: LayerConfig) -> Self {
        let [linear1, linear2] = config.feedforward();
        Self {
            self_attn: config.attention(),
            linear1,
            dropout: config.dropout(),
            linear2,
            norm1: config.norm(),
            norm2: config.norm(),
            dropout1: config.dropout(),
            dropout2: config.dropout(),
            config,
        }
    }

    layer_setters!();

    /// Makes the parts anew whose parameters change shape.
    #[track_caller]
    fn rebuild(mut self) -> Self {
        [self.linear1, self.linear2] = self.config.feedforward();
        self.self_attn = self.self_attn.bias(self.config.bias);
        self.reconfigure()
    }

    /// Takes over what changes no shape.
    #[track_caller]
    fn reconfigure(self) -> Self {
        let config = self.config.clone();
        self.configured(config)
    }

    #[track_caller]
    pub(super) fn configured(self, config: LayerConfig) -> Self {
        Self {
            self_attn: self.self_attn.dropout(config.dropout).batch_first(config.batch_first),
            dropout: config.dropout(),
            norm1: config.norm(),
            norm2: config.norm(),
            dropout1: config.dropout(),
            dropout2: config.dropout(),
            config,
            ..self
        }
    }

    /// A layer of the same parameters in storage of their own.
    #[track_caller]
    pub(super) fn deep_copy(&self) -> Self {
        let copy = Self::build(self.config.clone());
        copy.load_state_dict(&self.state_dict()).expect("equal configurations have equal state dicts");
        copy
    }

    /// The layer under masks `src_mask` and `src_key_padding_mask`.
    #[track_caller]
    pub fn forward_with(&self, src: &Tensor, masks: &TransformerMasks) -> Tensor {
        let _scope = trace::enter(self.key());
        sound!(check_sequence("TransformerEncoderLayer", "src", src, self.config.d_model));
        if self.config.norm_first {
            let x = src + self.attend(&self.norm1.forward(src), masks);
            &x + self.feed_forward(&self.norm2.forward(&x))
        } else {
            let x = self.norm1.forward(&(src + self.attend(src, masks)));
            self.norm2.forward(&(&x + self.feed_forward(&x)))
        }
    }

    #[track_caller]
    fn attend(&self, x: &Tensor, masks: &TransformerMasks) -> Tensor {
        let (attended, _) = self.self_attn.forward_with(x, x, x, &masks.src());
        self.dropout1.forward(&attended)
    }

    #[track_caller]
    fn feed_forward(&self, x: &Tensor) -> Tensor {
        let hidden = self.config.activation.apply(&self.linear1.forward(x));
        self.dropout2.forward(&self.linear2.forward(&self.dropout.forward(&hidden)))
    }
}

impl Forward for TransformerEncoderLayer {
    #[track_caller]
    fn forward(&self, src: &Tensor) -> Tensor {
        self.forward_with(src, &TransformerMasks::new())
    }
}

/// Encoder layers one after the other: `torch.nn.TransformerEncoder`.
///
/// Positions that `src_key_padding_mask` calls padding are seen by nobody, and get some result all the same. (PyTorch
/// zeros them in evaluation where it takes its fast path.)
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let layer = nn::TransformerEncoderLayer::new(16, 4).dim_feedforward(32).batch_first(true);
/// let encoder = nn::TransformerEncoder::new(layer, 3).norm(nn::LayerNorm::new([16]));
/// assert_eq!(encoder.forward(&Tensor::rand([2, 10, 16])).shape().to_string(), "[2, 10, 16]");
/// assert_eq!(encoder.named_parameters()[0].0, "layers.0.self_attn.in_proj_weight");
/// ```
#[derive(Debug, Module)]
pub struct TransformerEncoder {
    /// The layers, first to last.
    pub layers: ModuleList<TransformerEncoderLayer>,
    /// After the last layer.
    pub norm: Option<LayerNorm>,
}

impl TransformerEncoder {
    /// `num_layers` layers that, as in PyTorch, all start as copies of `encoder_layer`.
    #[track_caller]
    pub fn new(encoder_layer: TransformerEncoderLayer, num_layers: usize) -> Self {
        let mut layers = Vec::with_capacity(num_layers);
        for _ in 1..num_layers {
            layers.push(encoder_layer.deep_copy());
        }
        if num_layers > 0 {
            layers.insert(0, encoder_layer);
        }
        Self { layers, norm: None }
    }

    /// With a norm after the last layer.
    #[must_use]
    pub fn norm(mut self, norm: LayerNorm) -> Self {
        self.norm = Some(norm);
        self
    }

    /// The encoder under masks `src_mask` (PyTorch's `mask`) and `src_key_padding_mask`.
    #[track_caller]
    pub fn forward_with(&self, src: &Tensor, masks: &TransformerMasks) -> Tensor {
        let _scope = trace::enter(self.key());
        let mut x = src.clone();
        for layer in &self.layers {
            x = layer.forward_with(&x, masks);
        }
        match &self.norm {
            Some(norm) => norm.forward(&x),
            None => x,
        }
    }
}

impl Forward for TransformerEncoder {
    #[track_caller]
    fn forward(&self, src: &Tensor) -> Tensor {
        self.forward_with(src, &TransformerMasks::new())
    }
}
