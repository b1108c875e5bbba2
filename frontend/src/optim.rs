//! `torch.optim`: optimizers, and which parameters they train.
//!
//! The optimizers themselves are defined in [`nnc_optim`]; the driver builds their updates into the compiled training
//! step. Names and defaults are PyTorch's. An [`Optimizer`] adds what only a model knows: parameter groups.
//!
//! ```
//! use nnc_frontend::prelude::*;
//!
//! let model = sequential![Linear::new(4, 8), ReLU::new(), Linear::new(8, 2)];
//! let optimizer = Optimizer::new(AdamW::new(1e-3))
//!     .group(Select::matching(|name, _| name.ends_with("bias")), AdamW::new(1e-3).weight_decay(0.0))
//!     .group("2.weight", AdamW::new(1e-4));
//! let groups = optimizer.resolve(&model.named_parameters())?;
//! assert_eq!(groups[0].params, ["0.weight"]);
//! # Ok::<(), Vec<nnc_ir::Diagnostic>>(())
//! ```

mod groups;
mod lbfgs;
pub mod lr_scheduler;

pub use groups::{Optimizer, ParamGroup, Select};
pub use lbfgs::LBFGS;
pub use nnc_optim::lbfgs::LineSearch;
pub use nnc_optim::{Adadelta, Adagrad, Adam, AdamW, Adamax, NAdam, OptimizerSpec, RAdam, RMSprop, Rprop, Rule, Sgd};
