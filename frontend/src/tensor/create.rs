//! Tensors from nothing: constants, counts, arrays and random numbers.

use nnc_ir::ops::IotaAttrs;
use nnc_ir::{DType, Dim, Op, Scalar, Shape, TensorData, TensorType};

use super::movement::{DimSpec, IntoShape};
use super::{Tensor, apply, fault, live, sound};
use crate::array::{Element, ToData};
use crate::{random, trace};

/// The extents asked for.
#[track_caller]
fn shape_of(what: &str, shape: impl IntoShape) -> Result<Shape, Tensor> {
    let mut dims = Vec::new();
    for spec in shape.into_shape() {
        match spec {
            DimSpec::Is(extent) => dims.push(extent),
            DimSpec::Infer => return Err(fault(format!("{what}: -1 is not an extent"))),
            DimSpec::Invalid(extent) => return Err(fault(format!("{what}: {extent} is not an extent"))),
        }
    }
    Ok(Shape(dims))
}

impl Tensor {
    /// A tensor of concrete data: from an `ndarray` array, say. In a trace it becomes a constant.
    pub fn from_array(array: impl ToData) -> Tensor {
        Tensor::from_data(array.to_data())
    }

    /// A vector of the given elements: `torch.tensor([...])`.
    pub fn from_slice<A: Element>(elements: &[A]) -> Tensor {
        let scalars = elements.iter().map(|&element| element.to_scalar());
        Tensor::from_data(TensorData::from_scalars(A::DTYPE, vec![elements.len()], scalars))
    }

    /// A scalar.
    pub fn scalar<A: Element>(value: A) -> Tensor {
        Tensor::from_data(TensorData::from_scalars(A::DTYPE, Vec::new(), [value.to_scalar()]))
    }

    /// `f32` elements that all are `value`.
    #[track_caller]
    pub fn full(shape: impl IntoShape, value: f64) -> Tensor {
        let shape = sound!(shape_of("full", shape));
        apply(trace::splat(TensorType::new(DType::F32, shape), Scalar::from_f64(DType::F32, value)), &[])
    }

    /// `f32` zeros.
    #[track_caller]
    pub fn zeros(shape: impl IntoShape) -> Tensor {
        Tensor::full(shape, 0.0)
    }

    /// `f32` ones.
    #[track_caller]
    pub fn ones(shape: impl IntoShape) -> Tensor {
        Tensor::full(shape, 1.0)
    }

    /// `value` in this tensor's type.
    #[track_caller]
    pub fn full_like(&self, value: f64) -> Tensor {
        let ty = live!(self);
        let scalar = Scalar::from_f64(ty.dtype, value);
        apply(trace::splat(ty, scalar), &[])
    }

    /// Zeros of this tensor's type.
    #[track_caller]
    pub fn zeros_like(&self) -> Tensor {
        self.full_like(0.0)
    }

    /// Ones of this tensor's type.
    #[track_caller]
    pub fn ones_like(&self) -> Tensor {
        self.full_like(1.0)
    }

    /// The `i64` numbers 0 to `end` (exclusive).
    #[track_caller]
    pub fn arange(end: impl Into<Dim>) -> Tensor {
        Tensor::iota(DType::I64, Shape(vec![end.into()]), 0)
    }

    /// An extent as an `i64` scalar. A symbolic one is counted when the program runs.
    #[track_caller]
    pub fn extent(extent: &Dim) -> Tensor {
        match extent.as_const() {
            Some(extent) => Tensor::scalar(extent as i64),
            None => Tensor::arange(extent.clone()).ones_like().sum(..),
        }
    }

    /// Numbers that count along dimension `dim`.
    #[track_caller]
    pub(crate) fn iota(dtype: DType, shape: Shape, dim: usize) -> Tensor {
        apply(Op::Iota(IotaAttrs { ty: TensorType { dtype, shape }, dim }), &[])
    }

    /// The `f32` identity matrix of `n` rows.
    #[track_caller]
    pub fn eye(n: usize) -> Tensor {
        let square = Shape::fixed(&[n, n]);
        Tensor::iota(DType::I32, square.clone(), 0).eq(Tensor::iota(DType::I32, square, 1)).float()
    }

    /// Uniform `f32` numbers in [0, 1). Outside a trace they come from the thread's generator (see
    /// [`crate::random::manual_seed`]); in a trace they are drawn anew on every run, from the state `rng`.
    #[track_caller]
    pub fn rand(shape: impl IntoShape) -> Tensor {
        let shape = sound!(shape_of("rand", shape));
        let bits = sound!(random_bits(&shape));
        // The upper 24 bits fill a float's significand exactly.
        let high = apply(Op::ShiftRightLogical, &[&bits, &bits.full_like(8.0)]);
        high.to_dtype(DType::F32) * (1.0 / (1 << 24) as f64)
    }

    /// Standard normal `f32` numbers; see [`Tensor::rand`] for where they come from.
    #[track_caller]
    pub fn randn(shape: impl IntoShape) -> Tensor {
        let shape = sound!(shape_of("randn", shape));
        // Box and Muller: the radius from one uniform number in (0, 1], the angle from another.
        let radius = (1.0 - Tensor::rand(&shape)).log() * -2.0;
        let angle = Tensor::rand(&shape) * std::f64::consts::TAU;
        radius.sqrt() * angle.cos()
    }
}

/// Random `u32` bits: from the trace's state, or from the thread's generator.
#[track_caller]
fn random_bits(shape: &Shape) -> Result<Tensor, Tensor> {
    if trace::is_active() {
        let state = trace::draw_rng_state(std::panic::Location::caller());
        return Ok(apply(Op::RngBits(shape.clone()), &[&state]));
    }
    let Some(extents) = shape.as_fixed() else {
        return Err(fault(format!("random numbers of symbolic shape {shape} outside a trace")));
    };
    let state = Tensor::from_slice(&random::next_state());
    Ok(apply(Op::RngBits(Shape::fixed(&extents)), &[&state]))
}

/// The `i64` numbers 0 to `end` (exclusive), for use as an index: `input.index([range(n), target])`.
#[track_caller]
pub fn range(end: impl Into<Dim>) -> Tensor {
    Tensor::arange(end)
}
