//! What the model that a program was compiled from calls its inputs and outputs.
//!
//! The runtime runs without it. Whoever shows results or takes inputs by the model's names reads it, so that an artifact
//! behaves as the model it was made of.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::Constant;

/// The model's view of a program. Empty where the model has no other view than the program's own, as nnc's modules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// The model's inputs that are inputs of the program.
    pub inputs: Vec<Port>,
    /// The model's outputs, in its order.
    pub outputs: Vec<Port>,
    /// The model's inputs whose values the program was compiled for, and the values.
    pub fixed: Vec<(String, Constant)>,
}

/// An input or output of the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Name in the model.
    pub name: String,
    /// Element type in the model's words (`float8e4m3fn`), where the tensor's only has all its values.
    pub elem: Option<String>,
    /// Inputs or outputs of the program that belong to it: one, or those of a sequence's tensors.
    pub tensors: Range<u32>,
    /// How much of an output is data, where that depends on the run.
    pub bound: Option<Bound>,
}

/// The extent of an output that depends on data: the tensor has its greatest extent, of which the first slices count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// The dimension.
    pub axis: u32,
    /// The output of the program that holds the number of slices: an `i64` scalar.
    pub count: u32,
}
