//! What a program that defines and trains models needs, by `use nnc_frontend::prelude::*`.

pub use nnc_ir::{DType, Diagnostic, Dim, Shape, TensorData, TensorType};

pub use crate::data::{
    self, ConcatDataset, DataLoader, Dataset, Loader, Subset, TensorDataset, WeightedRandomSampler, WrappedDataLoader,
    random_split,
};
pub use crate::functional;
pub use crate::init;
pub use crate::module::{Forward, Layer, Module, StateDict};
pub use crate::nn::{self, *};
pub use crate::optim::{
    self, Adadelta, Adagrad, Adam, AdamW, Adamax, LBFGS, NAdam, Optimizer, RAdam, RMSprop, Rprop, Select, Sgd,
};
pub use crate::parameter::{Buffer, Parameter, Training};
pub use crate::random::manual_seed;
pub use crate::sequential;
pub use crate::tensor::{Index, Reduced, Tensor, Tensors, ToOperand, ToTensor, range, where_};
pub use crate::trace::{Trace, TraceError, trace};
