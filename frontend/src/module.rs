//! `Module`: what owns parameters, and what can be known of it by walking its fields.
//!
//! A module names its direct members once ([`Module::members`], written by `#[derive(Module)]`); everything else
//! (parameters, names, the printed tree, the state dict, train and eval) follows from walking them in declaration
//! order.

use std::fmt;

use nnc_ir::DType;

use crate::parameter::{Buffer, Parameter, Training};
use crate::tensor::Tensor;

mod field;
mod python;
mod state_dict;
mod tree;

pub use field::{Field, Plain, Probe, Registered};
pub use nnc_derive::Module;
pub(crate) use python::{python_bool, python_float, python_tuple};
pub use state_dict::{LoadError, LoadReport, StateDict};
pub use tree::write_tree;

/// One thing a module owns.
#[derive(Clone, Copy)]
pub enum Member<'a> {
    /// A trainable tensor.
    Parameter(&'a Parameter),
    /// A tensor that is state but not trained.
    Buffer(&'a Buffer),
    /// A module.
    Module(&'a dyn Module),
    /// The module's own training mode.
    Training(&'a Training),
}

impl fmt::Debug for Member<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parameter(parameter) => write!(f, "{parameter:?}"),
            Self::Buffer(buffer) => write!(f, "{buffer:?}"),
            Self::Module(module) => f.write_str(&module.type_name()),
            Self::Training(training) => write!(f, "{training:?}"),
        }
    }
}

/// A module's direct members by name, in declaration order.
pub type Members<'a> = Vec<(String, Member<'a>)>;

/// Identity of a module: its address and type (a struct and its first field share the address).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ModuleKey {
    address: usize,
    type_name: &'static str,
}

/// A layer, or a model made of layers: `torch.nn.Module`.
///
/// `#[derive(Module)]` writes this for a struct: fields that are parameters, buffers, modules, or `Option`s, `Vec`s,
/// arrays and boxes of them are members under their field names; plain fields (numbers, strings, shapes) are left
/// alone. A member the derive cannot see (behind a type of another crate) is not silently lost: a trace of the bound
/// model refuses to use a parameter the model does not own.
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// #[derive(Module)]
/// struct TinyModel {
///     linear1: Linear,
///     activation: ReLU,
///     linear2: Linear,
///     softmax: Softmax,
/// }
///
/// impl Forward for TinyModel {
///     fn forward(&self, x: &Tensor) -> Tensor {
///         let x = self.activation.forward(&self.linear1.forward(x));
///         self.softmax.forward(&self.linear2.forward(&x))
///     }
/// }
///
/// let model = TinyModel {
///     linear1: Linear::new(100, 200),
///     activation: ReLU::new(),
///     linear2: Linear::new(200, 10),
///     softmax: Softmax::new(1),
/// };
/// assert_eq!(model.named_parameters()[2].0, "linear2.weight");
/// assert_eq!(model.to_string(), "\
/// TinyModel(
///   (linear1): Linear(in_features=100, out_features=200, bias=True)
///   (activation): ReLU()
///   (linear2): Linear(in_features=200, out_features=10, bias=True)
///   (softmax): Softmax(dim=1)
/// )");
/// ```
pub trait Module {
    /// Direct members by name, in declaration order.
    fn members(&self) -> Members<'_>;

    /// Name of the type, as the tree prints it.
    fn type_name(&self) -> String {
        short_type_name(std::any::type_name::<Self>())
    }

    /// The layer's configuration, as the tree prints it: `in_features=3, out_features=2, bias=True`.
    fn extra_repr(&self) -> String {
        String::new()
    }

    /// Identity of the module while it stays where it is.
    fn key(&self) -> ModuleKey {
        ModuleKey { address: std::ptr::from_ref(self).cast::<u8>() as usize, type_name: std::any::type_name::<Self>() }
    }

    /// Direct submodules by name: `named_children()` in PyTorch.
    fn children(&self) -> Vec<(String, &dyn Module)> {
        let modules = self.members().into_iter().filter_map(|(name, member)| match member {
            Member::Module(module) => Some((name, module)),
            _ => None,
        });
        modules.collect()
    }

    /// This module (under the empty name) and all below it by dotted path, parents first.
    fn named_modules(&self) -> Vec<(String, &dyn Module)>
    where
        Self: Sized,
    {
        named_modules(self)
    }

    /// All parameters by dotted path, depth first in declaration order. A parameter that is shared appears once, under
    /// its first path.
    fn named_parameters(&self) -> Vec<(String, Parameter)> {
        let mut found: Vec<(String, Parameter)> = Vec::new();
        walk_tensors(self.members(), "", &mut |path, member| {
            if let Member::Parameter(parameter) = member
                && !found.iter().any(|(_, seen)| seen.id() == parameter.id())
            {
                found.push((path, parameter.clone()));
            }
        });
        found
    }

    /// All parameters, in the order of [`Module::named_parameters`].
    fn parameters(&self) -> Vec<Parameter> {
        self.named_parameters().into_iter().map(|(_, parameter)| parameter).collect()
    }

    /// All buffers by dotted path; a shared one appears once.
    fn named_buffers(&self) -> Vec<(String, Buffer)> {
        let mut found: Vec<(String, Buffer)> = Vec::new();
        walk_tensors(self.members(), "", &mut |path, member| {
            if let Member::Buffer(buffer) = member
                && !found.iter().any(|(_, seen)| seen.id() == buffer.id())
            {
                found.push((path, buffer.clone()));
            }
        });
        found
    }

    /// All buffers, in the order of [`Module::named_buffers`].
    fn buffers(&self) -> Vec<Buffer> {
        self.named_buffers().into_iter().map(|(_, buffer)| buffer).collect()
    }

    /// Puts the module and all below it into training mode: dropout drops, batch norm measures.
    fn train(&self) {
        set_training(&self.members(), true);
    }

    /// Puts the module and all below it into evaluation mode.
    fn eval(&self) {
        set_training(&self.members(), false);
    }

    /// Says of every parameter whether training changes it.
    fn set_requires_grad(&self, requires_grad: bool) {
        for parameter in self.parameters() {
            parameter.set_requires_grad(requires_grad);
        }
    }

    /// Converts every floating parameter and buffer to another floating element type: `model.to(torch.bfloat16)`.
    /// Layers take inputs of their parameters' type; sums are in `f32` whatever the type.
    ///
    /// ```
    /// use nnc_frontend::prelude::*;
    ///
    /// let layer = Linear::new(3, 2);
    /// layer.to_dtype(DType::BF16);
    /// assert_eq!(layer.forward(&Tensor::ones([5, 3]).bfloat16()).dtype(), DType::BF16);
    /// ```
    fn to_dtype(&self, dtype: DType) {
        self.named_parameters().iter().for_each(|(_, parameter)| parameter.to_dtype(dtype));
        self.named_buffers().iter().for_each(|(_, buffer)| buffer.to_dtype(dtype));
    }

    /// A copy of every parameter and buffer by dotted path. A shared tensor appears under each of its paths, as in
    /// PyTorch.
    fn state_dict(&self) -> StateDict {
        let mut state = StateDict::new();
        walk_tensors(self.members(), "", &mut |path, member| match member {
            Member::Parameter(parameter) => {
                state.insert(path, parameter.data());
            }
            Member::Buffer(buffer) => {
                state.insert(path, buffer.data());
            }
            Member::Module(_) | Member::Training(_) => {}
        });
        state
    }

    /// Replaces every parameter and buffer by the tensor of its name.
    ///
    /// # Errors
    /// All names that are missing, not expected, or of another type, at once; then nothing is changed.
    fn load_state_dict(&self, state: &StateDict) -> Result<(), LoadError> {
        state_dict::load(self.members(), state, true).map(|_| ())
    }

    /// [`Module::load_state_dict`] that leaves alone what is missing and passes over what is not expected; says what
    /// those were (`strict=False` in PyTorch).
    ///
    /// # Errors
    /// All tensors of another type than their name's.
    fn load_state_dict_lenient(&self, state: &StateDict) -> Result<LoadReport, LoadError> {
        state_dict::load(self.members(), state, false)
    }
}

/// A module that takes one tensor to one tensor. Modules with other signatures have a `forward` of their own.
///
/// On a type with `#[derive(Module)]`, `model.forward(&x)` goes through a method that the derive adds, which tells the
/// trace the module's path and then calls this.
pub trait Forward {
    /// The module's function.
    fn forward(&self, x: &Tensor) -> Tensor;
}

/// What a [`crate::nn::Sequential`] is made of.
pub trait Layer: Module + Forward {
    /// The layer as a module.
    fn as_module(&self) -> &dyn Module;
}

impl<T: Module + Forward> Layer for T {
    fn as_module(&self) -> &dyn Module {
        self
    }
}

/// Holds for exactly the types that are [`Forward`]; its parameter lets the derive write a method that exists only on
/// those.
pub trait ForwardIf<Marker> {
    /// [`Forward::forward`].
    #[track_caller]
    fn forward_traced(&self, x: &Tensor) -> Tensor;
}

impl<T: Forward> ForwardIf<()> for T {
    #[track_caller]
    fn forward_traced(&self, x: &Tensor) -> Tensor {
        self.forward(x)
    }
}

/// [`Module::named_modules`] of a trait object.
pub fn named_modules(root: &dyn Module) -> Vec<(String, &dyn Module)> {
    let mut found = vec![(String::new(), root)];
    walk_modules(root, "", &mut found);
    found
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_string() } else { format!("{prefix}.{name}") }
}

fn walk_modules<'a>(module: &'a dyn Module, prefix: &str, found: &mut Vec<(String, &'a dyn Module)>) {
    for (name, child) in module.children() {
        let path = join(prefix, &name);
        found.push((path.clone(), child));
        walk_modules(child, &path, found);
    }
}

/// Visits parameters and buffers: PyTorch lists a module's own first, then its submodules'.
fn walk_tensors<'a>(members: Members<'a>, prefix: &str, visit: &mut dyn FnMut(String, Member<'a>)) {
    for (name, member) in &members {
        if let Member::Parameter(_) | Member::Buffer(_) = member {
            visit(join(prefix, name), *member);
        }
    }
    for (name, member) in members {
        if let Member::Module(module) = member {
            walk_tensors(module.members(), &join(prefix, &name), visit);
        }
    }
}

fn set_training(members: &Members<'_>, training: bool) {
    for (_, member) in members {
        match member {
            Member::Training(mode) => mode.set(training),
            Member::Module(module) => set_training(&module.members(), training),
            Member::Parameter(_) | Member::Buffer(_) => {}
        }
    }
}

/// `Linear` from `crate::nn::linear::Linear`, generic arguments left out.
fn short_type_name(full: &str) -> String {
    let path = full.split('<').next().unwrap_or(full);
    path.rsplit("::").next().unwrap_or(path).to_string()
}
