//! Modules made of modules or parameters: `Sequential`, `ModuleList`, `ModuleDict`, `ParameterList`, `ParameterDict`; and
//! `Lambda`, `Identity`.

use std::fmt;
use std::rc::Rc;

use nnc_ir::DType;

use crate::module::{Forward, Layer, Member, Members, Module, write_tree};
use crate::parameter::Parameter;
use crate::tensor::Tensor;
use crate::trace;

/// Modules run one after the other, named `0`, `1`, ...
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let model = sequential![Linear::new(784, 512), ReLU::new(), Linear::new(512, 10)];
/// assert_eq!(model.named_parameters()[2].0, "2.weight");
/// assert_eq!(model.forward(&Tensor::zeros([1, 784])).shape().to_string(), "[1, 10]");
/// ```
#[derive(Default)]
pub struct Sequential {
    layers: Vec<(String, Box<dyn Layer>)>,
}

/// Builds a [`Sequential`] of the given layers.
///
/// ```
/// # use nnc_frontend::prelude::*;
/// let model = sequential![Flatten::new(), Linear::new(784, 10)];
/// assert_eq!(model.len(), 2);
/// ```
#[macro_export]
macro_rules! sequential {
    ($($layer:expr),* $(,)?) => {
        $crate::nn::Sequential::new()$(.push($layer))*
    };
}

impl Sequential {
    /// A chain of nothing: the identity.
    pub fn new() -> Self {
        Self::default()
    }

    /// The chain with one more layer at its end.
    #[must_use]
    pub fn push(self, layer: impl Layer + 'static) -> Self {
        let name = self.layers.len().to_string();
        self.push_named(name, layer)
    }

    /// The chain with one more layer of the given name: `Sequential(OrderedDict(...))`.
    #[must_use]
    pub fn push_named(mut self, name: impl Into<String>, layer: impl Layer + 'static) -> Self {
        self.layers.push((name.into(), Box::new(layer)));
        self
    }

    /// Number of layers.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there are no layers.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// The layer at position `idx`.
    pub fn get(&self, idx: usize) -> Option<&dyn Layer> {
        self.layers.get(idx).map(|(_, layer)| layer.as_ref())
    }

    /// Layers in order.
    pub fn iter(&self) -> impl Iterator<Item = &dyn Layer> {
        self.layers.iter().map(|(_, layer)| layer.as_ref())
    }
}

impl Module for Sequential {
    fn members(&self) -> Members<'_> {
        self.layers.iter().map(|(name, layer)| (name.clone(), Member::Module(layer.as_module()))).collect()
    }

    fn type_name(&self) -> String {
        "Sequential".to_string()
    }
}

impl Forward for Sequential {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let _scope = trace::enter(self.key());
        let mut x = x.clone();
        for (_, layer) in &self.layers {
            let _scope = trace::enter(layer.as_module().key());
            x = layer.forward(&x);
        }
        x
    }
}

/// Modules of one type in a list, named `0`, `1`, ...; what to do with them is the owner's business. A `Vec` of
/// modules as a field is the same thing.
pub type ModuleList<M> = Vec<M>;

/// Modules by name, in the order they were added; what to do with them is the owner's business.
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let choices = ModuleDict::new().push("relu", ReLU::new()).push("project", Linear::new(2, 2));
/// assert_eq!(choices.named_parameters()[0].0, "project.weight");
/// let y = choices.get("relu").unwrap().forward(&Tensor::from_slice(&[-1.0f32, 1.0]));
/// assert_eq!(y.sum(..).item()?, 1.0);
/// # Ok::<(), Diagnostic>(())
/// ```
#[derive(Default)]
pub struct ModuleDict {
    layers: Vec<(String, Box<dyn Layer>)>,
}

impl ModuleDict {
    /// A dict of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The dict with one more module. A name that is there already gets the new module in its place.
    #[must_use]
    pub fn push(mut self, name: impl Into<String>, layer: impl Layer + 'static) -> Self {
        let name = name.into();
        let layer: Box<dyn Layer> = Box::new(layer);
        match self.layers.iter_mut().find(|(known, _)| *known == name) {
            Some((_, place)) => *place = layer,
            None => self.layers.push((name, layer)),
        }
        self
    }

    /// The module called `name`.
    pub fn get(&self, name: &str) -> Option<&dyn Layer> {
        self.layers.iter().find(|(known, _)| known == name).map(|(_, layer)| layer.as_ref())
    }

    /// Names in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.layers.iter().map(|(name, _)| name.as_str())
    }

    /// Names and modules in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &dyn Layer)> {
        self.layers.iter().map(|(name, layer)| (name.as_str(), layer.as_ref()))
    }

    /// Number of modules.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there are no modules.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }
}

impl Module for ModuleDict {
    fn members(&self) -> Members<'_> {
        self.layers.iter().map(|(name, layer)| (name.clone(), Member::Module(layer.as_module()))).collect()
    }
}

/// Parameters in a list, named `0`, `1`, ... A `Vec` of parameters as a field is named alike, but prints as a list of
/// modules.
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let list = ParameterList::new([Parameter::new(Tensor::ones([2, 3]))]);
/// assert_eq!(list.to_string(), "ParameterList(  (0): Parameter containing: [torch.float32 of size 2x3])");
/// assert_eq!(list[0].numel(), 6);
/// ```
#[derive(Clone, Default)]
pub struct ParameterList {
    parameters: Vec<Parameter>,
}

impl ParameterList {
    /// The list of `parameters`.
    pub fn new(parameters: impl IntoIterator<Item = Parameter>) -> Self {
        Self { parameters: parameters.into_iter().collect() }
    }
}

impl std::ops::Deref for ParameterList {
    type Target = [Parameter];

    fn deref(&self) -> &[Parameter] {
        &self.parameters
    }
}

impl Module for ParameterList {
    fn members(&self) -> Members<'_> {
        let named = |(idx, parameter): (usize, _)| (idx.to_string(), Member::Parameter(parameter));
        self.parameters.iter().enumerate().map(named).collect()
    }

    fn extra_repr(&self) -> String {
        let lines = self.parameters.iter().enumerate().map(|(idx, parameter)| {
            let dtype = python_dtype(parameter);
            format!("  ({idx}): Parameter containing: [{dtype} of size {}]", python_size(parameter))
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Parameters by name, in the order they were added.
#[derive(Clone, Default)]
pub struct ParameterDict {
    parameters: Vec<(String, Parameter)>,
}

impl ParameterDict {
    /// A dict of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The dict with one more parameter. A name that is there already gets the new parameter in its place.
    #[must_use]
    pub fn push(mut self, name: impl Into<String>, parameter: Parameter) -> Self {
        let name = name.into();
        match self.parameters.iter_mut().find(|(known, _)| *known == name) {
            Some((_, place)) => *place = parameter,
            None => self.parameters.push((name, parameter)),
        }
        self
    }

    /// The parameter called `name`.
    pub fn get(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, parameter)| parameter)
    }

    /// Names and parameters in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Parameter)> {
        self.parameters.iter().map(|(name, parameter)| (name.as_str(), parameter))
    }
}

impl Module for ParameterDict {
    fn members(&self) -> Members<'_> {
        self.parameters.iter().map(|(name, parameter)| (name.clone(), Member::Parameter(parameter))).collect()
    }

    fn extra_repr(&self) -> String {
        let lines = self.parameters.iter().map(|(name, parameter)| {
            let tensor = match parameter.dtype() {
                DType::F64 => "torch.DoubleTensor",
                DType::F16 => "torch.HalfTensor",
                DType::BF16 => "torch.BFloat16Tensor",
                _ => "torch.FloatTensor",
            };
            format!("  ({name}): Parameter containing: [{tensor} of size {}]", python_size(parameter))
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// An element type as PyTorch prints it.
fn python_dtype(parameter: &Parameter) -> &'static str {
    match parameter.dtype() {
        DType::F64 => "torch.float64",
        DType::F16 => "torch.float16",
        DType::BF16 => "torch.bfloat16",
        _ => "torch.float32",
    }
}

/// A size as the lists of PyTorch print it: `2x3`.
fn python_size(parameter: &Parameter) -> String {
    parameter.shape().iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

/// Prints as the tree of members.
macro_rules! print_as_tree {
    ($($name:ident),*) => {
        $(
            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    write_tree(self, f)
                }
            }

            impl fmt::Debug for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    write_tree(self, f)
                }
            }
        )*
    };
}

print_as_tree!(Sequential, ModuleDict, ParameterList, ParameterDict, Lambda);

/// A closure as a layer.
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let model = sequential![Lambda::new(|x| x.view((-1, 1, 28, 28))), Flatten::new()];
/// assert_eq!(model.forward(&Tensor::zeros([2, 784])).shape().to_string(), "[2, 784]");
/// assert_eq!(model.get(0).unwrap().type_name(), "Lambda");
/// ```
#[derive(Clone)]
pub struct Lambda {
    function: Rc<dyn Fn(&Tensor) -> Tensor>,
}

impl Lambda {
    /// The layer that applies `function`.
    pub fn new(function: impl Fn(&Tensor) -> Tensor + 'static) -> Self {
        Self { function: Rc::new(function) }
    }
}

impl Module for Lambda {
    fn members(&self) -> Members<'_> {
        Members::new()
    }
}

impl Forward for Lambda {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let _scope = trace::enter(self.key());
        (self.function)(x)
    }
}

/// Gives its input back.
#[derive(Clone, Debug, Default, Module)]
pub struct Identity {
    /// Modules are told apart by address, which a type without size does not have.
    _sized: u8,
}

impl Identity {
    /// The layer.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Forward for Identity {
    fn forward(&self, x: &Tensor) -> Tensor {
        x.clone()
    }
}
