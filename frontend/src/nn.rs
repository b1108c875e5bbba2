//! Layers, under `torch.nn`'s names and with its defaults, weight layouts, initial distributions and printed forms.
//!
//! A layer is a composition of tensor functions; the compiler recognizes structure, not layer names.

mod activation;
mod adaptive_pool;
mod attention;
mod batch_norm;
mod container;
mod conv_transpose;
mod convolution;
mod distance;
mod dropout;
mod embedding;
mod flatten;
mod fold;
mod linear;
mod loss;
mod norm;
mod padding;
mod pool;
mod recurrent;
mod shuffle;
mod transformer;
mod upsample;

pub use activation::{
    CELU, ELU, GELU, GLU, Hardshrink, Hardsigmoid, Hardswish, Hardtanh, LeakyReLU, LogSigmoid, LogSoftmax, Mish, PReLU,
    RReLU, ReLU, ReLU6, SELU, SiLU, Sigmoid, Softmax, Softmax2d, Softmin, Softplus, Softshrink, Softsign, Tanh,
    Tanhshrink, Threshold,
};
pub use adaptive_pool::{
    AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d, AdaptiveMaxPool1d, AdaptiveMaxPool2d, AdaptiveMaxPool3d,
};
pub use attention::{AttentionOptions, MultiheadAttention, NonDynamicallyQuantizableLinear};
pub use batch_norm::{BatchNorm1d, BatchNorm2d, BatchNorm3d, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d};
pub use container::{Identity, Lambda, ModuleDict, ModuleList, ParameterDict, ParameterList, Sequential};
pub use conv_transpose::{ConvTranspose1d, ConvTranspose2d, ConvTranspose3d};
pub use convolution::{Conv1d, Conv2d, Conv3d};
pub use distance::{CosineSimilarity, PairwiseDistance};
pub use dropout::{AlphaDropout, Dropout, Dropout1d, Dropout2d, Dropout3d, FeatureAlphaDropout};
pub use embedding::{Embedding, EmbeddingBag, EmbeddingBagMode};
pub use flatten::{Flatten, Unflatten};
pub use fold::{Fold, MaxUnpool1d, MaxUnpool2d, MaxUnpool3d, Unfold};
pub use linear::{Bilinear, Linear};
pub use loss::{
    AdaptiveLogSoftmaxWithLoss, BCELoss, BCEWithLogitsLoss, CTCLoss, CosineEmbeddingLoss, Criterion, CrossEntropyLoss,
    GaussianNLLLoss, HingeEmbeddingLoss, HuberLoss, KLDivLoss, L1Loss, LinearCrossEntropyLoss, MSELoss,
    MarginRankingLoss, MultiLabelMarginLoss, MultiLabelSoftMarginLoss, MultiMarginLoss, NLLLoss, PoissonNLLLoss,
    Reduction, SmoothL1Loss, SoftMarginLoss, TripletMarginLoss, TripletMarginWithDistanceLoss,
};
pub use norm::{GroupNorm, IntoNormalizedShape, LayerNorm, LocalResponseNorm, RMSNorm};
pub use padding::{
    CircularPad1d, CircularPad2d, CircularPad3d, ConstantPad1d, ConstantPad2d, ConstantPad3d, ReflectionPad1d,
    ReflectionPad2d, ReflectionPad3d, ReplicationPad1d, ReplicationPad2d, ReplicationPad3d, ZeroPad1d, ZeroPad2d,
    ZeroPad3d,
};
pub use pool::{
    AvgPool1d, AvgPool2d, AvgPool3d, LPPool1d, LPPool2d, LPPool3d, MaxPool1d, MaxPool2d, MaxPool3d, MinPool1d,
    MinPool2d, MinPool3d,
};
pub use recurrent::{
    GRU, GRUCell, Gru, LSTM, LSTMCell, Lstm, Nonlinearity, RNN, RNNCell, Recurrence, Recurrent, RecurrentCell, Rnn,
    Weights,
};
pub use shuffle::{ChannelShuffle, PixelShuffle, PixelUnshuffle};
pub use transformer::{
    Transformer, TransformerDecoder, TransformerDecoderLayer, TransformerEncoder, TransformerEncoderLayer,
    TransformerMasks,
};
pub use upsample::{Upsample, UpsamplingBilinear2d, UpsamplingNearest2d};
