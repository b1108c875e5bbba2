//! Text to modules.
//!
//! [`parse_module`] takes any text. It recovers at line ends, so that one reading reports every fault, each with line
//! and column; a statement that uses the result of a faulty one is not reported again. Nesting, the size of dimension
//! expressions and the size of literals are bounded by the text itself, so that no text exhausts the stack or asks for
//! memory it does not fill.
//!
//! What is written is kept: a type that contradicts the op is the verifier's business. Types may be left out where the
//! op's rule gives them.

use std::sync::Arc;

use indexmap::IndexMap;

use crate::diagnostic::{Diagnostic, Location};
use crate::dim::Dim;
use crate::literal::TensorData;
use crate::module::{Func, Module};

pub(crate) mod lexer;
mod literal;
mod parser;
mod types;

/// Where `constant @name` finds its elements.
#[derive(Clone, Debug, Default)]
pub struct WeightSource {
    weights: IndexMap<Arc<str>, TensorData>,
    place: Option<String>,
    missing: Option<String>,
}

impl WeightSource {
    /// No weights: a `constant @name` is a fault.
    pub fn none() -> Self {
        Self::default()
    }

    /// Weights by name.
    pub fn given(weights: IndexMap<Arc<str>, TensorData>) -> Self {
        Self { weights, place: None, missing: None }
    }

    /// Weights read from the file called `place`, which diagnostics name.
    pub fn file(weights: IndexMap<Arc<str>, TensorData>, place: impl Into<String>) -> Self {
        Self { weights, place: Some(place.into()), missing: None }
    }

    /// No weights, because the file called `place` does not exist.
    pub fn missing_file(place: impl Into<String>) -> Self {
        Self { weights: IndexMap::new(), place: None, missing: Some(place.into()) }
    }

    fn get(&self, name: &str) -> Result<&TensorData, String> {
        self.weights.get(name).ok_or_else(|| match (&self.place, &self.missing) {
            (Some(place), _) => format!("there is no weight @{name} in {place}"),
            (None, Some(missing)) => format!("there is no weight @{name}: {missing} does not exist"),
            (None, None) => format!("there is no weight @{name}"),
        })
    }

    /// Whether a parameter may start from the weight `name`. Without a file it may: the verifier looks at it again.
    fn check_param(&self, name: &str) -> Result<(), String> {
        if self.place.is_none() && self.missing.is_none() { Ok(()) } else { self.get(name).map(|_| ()) }
    }
}

/// Reads a module. Every node's location is its line in `file_name`; the weights become the module's.
///
/// # Errors
/// Every fault in the text, in order.
///
/// ```
/// use nnc_ir::parse::{WeightSource, parse_module};
///
/// let text = "func @main(%x: f32[4]) -> (y: f32[4]) {\n  %0 = negate %x : f32[4]\n  return %0\n}\n";
/// let module = parse_module(text, "model.ir", WeightSource::none()).unwrap();
/// assert_eq!(module.to_string(), text);
///
/// let faults = parse_module("func @main(%x: f32[4]) {\n  return %y\n}", "model.ir", WeightSource::none()).unwrap_err();
/// assert_eq!(faults[0].to_string(), "model.ir:2:10: undefined value `%y`");
/// ```
pub fn parse_module(text: &str, file_name: &str, weights: WeightSource) -> Result<Module, Vec<Diagnostic>> {
    let (funcs, faults) = parser::Parser::new(text, file_name, &weights).module();
    if faults.is_empty() { Ok(Module { funcs, weights: weights.weights }) } else { Err(faults) }
}

/// Reads a text that holds one function, without weights.
///
/// # Errors
/// Every fault in the text, or that there is not exactly one function.
pub fn parse_func(text: &str) -> Result<Func, Vec<Diagnostic>> {
    let mut module = parse_module(text, "text", WeightSource::none())?;
    match module.funcs.pop() {
        Some(func) if module.funcs.is_empty() => Ok(func),
        _ => Err(vec![Diagnostic::new(Location::at("text", 1, 1), "expected one function")]),
    }
}

/// Reads a dimension: `784`, `N`, `2*N + 1`, `(N // 2)`.
///
/// # Errors
/// The first fault.
pub fn parse_dim(text: &str) -> Result<Dim, Diagnostic> {
    let weights = WeightSource::none();
    parser::Parser::in_brackets(text, "dimension", &weights).whole_dim()
}
