//! What the names of an ONNX graph stand for while it is imported.

use std::rc::Rc;

use nnc_frontend::{Parameter, Tensor};
use nnc_ir::{DType, Shape, TensorData};

use crate::bound::Bound;
use crate::elem::ElemType;
use crate::labels::{Maps, Picked};
use crate::shape_int::ShapeInt;

/// What a name stands for.
#[derive(Clone)]
pub(crate) enum Value {
    /// A tensor.
    Tensor(TensorValue),
    /// A list of tensors whose length is known.
    Sequence(Rc<[Value]>),
    /// Something, or nothing.
    Optional(Option<Box<Value>>),
    /// Strings that are known.
    Strings(Rc<StringTensor>),
    /// Strings that are picked from a list when the program runs.
    Picked(Picked),
    /// A sequence of maps: what `ZipMap` gives.
    Maps(Maps),
}

/// A tensor with what the importer knows of it beyond its type.
#[derive(Clone)]
pub(crate) struct TensorValue {
    pub(crate) source: Source,
    /// ONNX's element type; the IR's may have more values.
    pub(crate) elem: ElemType,
    /// The elements, in row-major order, where they follow from extents.
    pub(crate) ints: Option<Rc<[ShapeInt]>>,
    /// How many slices along an axis count, where the others are fill.
    pub(crate) bound: Option<Bound>,
}

/// Where the elements of a tensor come from.
#[derive(Clone)]
pub(crate) enum Source {
    /// A tensor of the trace, or concrete data.
    Tensor(Tensor),
    /// A weight of the model, which becomes a parameter of the function when something is computed from it.
    Weight(Rc<Weight>),
    /// [`TensorValue::ints`] alone, in a tensor of this shape.
    Ints {
        /// Extents.
        shape: Vec<usize>,
    },
}

/// A floating-point tensor of the model that can be trained.
pub(crate) struct Weight {
    pub(crate) name: String,
    /// What the model holds under the name: the parameter's first value.
    pub(crate) stored: TensorData,
    pub(crate) parameter: Parameter,
}

/// A tensor of strings.
#[derive(Debug)]
pub(crate) struct StringTensor {
    pub(crate) shape: Vec<usize>,
    pub(crate) elements: Vec<Vec<u8>>,
}

impl Value {
    /// A tensor of an element type that the IR does not have, in its carrier.
    pub(crate) fn with_elem(tensor: Tensor, elem: ElemType) -> Self {
        Self::Tensor(TensorValue { source: Source::Tensor(tensor), elem, ints: None, bound: None })
    }

    /// Integers, in row-major order, that may follow from extents. Those that are all known are data.
    pub(crate) fn ints(ints: Vec<ShapeInt>, shape: Vec<usize>, elem: ElemType) -> Self {
        let known: Option<Vec<i64>> = ints.iter().map(ShapeInt::known).collect();
        if let Some(known) = known {
            let dtype = elem.carrier().unwrap_or(DType::I64);
            return Self::with_elem(Tensor::from_data(TensorData::from_integers(dtype, shape, known)), elem);
        }
        Self::Tensor(TensorValue { source: Source::Ints { shape }, elem, ints: Some(ints.into()), bound: None })
    }

    /// The same tensor, of which only some slices count.
    pub(crate) fn with_bound(self, bound: Bound) -> Self {
        match self {
            Self::Tensor(value) => Self::Tensor(TensorValue { bound: Some(bound), ints: None, ..value }),
            value => value,
        }
    }
}

impl From<Tensor> for Value {
    fn from(tensor: Tensor) -> Self {
        let elem = ElemType::of(tensor.dtype());
        Self::with_elem(tensor, elem)
    }
}

impl TensorValue {
    /// The elements, if they are known while importing.
    pub(crate) fn known(&self) -> Option<TensorData> {
        match &self.source {
            Source::Tensor(tensor) => tensor.data().ok(),
            Source::Weight(weight) => Some(weight.parameter.data()),
            Source::Ints { .. } => None,
        }
    }

    /// Extents.
    pub(crate) fn shape(&self) -> Shape {
        match &self.source {
            Source::Tensor(tensor) => tensor.shape(),
            Source::Weight(weight) => weight.parameter.ty().shape,
            Source::Ints { shape } => Shape::fixed(shape),
        }
    }

    /// Whether an earlier fault keeps the tensor from having a value.
    pub(crate) fn is_poisoned(&self) -> bool {
        matches!(&self.source, Source::Tensor(tensor) if tensor.is_poisoned())
    }
}
