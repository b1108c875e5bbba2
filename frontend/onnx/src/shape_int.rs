//! Integers of shape arithmetic, which may depend on symbolic extents.

use std::fmt;

use nnc_ir::Dim;

/// An integer that is known, or that follows from symbolic extents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ShapeInt {
    /// A number.
    Known(i64),
    /// An extent, never below zero.
    Symbolic(Dim),
}

impl ShapeInt {
    /// An extent as an integer.
    pub(crate) fn of(dim: &Dim) -> Self {
        match dim.as_const() {
            Some(value) => Self::Known(value as i64),
            None => Self::Symbolic(dim.clone()),
        }
    }

    /// The number, if it is one.
    pub(crate) fn known(&self) -> Option<i64> {
        match self {
            Self::Known(value) => Some(*value),
            Self::Symbolic(_) => None,
        }
    }

    /// The integer as an extent; a negative number is none.
    pub(crate) fn to_dim(&self) -> Option<Dim> {
        match self {
            Self::Known(value) => usize::try_from(*value).ok().map(Dim::from),
            Self::Symbolic(dim) => Some(dim.clone()),
        }
    }

    /// `self + other`, or `None` if it cannot be written.
    pub(crate) fn add(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Known(lhs), Self::Known(rhs)) => lhs.checked_add(*rhs).map(Self::Known),
            (Self::Symbolic(lhs), Self::Known(rhs)) | (Self::Known(rhs), Self::Symbolic(lhs)) if *rhs < 0 => {
                let magnitude = usize::try_from(rhs.checked_neg()?).ok()?;
                Some(Self::of(&(lhs.clone() - Dim::from(magnitude))))
            }
            _ => Some(Self::of(&(self.to_dim()? + other.to_dim()?))),
        }
    }

    /// `self - other`, or `None` if it cannot be written.
    pub(crate) fn sub(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Known(lhs), Self::Known(rhs)) => lhs.checked_sub(*rhs).map(Self::Known),
            (_, Self::Known(rhs)) => self.add(&Self::Known(rhs.checked_neg()?)),
            _ => Some(Self::of(&(self.to_dim()? - other.to_dim()?))),
        }
    }

    /// `self * other`, or `None` if it cannot be written.
    pub(crate) fn mul(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Known(lhs), Self::Known(rhs)) => lhs.checked_mul(*rhs).map(Self::Known),
            _ => Some(Self::of(&(self.to_dim()? * other.to_dim()?))),
        }
    }

    /// `self / other`, rounded toward zero, or `None` if it cannot be written or `other` is zero.
    pub(crate) fn div(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Known(lhs), Self::Known(rhs)) => lhs.checked_div(*rhs).map(Self::Known),
            (_, Self::Known(0)) => None,
            _ => Some(Self::of(&self.to_dim()?.floor_div(&other.to_dim()?))),
        }
    }
}

impl fmt::Display for ShapeInt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(value) => write!(f, "{value}"),
            Self::Symbolic(dim) => write!(f, "{dim}"),
        }
    }
}
