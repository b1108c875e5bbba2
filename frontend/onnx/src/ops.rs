//! The table of operators: one entry each, with the operator sets it is written for.
//!
//! A family of operators is a file; its functions compose an operator of the front end's `Tensor` functions.

use std::collections::HashMap;
use std::fmt;
use std::ops::{RangeFrom, RangeInclusive};
use std::sync::OnceLock;

use nnc_frontend::Tensor;
use nnc_frontend::tensor::apply;
use nnc_ir::ops::IotaAttrs;
use nnc_ir::{Constant, DType, Dim, Op, Scalar, TensorType};

use crate::cx::Cx;
use crate::fault::Fault;
use crate::value::Value;

/// The newest operator set of `ai.onnx` that the table was written against.
pub const NEWEST_OPSET: i64 = 28;

/// What a node gives: one value an output; surplus ones are dropped.
pub(crate) type Outcome = Result<Vec<Value>, Fault>;

/// The function that imports a node.
pub(crate) type Import = fn(&mut Cx<'_>) -> Outcome;

/// A set of operators with versions of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Domain {
    /// `ai.onnx`, written as nothing.
    Onnx,
    /// `ai.onnx.ml`.
    Ml,
    /// `ai.onnx.preview`.
    Preview,
    /// `ai.onnx.preview.training`.
    Training,
    /// `com.microsoft`: what ONNX Runtime adds.
    Microsoft,
}

impl Domain {
    /// The domain of a name in a file.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "" | "ai.onnx" => Some(Self::Onnx),
            "ai.onnx.ml" => Some(Self::Ml),
            "ai.onnx.preview" => Some(Self::Preview),
            "ai.onnx.preview.training" | "ai.onnx.training" => Some(Self::Training),
            "com.microsoft" => Some(Self::Microsoft),
            _ => None,
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Onnx => "ai.onnx",
            Self::Ml => "ai.onnx.ml",
            Self::Preview => "ai.onnx.preview",
            Self::Training => "ai.onnx.preview.training",
            Self::Microsoft => "com.microsoft",
        })
    }
}

/// An operator.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) domain: Domain,
    pub(crate) name: &'static str,
    /// Operator sets of the domain that the function is written for.
    pub(crate) opsets: RangeInclusive<i64>,
    pub(crate) import: Import,
}

impl Entry {
    /// The same in another domain.
    pub(crate) const fn in_domain(mut self, domain: Domain) -> Self {
        self.domain = domain;
        self
    }
}

/// An operator of `ai.onnx` from an operator set on.
pub(crate) const fn op(name: &'static str, opsets: RangeFrom<i64>, import: Import) -> Entry {
    Entry { domain: Domain::Onnx, name, opsets: opsets.start..=i64::MAX, import }
}

/// An operator of `ai.onnx` in some operator sets.
pub(crate) const fn op_range(name: &'static str, opsets: RangeInclusive<i64>, import: Import) -> Entry {
    Entry { domain: Domain::Onnx, name, opsets, import }
}

/// One output.
pub(crate) fn one(tensor: Tensor) -> Outcome {
    Ok(vec![tensor.into()])
}

/// Several outputs.
pub(crate) fn many(tensors: impl IntoIterator<Item = Tensor>) -> Outcome {
    Ok(tensors.into_iter().map(Value::from).collect())
}

/// Half precision as `f32`, in which it is computed where a step would round visibly.
#[track_caller]
pub(crate) fn wide(x: &Tensor) -> Tensor {
    match x.dtype() {
        DType::F16 | DType::BF16 => x.float(),
        _ => x.clone(),
    }
}

/// Numbers of element type `dtype` that count along dimension `dim`.
#[track_caller]
pub(crate) fn iota(dtype: DType, dims: impl Into<Vec<Dim>>, dim: usize) -> Tensor {
    apply(Op::Iota(IotaAttrs { ty: TensorType::new(dtype, dims.into()), dim }), &[])
}

/// Zeros of element type `dtype`.
#[track_caller]
pub(crate) fn zeros(dtype: DType, dims: impl Into<Vec<Dim>>) -> Tensor {
    let value = Scalar::from_f64(dtype, 0.0);
    apply(Op::Constant(Constant::Splat { ty: TensorType::new(dtype, dims.into()), value }), &[])
}

mod activation;
mod arg;
mod attention;
mod bitwise;
mod cast;
mod compare;
mod contrib;
mod control;
mod convolution;
mod cumulative;
mod elementwise;
mod gather;
mod generate;
mod gradient;
mod grid;
mod integers;
mod ints;
mod leaf;
mod linear_attention;
mod loss;
mod matmul;
mod ml;
mod nms;
mod nonzero;
mod norm;
mod pad;
mod pool;
mod positions;
mod quant;
mod random;
mod recurrent;
mod reduce;
mod resize;
mod roi;
mod rotary;
mod scatter;
mod select;
mod sequence;
mod shape;
mod signal;
mod slice;
mod softmax;
mod text;
mod training;
mod variadic;
mod window;

pub(crate) use positions::counting;

/// Every family of the table.
const FAMILIES: &[&[Entry]] = &[
    activation::OPS,
    arg::OPS,
    attention::OPS,
    bitwise::OPS,
    cast::OPS,
    compare::OPS,
    contrib::OPS,
    contrib::fused::OPS,
    contrib::grouped_query::OPS,
    control::OPS,
    convolution::OPS,
    cumulative::OPS,
    elementwise::OPS,
    gather::OPS,
    generate::OPS,
    gradient::OPS,
    grid::OPS,
    leaf::OPS,
    linear_attention::OPS,
    loss::OPS,
    matmul::OPS,
    ml::features::OPS,
    ml::labels::OPS,
    ml::linear::OPS,
    ml::maps::OPS,
    ml::svm::OPS,
    ml::trees::OPS,
    nms::OPS,
    nonzero::OPS,
    norm::OPS,
    pad::OPS,
    pool::OPS,
    quant::OPS,
    random::OPS,
    recurrent::OPS,
    reduce::OPS,
    resize::OPS,
    roi::OPS,
    rotary::OPS,
    scatter::OPS,
    select::OPS,
    sequence::OPS,
    shape::OPS,
    signal::OPS,
    slice::OPS,
    softmax::OPS,
    text::OPS,
    training::OPS,
    variadic::OPS,
];

/// The entry of an operator in an operator set of its domain.
pub(crate) fn find(domain: Domain, name: &str, opset: i64) -> Option<&'static Entry> {
    static TABLE: OnceLock<HashMap<(Domain, &'static str), Vec<&'static Entry>>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let mut table: HashMap<_, Vec<_>> = HashMap::new();
        for entry in FAMILIES.iter().copied().flatten() {
            table.entry((entry.domain, entry.name)).or_default().push(entry);
        }
        table
    });
    table.get(&(domain, name))?.iter().copied().find(|entry| entry.opsets.contains(&opset))
}

/// Every operator of the table: domain, name, first and last operator set (`None`: the newest), in alphabetic order.
pub fn operators() -> Vec<(Domain, &'static str, i64, Option<i64>)> {
    let describe = |entry: &Entry| {
        let last = Some(*entry.opsets.end()).filter(|&last| last != i64::MAX);
        (entry.domain, entry.name, *entry.opsets.start(), last)
    };
    let mut operators: Vec<_> = FAMILIES.iter().copied().flatten().map(describe).collect();
    operators.sort();
    operators
}
