//! Integers as bits, under PyTorch's names.

use nnc_ir::{DType, Op};

use super::arith::{Operand, ToOperand, binary};
use super::{Tensor, apply, fault, live};

macro_rules! bitwise {
    ($($(#[doc = $doc:literal])* $name:ident => $op:ident;)*) => {
        impl Tensor {
            $(
                $(#[doc = $doc])*
                #[track_caller]
                pub fn $name(&self, other: impl ToOperand) -> Tensor {
                    of_bits(stringify!($name), Op::$op, self, &other.to_operand())
                }
            )*
        }
    };
}

bitwise! {
    /// Bits that both integers (or `bool`s) have.
    bitwise_and => And;
    /// Bits that either integer (or `bool`) has.
    bitwise_or => Or;
    /// Bits that one integer (or `bool`) has and the other has not.
    bitwise_xor => Xor;
}

impl Tensor {
    /// The complement of the integer's bits; of a `bool` its negation.
    #[track_caller]
    pub fn bitwise_not(&self) -> Tensor {
        let ty = live!(self);
        if ty.dtype.is_float() {
            return fault(format!("bitwise_not: the tensor is {ty}, expected integers or bool"));
        }
        apply(Op::Not, &[self])
    }

    /// `self * 2^other` by moving bits; a shift by the width or more, or below 0, gives 0.
    #[track_caller]
    pub fn bitwise_left_shift(&self, other: impl ToOperand) -> Tensor {
        let ty = live!(self);
        if !ty.dtype.is_int() {
            return fault(format!("bitwise_left_shift: the tensor is {ty}, expected integers"));
        }
        of_bits("bitwise_left_shift", Op::ShiftLeft, self, &other.to_operand())
    }

    /// `floor(self / 2^other)` by moving bits; a shift by the width or more, or below 0, gives 0, or -1 of what is
    /// negative.
    #[track_caller]
    pub fn bitwise_right_shift(&self, other: impl ToOperand) -> Tensor {
        let ty = live!(self);
        if !ty.dtype.is_int() {
            return fault(format!("bitwise_right_shift: the tensor is {ty}, expected integers"));
        }
        let op = if ty.dtype.is_signed() { Op::ShiftRightArithmetic } else { Op::ShiftRightLogical };
        of_bits("bitwise_right_shift", op, self, &other.to_operand())
    }
}

#[track_caller]
fn of_bits(what: &str, op: Op, lhs: &Tensor, rhs: &Operand) -> Tensor {
    let lhs_ty = live!(lhs);
    let rhs_dtype = match rhs {
        Operand::Tensor(rhs) => live!(rhs).dtype,
        Operand::Float(_) => DType::F32,
        Operand::Int(_) | Operand::Bool(_) => lhs_ty.dtype,
    };
    if lhs_ty.dtype.is_float() || rhs_dtype.is_float() {
        return fault(format!("{what}: the operands are {} and {rhs_dtype}, expected integers or bool", lhs_ty.dtype));
    }
    binary(op, &Operand::Tensor(lhs.clone()), rhs)
}
