//! Registers with operators, so that an expansion reads like the formula it computes.

use std::cell::RefCell;
use std::ops::{Add, BitAnd, BitOr, BitXor, Div, Mul, Neg, Not, Shl, Shr, Sub};

use nnc_ir::ops::CompareDir;

use crate::kernel::{BinOp, KernelBuilder, Reg, RegType, Ty, UnOp};

/// A register and the builder it came from. Operators append instructions; a number on the right is a constant.
#[derive(Clone, Copy)]
pub(super) struct Value<'e> {
    builder: &'e RefCell<&'e mut KernelBuilder>,
    /// The register.
    pub(super) reg: Reg,
    /// Its type.
    pub(super) ty: Ty,
    lanes: u16,
}

/// Numbers of both formats: a polynomial's coefficients, lowest power first, or the parts of a constant, largest first.
pub(super) struct Table {
    pub(super) single: &'static [f32],
    pub(super) double: &'static [f64],
}

impl Table {
    /// The number at `idx` in the format of `ty`.
    pub(super) fn at(&self, ty: Ty, idx: usize) -> f64 {
        if ty == Ty::F32 { f64::from(self.single[idx]) } else { self.double[idx] }
    }

    fn len(&self, ty: Ty) -> usize {
        if ty == Ty::F32 { self.single.len() } else { self.double.len() }
    }

    /// The polynomial at `x`, by Horner's rule.
    pub(super) fn polynomial<'e>(&self, x: Value<'e>) -> Value<'e> {
        let top = self.len(x.ty) - 1;
        (0..top).rev().fold(x.constant(self.at(x.ty, top)), |sum, idx| sum.fma(x, self.at(x.ty, idx)))
    }
}

impl<'e> Value<'e> {
    pub(super) fn new(builder: &'e RefCell<&'e mut KernelBuilder>, reg: Reg) -> Self {
        let RegType { ty, lanes } = builder.borrow().reg_type(reg);
        Self { builder, reg, ty, lanes }
    }

    fn emit(self, ty: Ty, build: impl FnOnce(&mut KernelBuilder) -> Reg) -> Self {
        Self { reg: build(&mut self.builder.borrow_mut()), ty, ..self }
    }

    fn unary(self, op: UnOp) -> Self {
        self.emit(self.ty, |b| b.unary(op, self.reg))
    }

    fn binary(self, op: BinOp, rhs: impl Operand<'e>) -> Self {
        let rhs = rhs.like(self);
        self.emit(self.ty, |b| b.binary(op, self.reg, rhs.reg))
    }

    /// A number in every lane, of the type of `self`.
    pub(super) fn constant(self, value: f64) -> Self {
        self.emit(self.ty, |b| b.const_f64(self.ty, self.lanes, value))
    }

    /// An integer in every lane, of type `ty`.
    pub(super) fn integer(self, ty: Ty, value: i64) -> Self {
        self.emit(ty, |b| b.const_i64(ty, self.lanes, value))
    }

    /// `self * factor + addend` with one rounding.
    pub(super) fn fma(self, factor: impl Operand<'e>, addend: impl Operand<'e>) -> Self {
        let (factor, addend) = (factor.like(self), addend.like(self));
        self.emit(self.ty, |b| b.fma(self.reg, factor.reg, addend.reg))
    }

    pub(super) fn abs(self) -> Self {
        self.unary(UnOp::Abs)
    }

    /// Nearest integer, ties to even.
    pub(super) fn round(self) -> Self {
        self.unary(UnOp::RoundEven)
    }

    /// The larger operand; NaN if either is.
    pub(super) fn max(self, rhs: impl Operand<'e>) -> Self {
        self.binary(BinOp::Max, rhs)
    }

    /// The smaller operand; NaN if either is.
    pub(super) fn min(self, rhs: impl Operand<'e>) -> Self {
        self.binary(BinOp::Min, rhs)
    }

    /// Shift right with zeros.
    pub(super) fn shr_logical(self, rhs: impl Operand<'e>) -> Self {
        self.binary(BinOp::ShrLogical, rhs)
    }

    fn compare(self, dir: CompareDir, rhs: impl Operand<'e>) -> Self {
        let rhs = rhs.like(self);
        self.emit(Ty::Bool, |b| b.compare(dir, self.reg, rhs.reg))
    }

    pub(super) fn lt(self, rhs: impl Operand<'e>) -> Self {
        self.compare(CompareDir::Lt, rhs)
    }

    pub(super) fn gt(self, rhs: impl Operand<'e>) -> Self {
        self.compare(CompareDir::Gt, rhs)
    }

    pub(super) fn equals(self, rhs: impl Operand<'e>) -> Self {
        self.compare(CompareDir::Eq, rhs)
    }

    pub(super) fn differs(self, rhs: impl Operand<'e>) -> Self {
        self.compare(CompareDir::Ne, rhs)
    }

    /// `on_true` where `self`, a `bool`, is true, else `on_false`.
    pub(super) fn select(self, on_true: Value<'e>, on_false: impl Operand<'e>) -> Self {
        let on_false = on_false.like(on_true);
        self.emit(on_true.ty, |b| b.select(self.reg, on_true.reg, on_false.reg))
    }

    /// The nearest value of another type.
    pub(super) fn cast(self, ty: Ty) -> Self {
        self.emit(ty, |b| b.cast(ty, self.reg))
    }

    /// The same bits as another type.
    pub(super) fn bitcast(self, ty: Ty) -> Self {
        self.emit(ty, |b| b.bitcast(ty, self.reg))
    }
}

/// Properties of the binary formats.
impl<'e> Value<'e> {
    /// The integer type that holds the bits of this float.
    pub(super) fn bits_ty(self) -> Ty {
        if self.ty == Ty::F32 { Ty::I32 } else { Ty::I64 }
    }

    /// Bits of the fraction field.
    pub(super) fn fraction_bits(self) -> i64 {
        if self.ty == Ty::F32 { 23 } else { 52 }
    }

    /// What the exponent field holds for 1.
    pub(super) fn bias(self) -> i64 {
        if self.ty == Ty::F32 { 127 } else { 1023 }
    }

    /// The bits as a signed integer.
    pub(super) fn bits(self) -> Self {
        self.bitcast(self.bits_ty())
    }

    /// An integer with the bits of this float's sign.
    fn sign_mask(self) -> Self {
        self.integer(self.bits_ty(), if self.ty == Ty::F32 { i64::from(i32::MIN) } else { i64::MIN })
    }

    /// The sign bit, alone.
    pub(super) fn sign_bit(self) -> Self {
        self.bits() & self.sign_mask()
    }

    /// Flips the sign where `sign`, a result of [`Self::sign_bit`], is set.
    pub(super) fn flip_sign(self, sign: Value<'e>) -> Self {
        (self.bits() ^ sign).bitcast(self.ty)
    }

    /// Adding this number, 1.5 times the weight of the last place of an integer, rounds to an integer and leaves it in
    /// the low bits.
    fn magic(self) -> f64 {
        1.5 * (self.fraction_bits() as f64).exp2()
    }

    /// The product with a constant rounded to the nearest integer, as float and as integer. The product must be below a
    /// quarter of the largest exact integer.
    pub(super) fn scale_and_round(self, factor: f64) -> (Self, Self) {
        let magic = self.constant(self.magic());
        let sum = self.fma(factor, magic);
        (sum - magic, sum.bits() - magic.bits())
    }

    /// A small integer as a float of the type of `like`.
    pub(super) fn to_float(self, like: Value<'e>) -> Self {
        let magic = like.constant(like.magic());
        (self + magic.bits()).bitcast(like.ty) - magic
    }

    /// `2^self` of an integer in the range of normal numbers, of the type of `like`.
    pub(super) fn exp2(self, like: Value<'e>) -> Self {
        ((self + like.bias()) << like.fraction_bits()).bitcast(like.ty)
    }
}

/// The right side of an operator: a value, or a number that becomes a constant of the type of the left side.
pub(super) trait Operand<'e> {
    fn like(self, lhs: Value<'e>) -> Value<'e>;
}

impl<'e> Operand<'e> for Value<'e> {
    fn like(self, _: Value<'e>) -> Value<'e> {
        self
    }
}

impl<'e> Operand<'e> for f64 {
    fn like(self, lhs: Value<'e>) -> Value<'e> {
        lhs.constant(self)
    }
}

impl<'e> Operand<'e> for i64 {
    fn like(self, lhs: Value<'e>) -> Value<'e> {
        lhs.integer(lhs.ty, self)
    }
}

macro_rules! operators {
    ($($trait:ident $method:ident $op:ident)*) => {$(
        impl<'e, R: Operand<'e>> $trait<R> for Value<'e> {
            type Output = Self;

            fn $method(self, rhs: R) -> Self {
                self.binary(BinOp::$op, rhs)
            }
        }
    )*};
}

operators! {
    Add add Add
    Sub sub Sub
    Mul mul Mul
    Div div Div
    BitAnd bitand And
    BitOr bitor Or
    BitXor bitxor Xor
    Shl shl Shl
    Shr shr ShrArithmetic
}

impl Neg for Value<'_> {
    type Output = Self;

    fn neg(self) -> Self {
        self.unary(UnOp::Neg)
    }
}

impl Not for Value<'_> {
    type Output = Self;

    fn not(self) -> Self {
        self.unary(UnOp::Not)
    }
}
