//! Arithmetic of two operands: broadcasting, element types, and Rust's operators.
//!
//! Rules, PyTorch's: shapes are aligned at the last dimension and extents of 1 stretch; a plain number takes the
//! tensor's element type (a float beside an integer tensor makes it `f32`); of two tensors the "larger" element type
//! wins (float over integer over bool, then the wider; `f16` with `bf16` gives `f32`).

use std::ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Not, Sub, SubAssign};

use nnc_ir::ops::{BroadcastAttrs, CompareDir};
use nnc_ir::{DType, Dim, Op, Scalar, Shape, TensorType};

use super::{Tensor, ToTensor, apply, fault, live, sound};
use crate::parameter::{Buffer, Parameter};
use crate::trace;

/// One side of an arithmetic operation.
#[derive(Clone, Debug)]
pub enum Operand {
    /// A tensor.
    Tensor(Tensor),
    /// A plain float: takes the element type of the other side.
    Float(f64),
    /// A plain integer: takes the element type of the other side.
    Int(i64),
    /// A plain truth value.
    Bool(bool),
}

/// What may stand on either side: tensors, parameters, and plain numbers.
pub trait ToOperand {
    /// The operand.
    #[track_caller]
    fn to_operand(&self) -> Operand;
}

macro_rules! scalar_operands {
    ($($ty:ty => $kind:ident as $wide:ty),* $(,)?) => {
        $(
            impl ToOperand for $ty {
                fn to_operand(&self) -> Operand {
                    Operand::$kind(*self as $wide)
                }
            }
        )*
    };
}

scalar_operands! {
    f32 => Float as f64,
    f64 => Float as f64,
    i32 => Int as i64,
    i64 => Int as i64,
    u32 => Int as i64,
    usize => Int as i64,
    bool => Bool as bool,
}

macro_rules! tensor_operands {
    ($($ty:ty),*) => {
        $(
            impl ToOperand for $ty {
                #[track_caller]
                fn to_operand(&self) -> Operand {
                    Operand::Tensor(self.to_tensor())
                }
            }
        )*
    };
}

tensor_operands!(Tensor, Parameter, Buffer);

impl<T: ToOperand + ?Sized> ToOperand for &T {
    #[track_caller]
    fn to_operand(&self) -> Operand {
        (**self).to_operand()
    }
}

/// Float over integer over bool.
fn category(dtype: DType) -> u8 {
    match dtype {
        DType::Bool => 0,
        dtype if dtype.is_int() => 1,
        _ => 2,
    }
}

/// The element type two tensors meet in.
fn promote(lhs: DType, rhs: DType) -> DType {
    if lhs == rhs {
        return lhs;
    }
    match category(lhs).cmp(&category(rhs)) {
        std::cmp::Ordering::Greater => lhs,
        std::cmp::Ordering::Less => rhs,
        std::cmp::Ordering::Equal => match (lhs, rhs) {
            (DType::F16, DType::BF16) | (DType::BF16, DType::F16) => DType::F32,
            _ if lhs.is_signed() == rhs.is_signed() => {
                if lhs.size() >= rhs.size() {
                    lhs
                } else {
                    rhs
                }
            }
            _ => {
                let (signed, unsigned) = if lhs.is_signed() { (lhs, rhs) } else { (rhs, lhs) };
                match unsigned {
                    _ if signed.size() > unsigned.size() => signed,
                    DType::U8 => DType::I16,
                    DType::U16 => DType::I32,
                    DType::U32 => DType::I64,
                    // No integer type holds the values of both; as in NumPy, doubles nearly do.
                    _ => DType::F64,
                }
            }
        },
    }
}

/// The element type an operand of element type `dtype` takes beside a plain number.
fn promote_scalar(dtype: DType, scalar: &Operand) -> DType {
    match scalar {
        Operand::Float(_) if category(dtype) < 2 => DType::F32,
        Operand::Int(_) if dtype == DType::Bool => DType::I64,
        _ => dtype,
    }
}

/// The common shape of two operands, or `None` if an extent neither agrees nor is 1.
pub(super) fn broadcast_shape(lhs: &Shape, rhs: &Shape) -> Option<Shape> {
    let rank = lhs.rank().max(rhs.rank());
    let one = Dim::from(1);
    let extent = |shape: &Shape, from_end: usize| match shape.rank().checked_sub(from_end) {
        Some(dim) => shape[dim].clone(),
        None => Dim::from(1),
    };
    let dims = (1..=rank).rev().map(|from_end| match (extent(lhs, from_end), extent(rhs, from_end)) {
        (lhs, rhs) if lhs == rhs || rhs == one => Some(lhs),
        (lhs, rhs) if lhs == one => Some(rhs),
        _ => None,
    });
    dims.collect::<Option<Vec<_>>>().map(Shape)
}

/// `tensor` stretched to `shape`, which it is known to fit.
#[track_caller]
pub(super) fn stretch(tensor: &Tensor, shape: &Shape) -> Tensor {
    let ty = live!(tensor);
    if ty.shape == *shape {
        return tensor.clone();
    }
    let dims = (shape.rank() - ty.rank()..shape.rank()).collect();
    apply(Op::BroadcastInDim(BroadcastAttrs { shape: shape.clone(), dims }), &[tensor])
}

/// A plain number as a constant of type `ty`.
#[track_caller]
fn spread(operand: &Operand, ty: TensorType) -> Tensor {
    let scalar = match operand {
        Operand::Float(value) => Scalar::from_f64(ty.dtype, *value),
        Operand::Int(value) => Scalar::from_i64(ty.dtype, *value),
        Operand::Bool(value) => Scalar::from_i64(ty.dtype, i64::from(*value)),
        Operand::Tensor(tensor) => return tensor.clone(),
    };
    apply(trace::splat(ty, scalar), &[])
}

/// The operand as a tensor; a plain number becomes a scalar of its own element type.
#[track_caller]
pub(super) fn materialize(operand: &Operand) -> Tensor {
    let dtype = match operand {
        Operand::Tensor(tensor) => return tensor.clone(),
        Operand::Float(_) => DType::F32,
        Operand::Int(_) => DType::I64,
        Operand::Bool(_) => DType::Bool,
    };
    spread(operand, TensorType::scalar(dtype))
}

/// Brings two operands to one element type and shape.
///
/// # Errors
/// A poisoned tensor.
#[track_caller]
pub(super) fn unify(what: &str, lhs: &Operand, rhs: &Operand) -> Result<(Tensor, Tensor), Tensor> {
    unify_as(what, lhs, rhs, |dtype| dtype)
}

/// [`unify`] to the element type that `adjust` makes of the common one.
#[track_caller]
fn unify_as(what: &str, lhs: &Operand, rhs: &Operand, adjust: fn(DType) -> DType) -> Result<(Tensor, Tensor), Tensor> {
    match (lhs, rhs) {
        (Operand::Tensor(lhs), Operand::Tensor(rhs)) => {
            let Some(lhs_ty) = lhs.checked_ty() else { return Err(lhs.clone()) };
            let Some(rhs_ty) = rhs.checked_ty() else { return Err(rhs.clone()) };
            let Some(shape) = broadcast_shape(&lhs_ty.shape, &rhs_ty.shape) else {
                return Err(fault(format!("{what}: the shapes of {lhs_ty} and {rhs_ty} do not broadcast")));
            };
            let dtype = adjust(promote(lhs_ty.dtype, rhs_ty.dtype));
            Ok((stretch(&lhs.to_dtype(dtype), &shape), stretch(&rhs.to_dtype(dtype), &shape)))
        }
        (Operand::Tensor(lhs), scalar) => {
            let Some(ty) = lhs.checked_ty() else { return Err(lhs.clone()) };
            let lhs = lhs.to_dtype(adjust(promote_scalar(ty.dtype, scalar)));
            let rhs = spread(scalar, lhs.ty());
            Ok((lhs, rhs))
        }
        (scalar, Operand::Tensor(rhs)) => {
            let Some(ty) = rhs.checked_ty() else { return Err(rhs.clone()) };
            let rhs = rhs.to_dtype(adjust(promote_scalar(ty.dtype, scalar)));
            let lhs = spread(scalar, rhs.ty());
            Ok((lhs, rhs))
        }
        (lhs, rhs) => {
            let (lhs, rhs) = (Operand::Tensor(materialize(lhs)), Operand::Tensor(materialize(rhs)));
            unify_as(what, &lhs, &rhs, adjust)
        }
    }
}

#[track_caller]
pub(super) fn binary(op: Op, lhs: &Operand, rhs: &Operand) -> Tensor {
    let (lhs, rhs) = sound!(unify(op.mnemonic(), lhs, rhs));
    apply(op, &[&lhs, &rhs])
}

/// True division: integers become `f32`, as in PyTorch.
#[track_caller]
fn divide(lhs: &Operand, rhs: &Operand) -> Tensor {
    let float = |dtype: DType| if dtype.is_float() { dtype } else { DType::F32 };
    let (lhs, rhs) = sound!(unify_as("divide", lhs, rhs, float));
    apply(Op::Divide, &[&lhs, &rhs])
}

#[track_caller]
fn add(lhs: &Operand, rhs: &Operand) -> Tensor {
    binary(Op::Add, lhs, rhs)
}

#[track_caller]
fn subtract(lhs: &Operand, rhs: &Operand) -> Tensor {
    binary(Op::Subtract, lhs, rhs)
}

#[track_caller]
fn multiply(lhs: &Operand, rhs: &Operand) -> Tensor {
    binary(Op::Multiply, lhs, rhs)
}

macro_rules! comparisons {
    ($($(#[doc = $doc:literal])* $name:ident => $dir:ident;)*) => {
        impl Tensor {
            $(
                $(#[doc = $doc])*
                #[track_caller]
                #[allow(clippy::should_implement_trait)]
                pub fn $name(&self, other: impl ToOperand) -> Tensor {
                    binary(Op::Compare(CompareDir::$dir), &self.to_operand(), &other.to_operand())
                }
            )*
        }
    };
}

comparisons! {
    /// `self == other`, elementwise; the result is `bool`.
    eq => Eq;
    /// `self != other`, elementwise; the result is `bool`.
    ne => Ne;
    /// `self < other`, elementwise; the result is `bool`.
    lt => Lt;
    /// `self <= other`, elementwise; the result is `bool`.
    le => Le;
    /// `self > other`, elementwise; the result is `bool`.
    gt => Gt;
    /// `self >= other`, elementwise; the result is `bool`.
    ge => Ge;
}

impl Tensor {
    /// The larger of two, elementwise; NaN propagates.
    #[track_caller]
    pub fn maximum(&self, other: impl ToOperand) -> Tensor {
        binary(Op::Maximum, &self.to_operand(), &other.to_operand())
    }

    /// The smaller of two, elementwise; NaN propagates.
    #[track_caller]
    pub fn minimum(&self, other: impl ToOperand) -> Tensor {
        binary(Op::Minimum, &self.to_operand(), &other.to_operand())
    }

    /// Remainder with the sign of `self`: C's and PyTorch's `fmod`.
    #[track_caller]
    pub fn fmod(&self, other: impl ToOperand) -> Tensor {
        binary(Op::Remainder, &self.to_operand(), &other.to_operand())
    }

    /// Remainder with the sign of `other`, Python's `%`: `torch.remainder`. A remainder of 0 has that sign too.
    #[track_caller]
    pub fn remainder(&self, other: impl ToOperand) -> Tensor {
        let (x, y) = sound!(unify("remainder", &self.to_operand(), &other.to_operand()));
        let dtype = live!(x).dtype;
        let rest = apply(Op::Remainder, &[&x, &y]);
        if !dtype.is_signed() {
            return rest;
        }
        let below = y.lt(0);
        let moved = where_(&rest.ne(0).logical_and(rest.lt(0).ne(&below)), &rest + &y, &rest);
        match dtype.is_float() {
            // Adding 0 makes a zero positive and leaves the rest, gradients included.
            true => where_(&below, -(-&moved + 0.0), &moved + 0.0),
            false => moved,
        }
    }

    /// The quotient without its fraction: `torch.div(..., rounding_mode="trunc")`. Integers stay integers.
    #[track_caller]
    pub fn div_trunc(&self, other: impl ToOperand) -> Tensor {
        let (x, y) = sound!(unify("div_trunc", &self.to_operand(), &other.to_operand()));
        let quotient = apply(Op::Divide, &[&x, &y]);
        if live!(x).dtype.is_float() { quotient.trunc() } else { quotient }
    }

    /// The largest integer not above the quotient, Python's `//`: `torch.floor_divide`. Integers stay integers.
    #[track_caller]
    pub fn floor_divide(&self, other: impl ToOperand) -> Tensor {
        let (x, y) = sound!(unify("floor_divide", &self.to_operand(), &other.to_operand()));
        // What is left without the remainder divides to a whole number, up to a rounding.
        let whole = apply(Op::Divide, &[&(&x - x.remainder(&y)), &y]);
        if live!(x).dtype.is_float() { whole.round() } else { whole }
    }

    /// Angle of the point (`other`, `self`), in (-π, π].
    #[track_caller]
    pub fn atan2(&self, other: impl ToOperand) -> Tensor {
        binary(Op::Atan2, &self.to_operand(), &other.to_operand())
    }

    /// `self ^ exponent`, elementwise. Small whole exponents are multiplied out.
    #[track_caller]
    pub fn pow(&self, exponent: impl ToOperand) -> Tensor {
        let exponent = exponent.to_operand();
        let plain = match exponent {
            Operand::Float(value) => Some(value),
            Operand::Int(value) => Some(value as f64),
            Operand::Bool(_) | Operand::Tensor(_) => None,
        };
        match plain {
            Some(1.0) => self.clone(),
            Some(2.0) => self * self,
            Some(3.0) => self * self * self,
            Some(0.5) => self.sqrt(),
            Some(-0.5) => self.rsqrt(),
            Some(-1.0) => 1.0 / self,
            _ => binary(Op::Power, &self.to_operand(), &exponent),
        }
    }

    /// `self` and `other`, bitwise (`bool`: logical).
    #[track_caller]
    pub fn logical_and(&self, other: impl ToOperand) -> Tensor {
        binary(Op::And, &self.to_operand(), &other.to_operand())
    }

    /// `self` or `other`, bitwise (`bool`: logical).
    #[track_caller]
    pub fn logical_or(&self, other: impl ToOperand) -> Tensor {
        binary(Op::Or, &self.to_operand(), &other.to_operand())
    }

    /// Exclusive or, bitwise (`bool`: logical).
    #[track_caller]
    pub fn logical_xor(&self, other: impl ToOperand) -> Tensor {
        binary(Op::Xor, &self.to_operand(), &other.to_operand())
    }

    /// `self` where `condition` (`bool`), else `other`, broadcast together: `torch.where(condition, self, other)`.
    #[track_caller]
    pub fn where_(&self, condition: &Tensor, other: impl ToOperand) -> Tensor {
        where_(condition, self, other)
    }

    /// `value` where `mask` (`bool`, broadcast to this shape), else the element.
    #[track_caller]
    pub fn masked_fill(&self, mask: &Tensor, value: impl ToOperand) -> Tensor {
        where_(mask, value, self)
    }

    /// Elements limited to `min..=max`; either side may be `None`.
    #[track_caller]
    pub fn clamp(&self, min: impl Into<Option<f64>>, max: impl Into<Option<f64>>) -> Tensor {
        let ty = live!(self);
        match (min.into(), max.into()) {
            (Some(min), Some(max)) => {
                let min = spread(&Operand::Float(min), ty.clone());
                let max = spread(&Operand::Float(max), ty);
                apply(Op::Clamp, &[&min, self, &max])
            }
            (Some(min), None) => self.maximum(min),
            (None, Some(max)) => self.minimum(max),
            (None, None) => self.clone(),
        }
    }

    /// `self` broadcast to the shape of `other`.
    #[track_caller]
    pub fn expand_as(&self, other: &Tensor) -> Tensor {
        let shape = live!(other).shape;
        self.broadcast_to(shape)
    }
}

/// `on_true` where `condition` (`bool`), else `on_false`, all broadcast together: `torch.where`.
#[track_caller]
pub fn where_(condition: &Tensor, on_true: impl ToOperand, on_false: impl ToOperand) -> Tensor {
    let condition_ty = live!(condition);
    if condition_ty.dtype != DType::Bool {
        return fault(format!("where: the condition is {condition_ty}, expected bool"));
    }
    let (on_true, on_false) = sound!(unify("where", &on_true.to_operand(), &on_false.to_operand()));
    let ty = live!(on_true);
    let Some(shape) = broadcast_shape(&condition_ty.shape, &ty.shape) else {
        return fault(format!("where: the shapes of the condition {condition_ty} and of {ty} do not broadcast"));
    };
    let operands = [stretch(condition, &shape), stretch(&on_true, &shape), stretch(&on_false, &shape)];
    apply(Op::Select, &[&operands[0], &operands[1], &operands[2]])
}

/// Implements one operator between two types, by reference or by value.
macro_rules! operator {
    ($trait:ident $method:ident $function:ident: $($lhs:ty, $rhs:ty;)*) => {
        $(
            impl $trait<$rhs> for $lhs {
                type Output = Tensor;

                #[track_caller]
                fn $method(self, rhs: $rhs) -> Tensor {
                    $function(&self.to_operand(), &rhs.to_operand())
                }
            }
        )*
    };
}

/// Implements all four operators between two types.
macro_rules! operators {
    ($($lhs:ty, $rhs:ty;)*) => {
        operator!(Add add add: $($lhs, $rhs;)*);
        operator!(Sub sub subtract: $($lhs, $rhs;)*);
        operator!(Mul mul multiply: $($lhs, $rhs;)*);
        operator!(Div div divide: $($lhs, $rhs;)*);
    };
}

operators! {
    Tensor, Tensor;
    Tensor, &Tensor;
    &Tensor, Tensor;
    &Tensor, &Tensor;
    Tensor, &Parameter;
    &Tensor, &Parameter;
    &Parameter, Tensor;
    &Parameter, &Tensor;
    &Parameter, &Parameter;
    Tensor, &Buffer;
    &Tensor, &Buffer;
    &Buffer, Tensor;
    &Buffer, &Tensor;
}

macro_rules! scalar_operators {
    ($($scalar:ty),*) => {
        $(
            operators! {
                Tensor, $scalar;
                &Tensor, $scalar;
                $scalar, Tensor;
                $scalar, &Tensor;
                &Parameter, $scalar;
                $scalar, &Parameter;
                &Buffer, $scalar;
                $scalar, &Buffer;
            }
        )*
    };
}

// One float and one integer type: with two, a literal would have no type until the whole expression had one, and
// `(x + 1.0).sqrt()` would not compile.
scalar_operators!(f64, i64);

macro_rules! assign_operators {
    ($($trait:ident $method:ident $function:ident;)*) => {
        $(
            impl<T: ToOperand> $trait<T> for Tensor {
                #[track_caller]
                fn $method(&mut self, rhs: T) {
                    *self = $function(&self.to_operand(), &rhs.to_operand());
                }
            }
        )*
    };
}

assign_operators! {
    AddAssign add_assign add;
    SubAssign sub_assign subtract;
    MulAssign mul_assign multiply;
    DivAssign div_assign divide;
}

macro_rules! unary_operators {
    ($($ty:ty),*) => {
        $(
            impl Neg for $ty {
                type Output = Tensor;

                #[track_caller]
                fn neg(self) -> Tensor {
                    apply(Op::Negate, &[&self.to_tensor()])
                }
            }

            impl Not for $ty {
                type Output = Tensor;

                #[track_caller]
                fn not(self) -> Tensor {
                    apply(Op::Not, &[&self.to_tensor()])
                }
            }
        )*
    };
}

unary_operators!(Tensor, &Tensor, &Parameter, &Buffer);
