//! What a program that defines and trains models needs, by `use nnc_frontend::prelude::*`.

pub use nnc_ir::{DType, Diagnostic, Dim, Shape, TensorData, TensorType};

pub use crate::data::{
    self, ConcatDataset, DataLoader, Dataset, Loader, Subset, TensorDataset, WeightedRandomSampler, WrappedDataLoader,
    random_split,
};
pub use crate::functional;
pub use crate::init;
pub use crate::module::{Forward, Layer, Module, StateDict};
pub use crate::nn::{
    self, AlphaDropout, AttentionOptions, BatchNorm1d, BatchNorm2d, BatchNorm3d, CELU, CrossEntropyLoss, Dropout,
    Dropout1d, Dropout2d, Dropout3d, ELU, FeatureAlphaDropout, Flatten, GELU, GLU, GRU, GRUCell, GroupNorm, Hardshrink,
    Hardsigmoid, Hardswish, Hardtanh, Identity, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d, L1Loss, LSTM, LSTMCell,
    Lambda, LayerNorm, LeakyReLU, Linear, LocalResponseNorm, LogSigmoid, LogSoftmax, MSELoss, Mish, ModuleList,
    MultiheadAttention, NLLLoss, PReLU, RMSNorm, RNN, RNNCell, RReLU, ReLU, ReLU6, Reduction, SELU, Sequential, SiLU,
    Sigmoid, Softmax, Softmax2d, Softmin, Softplus, Softshrink, Softsign, Tanh, Tanhshrink, Threshold, Transformer,
    TransformerDecoder, TransformerDecoderLayer, TransformerEncoder, TransformerEncoderLayer, TransformerMasks,
    Unflatten,
};
pub use crate::optim::{
    self, Adadelta, Adagrad, Adam, AdamW, Adamax, NAdam, Optimizer, RAdam, RMSprop, Rprop, Select, Sgd,
};
pub use crate::parameter::{Buffer, Parameter, Training};
pub use crate::random::manual_seed;
pub use crate::sequential;
pub use crate::tensor::{Index, Reduced, Tensor, Tensors, ToOperand, ToTensor, range, where_};
pub use crate::trace::{Trace, TraceError, trace};
