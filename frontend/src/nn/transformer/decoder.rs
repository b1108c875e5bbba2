//! `TransformerDecoderLayer` and `TransformerDecoder`.

use super::super::{Dropout, LayerNorm, Linear, ModuleList, MultiheadAttention};
use super::{Activation, LayerConfig, TransformerMasks, check_sequence, layer_setters};
use crate::module::Module;
use crate::tensor::{Tensor, sound};
use crate::trace;

/// Self-attention, attention to what an encoder gave, and a feed-forward block, each with a shortcut and a norm:
/// `torch.nn.TransformerDecoderLayer`.
///
/// `tgt` and the result are `[T, N, d_model]`, `memory` is `[S, N, d_model]`; with `batch_first` the batch comes first;
/// without a batch there is no `N`.
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let layer = nn::TransformerDecoderLayer::new(16, 4).dim_feedforward(32);
/// let (tgt, memory) = (Tensor::rand([7, 3, 16]), Tensor::rand([10, 3, 16]));
/// assert_eq!(layer.forward(&tgt, &memory).shape().to_string(), "[7, 3, 16]");
/// ```
#[derive(Debug, Module)]
#[module(custom_forward)]
pub struct TransformerDecoderLayer {
    config: LayerConfig,
    /// The attention of the target to itself.
    pub self_attn: MultiheadAttention,
    /// The attention of the target to the memory.
    pub multihead_attn: MultiheadAttention,
    /// The first product of the feed-forward block.
    pub linear1: Linear,
    /// After the activation.
    pub dropout: Dropout,
    /// The second product of the feed-forward block.
    pub linear2: Linear,
    /// Of the self-attention.
    pub norm1: LayerNorm,
    /// Of the attention to the memory.
    pub norm2: LayerNorm,
    /// Of the feed-forward block.
    pub norm3: LayerNorm,
    /// After the self-attention.
    pub dropout1: Dropout,
    /// After the attention to the memory.
    pub dropout2: Dropout,
    /// After the feed-forward block.
    pub dropout3: Dropout,
}

impl TransformerDecoderLayer {
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
            multihead_attn: config.attention(),
            linear1,
            dropout: config.dropout(),
            linear2,
            norm1: config.norm(),
            norm2: config.norm(),
            norm3: config.norm(),
            dropout1: config.dropout(),
            dropout2: config.dropout(),
            dropout3: config.dropout(),
            config,
        }
    }

    layer_setters!();

    /// Makes the parts anew whose parameters change shape.
    #[track_caller]
    fn rebuild(mut self) -> Self {
        [self.linear1, self.linear2] = self.config.feedforward();
        self.self_attn = self.self_attn.bias(self.config.bias);
        self.multihead_attn = self.multihead_attn.bias(self.config.bias);
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
            multihead_attn: self.multihead_attn.dropout(config.dropout).batch_first(config.batch_first),
            dropout: config.dropout(),
            norm1: config.norm(),
            norm2: config.norm(),
            norm3: config.norm(),
            dropout1: config.dropout(),
            dropout2: config.dropout(),
            dropout3: config.dropout(),
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

    /// The layer, without masks.
    #[track_caller]
    pub fn forward(&self, tgt: &Tensor, memory: &Tensor) -> Tensor {
        self.forward_with(tgt, memory, &TransformerMasks::new())
    }

    /// The layer under the masks named `tgt` and `memory`.
    #[track_caller]
    pub fn forward_with(&self, tgt: &Tensor, memory: &Tensor, masks: &TransformerMasks) -> Tensor {
        let _scope = trace::enter(self.key());
        sound!(check_sequence("TransformerDecoderLayer", "tgt", tgt, self.config.d_model));
        sound!(check_sequence("TransformerDecoderLayer", "memory", memory, self.config.d_model));
        if self.config.norm_first {
            let x = tgt + self.attend_self(&self.norm1.forward(tgt), masks);
            let x = &x + self.attend_memory(&self.norm2.forward(&x), memory, masks);
            &x + self.feed_forward(&self.norm3.forward(&x))
        } else {
            let x = self.norm1.forward(&(tgt + self.attend_self(tgt, masks)));
            let x = self.norm2.forward(&(&x + self.attend_memory(&x, memory, masks)));
            self.norm3.forward(&(&x + self.feed_forward(&x)))
        }
    }

    #[track_caller]
    fn attend_self(&self, x: &Tensor, masks: &TransformerMasks) -> Tensor {
        let (attended, _) = self.self_attn.forward_with(x, x, x, &masks.tgt());
        self.dropout1.forward(&attended)
    }

    #[track_caller]
    fn attend_memory(&self, x: &Tensor, memory: &Tensor, masks: &TransformerMasks) -> Tensor {
        let (attended, _) = self.multihead_attn.forward_with(x, memory, memory, &masks.memory());
        self.dropout2.forward(&attended)
    }

    #[track_caller]
    fn feed_forward(&self, x: &Tensor) -> Tensor {
        let hidden = self.config.activation.apply(&self.linear1.forward(x));
        self.dropout3.forward(&self.linear2.forward(&self.dropout.forward(&hidden)))
    }
}

/// Decoder layers one after the other: `torch.nn.TransformerDecoder`.
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let decoder = nn::TransformerDecoder::new(nn::TransformerDecoderLayer::new(16, 4).dim_feedforward(32), 2);
/// let (tgt, memory) = (Tensor::rand([7, 3, 16]), Tensor::rand([10, 3, 16]));
/// assert_eq!(decoder.forward(&tgt, &memory).shape().to_string(), "[7, 3, 16]");
/// ```
#[derive(Debug, Module)]
#[module(custom_forward)]
pub struct TransformerDecoder {
    /// The layers, first to last.
    pub layers: ModuleList<TransformerDecoderLayer>,
    /// After the last layer.
    pub norm: Option<LayerNorm>,
}

impl TransformerDecoder {
    /// `num_layers` layers that, as in PyTorch, all start as copies of `decoder_layer`.
    #[track_caller]
    pub fn new(decoder_layer: TransformerDecoderLayer, num_layers: usize) -> Self {
        let mut layers = Vec::with_capacity(num_layers);
        for _ in 1..num_layers {
            layers.push(decoder_layer.deep_copy());
        }
        if num_layers > 0 {
            layers.insert(0, decoder_layer);
        }
        Self { layers, norm: None }
    }

    /// With a norm after the last layer.
    #[must_use]
    pub fn norm(mut self, norm: LayerNorm) -> Self {
        self.norm = Some(norm);
        self
    }

    /// The decoder, without masks.
    #[track_caller]
    pub fn forward(&self, tgt: &Tensor, memory: &Tensor) -> Tensor {
        self.forward_with(tgt, memory, &TransformerMasks::new())
    }

    /// The decoder under the masks named `tgt` and `memory`.
    #[track_caller]
    pub fn forward_with(&self, tgt: &Tensor, memory: &Tensor, masks: &TransformerMasks) -> Tensor {
        let _scope = trace::enter(self.key());
        let mut x = tgt.clone();
        for layer in &self.layers {
            x = layer.forward_with(&x, memory, masks);
        }
        match &self.norm {
            Some(norm) => norm.forward(&x),
            None => x,
        }
    }
}
