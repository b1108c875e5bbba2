//! Integer expressions over the iteration space, and their ranges.
//!
//! While a region is evaluated, the index of a value along each of its dimensions is an [`Affine`] expression over the
//! dimensions of the loop nest (symbols, not loop registers: how the loops realize a dimension is decided elsewhere)
//! and over registers that hold run-time integers (a quotient, a gathered index). Views compose by arithmetic on these.

use crate::kernel::Reg;

/// What an index varies with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Var {
    /// A dimension of the iteration space.
    Dim(u32),
    /// A scalar `i64` register.
    Reg(Reg),
}

/// `offset + Σ var * coefficient`; the terms are in order of their variables and no coefficient is 0, so that equal
/// expressions are equal values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Affine {
    pub(super) offset: i64,
    pub(super) terms: Vec<(Var, i64)>,
}

/// Least and greatest value.
pub(super) type Range = (i64, i64);

impl Affine {
    pub(super) fn constant(offset: i64) -> Self {
        Self { offset, terms: Vec::new() }
    }

    pub(super) fn var(var: Var) -> Self {
        Self { offset: 0, terms: vec![(var, 1)] }
    }

    pub(super) fn dim(dim: usize) -> Self {
        Self::var(Var::Dim(dim as u32))
    }

    pub(super) fn plus_const(mut self, offset: i64) -> Self {
        self.offset += offset;
        self
    }

    pub(super) fn scaled(&self, scale: i64) -> Self {
        if scale == 0 {
            return Self::default();
        }
        let terms = self.terms.iter().map(|&(var, coefficient)| (var, coefficient * scale)).collect();
        Self { offset: self.offset * scale, terms }
    }

    pub(super) fn plus(&self, other: &Self) -> Self {
        self.plus_scaled(other, 1)
    }

    pub(super) fn plus_scaled(&self, other: &Self, scale: i64) -> Self {
        let mut sum = self.clone();
        sum.offset += other.offset * scale;
        for &(var, coefficient) in &other.terms {
            match sum.terms.binary_search_by_key(&var, |&(var, _)| var) {
                Ok(at) => sum.terms[at].1 += coefficient * scale,
                Err(at) => sum.terms.insert(at, (var, coefficient * scale)),
            }
        }
        sum.terms.retain(|&(_, coefficient)| coefficient != 0);
        sum
    }

    /// Coefficient of a dimension of the iteration space.
    pub(super) fn stride(&self, dim: usize) -> i64 {
        let var = Var::Dim(dim as u32);
        self.terms.iter().find(|(term, _)| *term == var).map_or(0, |&(_, coefficient)| coefficient)
    }

    /// The dimensions of the iteration space that take part.
    pub(super) fn dims(&self) -> impl Iterator<Item = usize> + '_ {
        self.terms.iter().filter_map(|&(var, _)| match var {
            Var::Dim(dim) => Some(dim as usize),
            Var::Reg(_) => None,
        })
    }

    /// Least and greatest value, from those of the variables.
    pub(super) fn range(&self, of: &impl Fn(Var) -> Range) -> Range {
        let mut range = (self.offset, self.offset);
        for &(var, coefficient) in &self.terms {
            let (low, high) = of(var);
            let (low, high) = (low * coefficient, high * coefficient);
            range = (range.0 + low.min(high), range.1 + low.max(high));
        }
        range
    }

    /// `(self / divisor, self % divisor)`, if both are affine for all values the variables take.
    pub(super) fn split(&self, divisor: i64, of: &impl Fn(Var) -> Range) -> Option<(Self, Self)> {
        let (multiples, rest): (Vec<_>, Vec<_>) =
            self.terms.iter().copied().partition(|&(_, coefficient)| coefficient % divisor == 0);
        let rest = Self { offset: self.offset, terms: rest };
        let (low, high) = rest.range(of);
        let whole = low.div_euclid(divisor);
        if high.div_euclid(divisor) != whole {
            return None;
        }
        let terms = multiples.into_iter().map(|(var, coefficient)| (var, coefficient / divisor)).collect();
        Some((Self { offset: whole, terms }, rest.plus_const(-whole * divisor)))
    }
}

/// Row-major strides of a dense tensor.
pub(super) fn dense_strides(extents: &[usize]) -> Vec<i64> {
    let mut strides = vec![1; extents.len()];
    for dim in (1..extents.len()).rev() {
        strides[dim - 1] = strides[dim] * extents[dim] as i64;
    }
    strides
}

/// `Σ coordinate * stride`.
pub(super) fn dot(coords: &[Affine], strides: &[i64]) -> Affine {
    coords.iter().zip(strides).fold(Affine::default(), |sum, (coord, &stride)| sum.plus_scaled(coord, stride))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitting_needs_known_ranges() {
        // 64 * d0 + d1 with d1 below 64 splits by 64 and by 16 * 64, but 48 * d0 + d1 does not split by 64.
        let of = |var: Var| if var == Var::Dim(0) { (0, 9) } else { (0, 63) };
        let linear = Affine::dim(0).scaled(64).plus(&Affine::dim(1));
        assert_eq!(linear.split(64, &of), Some((Affine::dim(0), Affine::dim(1))));
        assert_eq!(linear.split(1024, &of), Some((Affine::constant(0), linear.clone())));
        assert_eq!(Affine::dim(0).scaled(48).plus(&Affine::dim(1)).split(64, &of), None);
        let shifted = linear.plus_const(64 * 3);
        assert_eq!(shifted.split(64, &of), Some((Affine::dim(0).plus_const(3), Affine::dim(1))));
    }

    #[test]
    fn equal_expressions_are_equal() {
        let sum = Affine::dim(1).plus(&Affine::dim(0)).plus_scaled(&Affine::dim(1), -1);
        assert_eq!(sum, Affine::dim(0));
        assert_eq!(dense_strides(&[2, 3, 4]), [12, 4, 1]);
    }
}
