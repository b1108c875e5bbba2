//! Modules made of modules: `Sequential`, `ModuleList`; and `Lambda`, `Identity`.

use std::fmt;
use std::rc::Rc;

use crate::module::{Forward, Layer, Member, Members, Module, write_tree};
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

impl fmt::Display for Sequential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_tree(self, f)
    }
}

impl fmt::Debug for Sequential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_tree(self, f)
    }
}

/// Modules of one type in a list, named `0`, `1`, ...; what to do with them is the owner's business. A `Vec` of
/// modules as a field is the same thing.
pub type ModuleList<M> = Vec<M>;

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

impl fmt::Display for Lambda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_tree(self, f)
    }
}

impl fmt::Debug for Lambda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_tree(self, f)
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
