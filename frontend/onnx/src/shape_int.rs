//! Integers of shape arithmetic, which may depend on symbolic extents.

use std::cmp::Ordering;
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

    /// An extent as an integer, unless it is too long an expression to go on computing with.
    fn bounded(dim: &Dim) -> Option<Self> {
        dim.check_size().ok().map(|()| Self::of(dim))
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
                Self::bounded(&(lhs.clone() - Dim::from(magnitude)))
            }
            _ => Self::bounded(&(self.to_dim()? + other.to_dim()?)),
        }
    }

    /// `self - other`, or `None` if it cannot be written.
    pub(crate) fn sub(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Known(lhs), Self::Known(rhs)) => lhs.checked_sub(*rhs).map(Self::Known),
            (_, Self::Known(rhs)) => self.add(&Self::Known(rhs.checked_neg()?)),
            _ => {
                let (lhs, rhs) = (self.to_dim()?, other.to_dim()?);
                // Extents are never below zero, but a difference that is a number may be.
                match (Self::of(&(lhs.clone() - rhs.clone())), Self::of(&(rhs - lhs))) {
                    (Self::Known(0), Self::Known(below)) => Some(Self::Known(-below)),
                    (Self::Symbolic(difference), _) => Self::bounded(&difference),
                    (difference, _) => Some(difference),
                }
            }
        }
    }

    /// `self * other`, or `None` if it cannot be written.
    pub(crate) fn mul(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Known(lhs), Self::Known(rhs)) => lhs.checked_mul(*rhs).map(Self::Known),
            _ => self.to_dim()?.checked_mul(&other.to_dim()?).map(|product| Self::of(&product)),
        }
    }

    /// `self / other`, rounded toward zero, or `None` if it cannot be written or `other` is zero.
    pub(crate) fn div(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Known(lhs), Self::Known(rhs)) => lhs.checked_div(*rhs).map(Self::Known),
            (_, Self::Known(0)) => None,
            _ => Self::bounded(&self.to_dim()?.floor_div(&other.to_dim()?)),
        }
    }

    /// `self / other` where that is whole, or `None` if it is not or nobody knows.
    pub(crate) fn exact_div(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Known(lhs), Self::Known(rhs)) if lhs.checked_rem(*rhs)? != 0 => None,
            (Self::Known(_), Self::Known(_)) => self.div(other),
            _ => Some(Self::of(&self.to_dim()?.exact_div(&other.to_dim()?)?)),
        }
    }

    /// The remainder of the division by `other`, both at least zero, or `None` if it cannot be written.
    pub(crate) fn rem(&self, other: &Self) -> Option<Self> {
        if let Self::Known(..0) = self {
            return None;
        }
        self.sub(&self.div(&Self::Known(other.known().filter(|&other| other > 0)?))?.mul(other)?)
    }

    /// How `self` compares with `other`, if that is the same for all extents.
    pub(crate) fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Known(lhs), Self::Known(rhs)) => Some(lhs.cmp(rhs)),
            (Self::Symbolic(_), Self::Known(..0)) => Some(Ordering::Greater),
            (Self::Known(..0), Self::Symbolic(_)) => Some(Ordering::Less),
            _ => Some(self.sub(other)?.known()?.cmp(&0)),
        }
    }

    /// The larger of two, if that is the same one for all extents.
    pub(crate) fn max(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Symbolic(_), Self::Known(0)) => Some(self.clone()),
            (Self::Known(0), Self::Symbolic(_)) => Some(other.clone()),
            _ => Some(if self.order(other)?.is_lt() { other.clone() } else { self.clone() }),
        }
    }

    /// The smaller of two, if that is the same one for all extents. Numbers that no extent reaches stand for infinity.
    pub(crate) fn min(&self, other: &Self) -> Option<Self> {
        const FAR: i64 = i32::MAX as i64;
        match (self, other) {
            (Self::Symbolic(_), Self::Known(0)) | (Self::Known(FAR..), Self::Symbolic(_)) => Some(other.clone()),
            (Self::Known(0), Self::Symbolic(_)) | (Self::Symbolic(_), Self::Known(FAR..)) => Some(self.clone()),
            _ => Some(if self.order(other)?.is_gt() { other.clone() } else { self.clone() }),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn n() -> ShapeInt {
        ShapeInt::of(&Dim::symbol("N"))
    }

    fn number(value: i64) -> ShapeInt {
        ShapeInt::Known(value)
    }

    #[test]
    fn what_cancels_is_known() {
        let next = n().add(&number(1)).expect("a sum");
        assert_eq!(next.sub(&n()), Some(number(1)));
        assert_eq!(n().sub(&next), Some(number(-1)));
        assert_eq!(n().mul(&number(6)).and_then(|x| x.exact_div(&number(3))), n().mul(&number(2)));
        assert_eq!(n().exact_div(&number(2)), None);
        assert_eq!(n().mul(&number(6)).and_then(|x| x.rem(&number(3))), Some(number(0)));
        assert_eq!(n().rem(&number(4)).map(|x| x.to_string()).as_deref(), Some("N - 4*(N // 4)"));
        assert_eq!(number(7).rem(&number(4)), Some(number(3)));
    }

    #[test]
    fn order_is_decided_where_every_extent_agrees() {
        let next = n().add(&number(1)).expect("a sum");
        assert_eq!(n().order(&n()), Some(Ordering::Equal));
        assert_eq!(n().order(&next), Some(Ordering::Less));
        assert_eq!(n().order(&number(-1)), Some(Ordering::Greater));
        assert_eq!(n().order(&number(1)), None);
        assert_eq!((n().max(&next), n().min(&next)), (Some(next), Some(n())));
        assert_eq!((n().max(&number(0)), n().min(&number(i64::MAX))), (Some(n()), Some(n())));
        assert_eq!(n().min(&number(8)), None);
    }
}
