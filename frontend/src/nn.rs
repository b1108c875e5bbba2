//! Layers, under `torch.nn`'s names and with its defaults, weight layouts, initial distributions and printed forms.
//!
//! A layer is a composition of tensor functions; the compiler recognizes structure, not layer names.

mod activation;
mod attention;
mod batch_norm;
mod container;
mod dropout;
mod flatten;
mod linear;
mod loss;
mod norm;
mod recurrent;
mod transformer;

pub use activation::{
    CELU, ELU, GELU, GLU, Hardshrink, Hardsigmoid, Hardswish, Hardtanh, LeakyReLU, LogSigmoid, LogSoftmax, Mish, PReLU,
    RReLU, ReLU, ReLU6, SELU, SiLU, Sigmoid, Softmax, Softmax2d, Softmin, Softplus, Softshrink, Softsign, Tanh,
    Tanhshrink, Threshold,
};
pub use attention::{AttentionOptions, MultiheadAttention, NonDynamicallyQuantizableLinear};
pub use batch_norm::{BatchNorm1d, BatchNorm2d, BatchNorm3d, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d};
pub use container::{Identity, Lambda, ModuleList, Sequential};
pub use dropout::{AlphaDropout, Dropout, Dropout1d, Dropout2d, Dropout3d, FeatureAlphaDropout};
pub use flatten::{Flatten, Unflatten};
pub use linear::Linear;
pub use loss::{CrossEntropyLoss, L1Loss, MSELoss, NLLLoss, Reduction};
pub use norm::{GroupNorm, IntoNormalizedShape, LayerNorm, LocalResponseNorm, RMSNorm};
pub use recurrent::{
    GRU, GRUCell, Gru, LSTM, LSTMCell, Lstm, Nonlinearity, RNN, RNNCell, Recurrence, Recurrent, RecurrentCell, Rnn,
    Weights,
};
pub use transformer::{
    Transformer, TransformerDecoder, TransformerDecoderLayer, TransformerEncoder, TransformerEncoderLayer,
    TransformerMasks,
};
