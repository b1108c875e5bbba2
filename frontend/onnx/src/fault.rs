//! What can go wrong with one node, and with an import as a whole.

use std::collections::BTreeSet;
use std::fmt;

use nnc_ir::Diagnostic;

/// Why a node could not be imported.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// The node breaks the operator's rules: found and expected.
    Invalid(String),
    /// The node asks for something that nnc does not do.
    Unsupported(String),
    /// The value of an input is needed while importing, but is only known at run time.
    NeedsValue {
        /// Position of the input.
        input: usize,
        /// What the input is called in the model.
        name: String,
    },
    /// An earlier fault, which is already reported, is the cause.
    Reported,
}

/// A kind of operator that nnc cannot import, with its nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// Domain; `ai.onnx` is empty.
    pub domain: String,
    /// Operator.
    pub op_type: String,
    /// Version of the domain's operators that the model asks for.
    pub opset: i64,
    /// Names of the nodes (`#12` where a node has none).
    pub nodes: Vec<String>,
}

/// Everything that keeps a model from being imported.
#[derive(Clone, Debug, Default)]
pub struct ImportError {
    /// The faults in order of appearance; at least one.
    pub diagnostics: Vec<Diagnostic>,
    /// Operators that are not supported: all of them, wherever they are in the model.
    pub unsupported: Vec<Unsupported>,
    /// Inputs of the model on whose values shapes or settings depend: fixing them ([`Options::values`]) may help.
    ///
    /// [`Options::values`]: crate::Options::values
    pub needs: BTreeSet<String>,
    /// Whether extents of inputs were left symbolic: giving them ([`Options::dims`], [`Options::shapes`]) may help.
    ///
    /// [`Options::dims`]: crate::Options::dims
    /// [`Options::shapes`]: crate::Options::shapes
    pub symbolic: bool,
    /// Dimensions of inputs that were left symbolic.
    pub open: BTreeSet<String>,
}

impl ImportError {
    pub(crate) fn one(diagnostic: Diagnostic) -> Self {
        Self { diagnostics: vec![diagnostic], ..Self::default() }
    }
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (idx, diagnostic) in self.diagnostics.iter().enumerate() {
            if idx > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ImportError {}
