//! Symbolic dimensions.
//!
//! A dimension is an integer polynomial over named symbols (`N`, `2*N + 1`, `N*S`) and floor divisions
//! (`(N - 1) // 2`), kept in one normal form so that equality is structural. Shapes are symbolic in the IR and become
//! numbers when a function is specialized.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Add, Mul, Sub};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::diagnostic::Diagnostic;
use crate::names;

/// An extent has at most this many symbols and numbers: products of sums grow without bound otherwise.
pub(crate) const MAX_SIZE: usize = 1024;
/// Quotients nest at most this deep in an extent: whatever looks at one may recurse.
pub(crate) const MAX_DEPTH: usize = 32;

/// Values for symbols.
pub type Bindings = BTreeMap<String, usize>;

/// One extent: a number or a polynomial over symbols.
///
/// Serialized as a number or as its text, so that what is read back is in normal form again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "DimText", try_from = "DimText")]
pub enum Dim {
    /// A known extent.
    Const(usize),
    /// An expression with at least one symbol, in normal form.
    Expr(Arc<DimExpr>),
}

/// The serialized form of a [`Dim`].
#[derive(Serialize, Deserialize)]
enum DimText {
    Const(usize),
    Expr(String),
}

/// A sum of terms in ascending order of their factors; no term has coefficient 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DimExpr {
    terms: BTreeMap<Vec<Factor>, i64>,
}

/// A summand of an extent: `coefficient` times the factors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DimTerm {
    /// The number in front.
    pub coefficient: i64,
    /// The factors; none for the constant term.
    pub factors: Vec<DimFactor>,
}

/// An indivisible factor of a [`DimTerm`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DimFactor {
    /// A symbol.
    Symbol(String),
    /// The quotient of two extents, rounded down.
    FloorDiv(Dim, Dim),
}

/// An indivisible factor of a term.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Factor {
    Symbol(String),
    FloorDiv(DimExpr, DimExpr),
}

impl DimExpr {
    pub(crate) fn constant(value: i64) -> Self {
        let mut expr = Self::default();
        expr.accumulate(Vec::new(), value);
        expr
    }

    pub(crate) fn symbol(name: impl Into<String>) -> Self {
        Self::factor(Factor::Symbol(name.into()))
    }

    fn factor(factor: Factor) -> Self {
        Self { terms: BTreeMap::from([(vec![factor], 1)]) }
    }

    fn accumulate(&mut self, factors: Vec<Factor>, coefficient: i64) {
        let slot = self.terms.entry(factors).or_insert(0);
        *slot = slot.saturating_add(coefficient);
        if *slot == 0 {
            self.terms.retain(|_, coefficient| *coefficient != 0);
        }
    }

    pub(crate) fn as_const(&self) -> Option<i64> {
        match self.terms.len() {
            0 => Some(0),
            1 => self.terms.get(&Vec::new()).copied(),
            _ => None,
        }
    }

    /// `self + scale * other`.
    pub(crate) fn scaled_sum(&self, other: &Self, scale: i64) -> Self {
        let mut sum = self.clone();
        for (factors, coefficient) in &other.terms {
            sum.accumulate(factors.clone(), coefficient.saturating_mul(scale));
        }
        sum
    }

    pub(crate) fn product(&self, other: &Self) -> Self {
        let mut product = Self::default();
        for (lhs, lhs_coefficient) in &self.terms {
            for (rhs, rhs_coefficient) in &other.terms {
                let mut factors = [lhs.as_slice(), rhs.as_slice()].concat();
                factors.sort();
                product.accumulate(factors, lhs_coefficient.saturating_mul(*rhs_coefficient));
            }
        }
        product
    }

    /// `self / divisor` where `divisor` is a single term that divides every term.
    fn exact_div(&self, divisor: &Self) -> Option<Self> {
        if divisor.as_const() == Some(0) {
            return None;
        }
        if self == divisor {
            return Some(Self::constant(1));
        }
        let (divisor_factors, &divisor_coefficient) = divisor.terms.iter().next()?;
        if divisor.terms.len() != 1 {
            return None;
        }
        let mut quotient = Self::default();
        for (factors, coefficient) in &self.terms {
            if coefficient.checked_rem(divisor_coefficient)? != 0 {
                return None;
            }
            let mut rest = factors.clone();
            for factor in divisor_factors {
                let at = rest.iter().position(|candidate| candidate == factor)?;
                rest.remove(at);
            }
            quotient.accumulate(rest, coefficient / divisor_coefficient);
        }
        Some(quotient)
    }

    pub(crate) fn floor_div(&self, divisor: &Self) -> Self {
        if let Some(quotient) = self.exact_div(divisor) {
            return quotient;
        }
        if let (Some(lhs), Some(rhs)) = (self.as_const(), divisor.as_const())
            && let Some(truncated) = lhs.checked_div(rhs)
        {
            let inexact_below_zero = lhs % rhs != 0 && (lhs < 0) != (rhs < 0);
            return Self::constant(truncated - i64::from(inexact_below_zero));
        }
        Self::factor(Factor::FloorDiv(self.clone(), divisor.clone()))
    }

    /// Number of symbols and coefficients, at every depth: what it costs to write the expression down.
    pub(crate) fn size(&self) -> usize {
        let factor_size = |factor: &Factor| match factor {
            Factor::Symbol(_) => 1,
            Factor::FloorDiv(lhs, rhs) => lhs.size() + rhs.size(),
        };
        self.terms.keys().map(|factors| 1 + factors.iter().map(factor_size).sum::<usize>()).sum()
    }

    /// How deep quotients nest.
    fn depth(&self) -> usize {
        let factor_depth = |factor: &Factor| match factor {
            Factor::Symbol(_) => 0,
            Factor::FloorDiv(lhs, rhs) => 1 + lhs.depth().max(rhs.depth()),
        };
        self.terms.keys().flatten().map(factor_depth).max().unwrap_or(0)
    }

    /// Whether the text needs no parentheses next to an operator: a number, a symbol or a quotient (which brings
    /// its own).
    fn is_atom(&self) -> bool {
        let mut terms = self.terms.iter();
        match (terms.next(), terms.next()) {
            (None, _) => true,
            (Some((factors, &coefficient)), None) => match factors.len() {
                0 => coefficient >= 0,
                1 => coefficient == 1,
                _ => false,
            },
            _ => false,
        }
    }

    fn substitute(&self, bindings: &Bindings) -> Self {
        let mut sum = Self::default();
        for (factors, &coefficient) in &self.terms {
            let term = factors.iter().fold(Self::constant(coefficient), |product, factor| {
                let value = match factor {
                    Factor::Symbol(name) => match bindings.get(name) {
                        Some(&value) => Self::constant(i64::try_from(value).unwrap_or(i64::MAX)),
                        None => Self::factor(factor.clone()),
                    },
                    Factor::FloorDiv(lhs, rhs) => lhs.substitute(bindings).floor_div(&rhs.substitute(bindings)),
                };
                product.product(&value)
            });
            sum = sum.scaled_sum(&term, 1);
        }
        sum
    }

    fn symbols(&self, found: &mut Vec<String>) {
        for factor in self.terms.keys().flatten() {
            match factor {
                Factor::Symbol(name) => {
                    if !found.contains(name) {
                        found.push(name.clone());
                    }
                }
                Factor::FloorDiv(lhs, rhs) => {
                    lhs.symbols(found);
                    rhs.symbols(found);
                }
            }
        }
    }
}

impl fmt::Display for DimExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.terms.is_empty() {
            return f.write_str("0");
        }
        // The constant term sorts first and reads best last.
        let (constants, symbolic): (Vec<_>, Vec<_>) = self.terms.iter().partition(|(factors, _)| factors.is_empty());
        for (idx, (factors, &coefficient)) in symbolic.into_iter().chain(constants).enumerate() {
            let sign = match (idx, coefficient < 0) {
                (0, true) => "-",
                (0, false) => "",
                (_, true) => " - ",
                (_, false) => " + ",
            };
            f.write_str(sign)?;
            let magnitude = coefficient.unsigned_abs();
            if factors.is_empty() || magnitude != 1 {
                write!(f, "{magnitude}")?;
            }
            for (factor_idx, factor) in factors.iter().enumerate() {
                if factor_idx > 0 || magnitude != 1 {
                    f.write_str("*")?;
                }
                match factor {
                    Factor::Symbol(name) => names::write_symbol(f, name)?,
                    Factor::FloorDiv(lhs, rhs) => {
                        f.write_str("(")?;
                        lhs.fmt_operand(f)?;
                        f.write_str(" // ")?;
                        rhs.fmt_operand(f)?;
                        f.write_str(")")?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl DimExpr {
    fn fmt_operand(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_atom() { write!(f, "{self}") } else { write!(f, "({self})") }
    }
}

impl Dim {
    /// The symbol `name`.
    pub fn symbol(name: impl Into<String>) -> Self {
        Self::Expr(Arc::new(DimExpr::symbol(name)))
    }

    /// The extent as a number, or `None` if it has a symbol.
    pub fn as_const(&self) -> Option<usize> {
        match self {
            Self::Const(value) => Some(*value),
            Self::Expr(_) => None,
        }
    }

    /// `floor(self / divisor)`; exact quotients are simplified.
    pub fn floor_div(&self, divisor: &Self) -> Self {
        Self::normalize(self.expr().floor_div(&divisor.expr()))
    }

    /// `self / divisor` where that is known to be exact.
    pub fn exact_div(&self, divisor: &Self) -> Option<Self> {
        self.expr().exact_div(&divisor.expr()).map(Self::normalize)
    }

    /// The extent with every bound symbol replaced. A result below zero becomes 0.
    pub fn substitute(&self, bindings: &Bindings) -> Self {
        match self {
            Self::Const(_) => self.clone(),
            Self::Expr(expr) => Self::normalize(expr.substitute(bindings)),
        }
    }

    /// The symbols in order of appearance.
    pub fn symbols(&self) -> Vec<String> {
        let mut found = Vec::new();
        if let Self::Expr(expr) = self {
            expr.symbols(&mut found);
        }
        found
    }

    /// `(name, scale, offset)` if the extent is `scale * name + offset`.
    pub fn as_linear(&self) -> Option<(&str, i64, i64)> {
        let Self::Expr(expr) = self else { return None };
        let (mut symbol, mut offset) = (None, 0);
        for (factors, &coefficient) in &expr.terms {
            match factors.as_slice() {
                [] => offset = coefficient,
                [Factor::Symbol(name)] if symbol.is_none() => symbol = Some((name.as_str(), coefficient)),
                _ => return None,
            }
        }
        symbol.map(|(name, scale)| (name, scale, offset))
    }

    /// The summands, the constant one first; none for 0.
    ///
    /// ```
    /// use nnc_ir::Dim;
    /// use nnc_ir::dim::DimFactor;
    ///
    /// let terms = (Dim::symbol("N") * Dim::from(2) + Dim::from(1)).terms();
    /// assert_eq!((terms[0].coefficient, &terms[0].factors[..]), (1, &[][..]));
    /// assert_eq!((terms[1].coefficient, &terms[1].factors[..]), (2, &[DimFactor::Symbol("N".to_string())][..]));
    /// ```
    pub fn terms(&self) -> Vec<DimTerm> {
        let factor = |factor: &Factor| match factor {
            Factor::Symbol(name) => DimFactor::Symbol(name.clone()),
            Factor::FloorDiv(lhs, rhs) => {
                DimFactor::FloorDiv(Self::normalize(lhs.clone()), Self::normalize(rhs.clone()))
            }
        };
        let term = |(factors, &coefficient): (&Vec<Factor>, &i64)| DimTerm {
            coefficient,
            factors: factors.iter().map(factor).collect(),
        };
        self.expr().terms.iter().map(term).collect()
    }

    /// Checks that the extent is of a size that can be reasoned about. What computes with extents from elsewhere must
    /// check what it makes: chains of products and quotients grow.
    ///
    /// # Errors
    /// If it has too many symbols and numbers, or quotients nest too deep.
    pub fn check_size(&self) -> Result<(), String> {
        let Self::Expr(expr) = self else { return Ok(()) };
        let (depth, size) = (expr.depth(), expr.size());
        if depth > MAX_DEPTH {
            return Err(format!("an extent has quotients nested {depth} deep, expected at most {MAX_DEPTH}"));
        }
        if size > MAX_SIZE {
            return Err(format!("an extent has {size} symbols and numbers, expected at most {MAX_SIZE}"));
        }
        Ok(())
    }

    /// The product, unless it may be larger than [`Dim::check_size`] allows.
    pub fn checked_mul(&self, other: &Self) -> Option<Self> {
        let (lhs, rhs) = (self.expr(), other.expr());
        // Every term of one meets every term of the other; some may cancel.
        let pairs = lhs.size() * rhs.terms.len() + rhs.size() * lhs.terms.len();
        if pairs > 8 * MAX_SIZE {
            return None;
        }
        Some(Self::normalize(lhs.product(&rhs))).filter(|product| product.check_size().is_ok())
    }

    /// Number of summands.
    pub(crate) fn n_terms(&self) -> usize {
        match self {
            Self::Const(_) => 1,
            Self::Expr(expr) => expr.terms.len(),
        }
    }

    pub(crate) fn expr(&self) -> DimExpr {
        match self {
            Self::Const(value) => DimExpr::constant(i64::try_from(*value).unwrap_or(i64::MAX)),
            Self::Expr(expr) => (**expr).clone(),
        }
    }

    /// The extent an expression stands for. A number below zero becomes 0.
    pub(crate) fn normalize(expr: DimExpr) -> Self {
        match expr.as_const() {
            Some(value) => Self::Const(value.max(0) as usize),
            None => Self::Expr(Arc::new(expr)),
        }
    }
}

impl From<usize> for Dim {
    fn from(value: usize) -> Self {
        Self::Const(value)
    }
}

impl From<&str> for Dim {
    fn from(name: &str) -> Self {
        Self::symbol(name)
    }
}

impl Add for Dim {
    type Output = Self;

    fn add(self, rhs: Self) -> Self {
        Self::normalize(self.expr().scaled_sum(&rhs.expr(), 1))
    }
}

impl Sub for Dim {
    type Output = Self;

    fn sub(self, rhs: Self) -> Self {
        Self::normalize(self.expr().scaled_sum(&rhs.expr(), -1))
    }
}

impl Mul for Dim {
    type Output = Self;

    fn mul(self, rhs: Self) -> Self {
        Self::normalize(self.expr().product(&rhs.expr()))
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Const(value) => write!(f, "{value}"),
            Self::Expr(expr) => write!(f, "{expr}"),
        }
    }
}

impl From<Dim> for DimText {
    fn from(dim: Dim) -> Self {
        match dim {
            Dim::Const(value) => Self::Const(value),
            Dim::Expr(expr) => Self::Expr(expr.to_string()),
        }
    }
}

impl TryFrom<DimText> for Dim {
    type Error = Diagnostic;

    fn try_from(text: DimText) -> Result<Self, Diagnostic> {
        match text {
            DimText::Const(value) => Ok(Self::Const(value)),
            DimText::Expr(text) => crate::parse::parse_dim(&text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_has_one_normal_form() {
        let n = || Dim::symbol("N");
        let sum = n() * Dim::from(2) + Dim::from(3) - n();
        assert_eq!(sum.to_string(), "N + 3");
        assert_eq!(n() - n(), Dim::from(0));
        assert_eq!((n() * Dim::from(784)).exact_div(&Dim::from(784)), Some(n()));
        assert_eq!((n() + Dim::from(1)).floor_div(&Dim::from(2)).to_string(), "((N + 1) // 2)");
        let bindings = Bindings::from([("N".to_string(), 64)]);
        assert_eq!((n() + Dim::from(1)).floor_div(&Dim::from(2)).substitute(&bindings), Dim::from(32));
    }

    #[test]
    fn arithmetic_saturates_and_nothing_is_divided_by_zero() {
        let n = Dim::symbol("N");
        let huge = Bindings::from([("N".to_string(), usize::MAX)]);
        assert_eq!((n.clone() * n.clone()).substitute(&huge), Dim::from(i64::MAX as usize));
        // The least integer divided by -1 is no integer.
        let least = Dim::from(0) - n.clone() * Dim::from(usize::MAX) - n.clone() * Dim::from(2);
        let quotient = least.floor_div(&(n.clone() - Dim::from(2)));
        assert_eq!(quotient.substitute(&Bindings::from([("N".to_string(), 1)])).as_const(), None);
        // `1 // N` and `N // M` stay as they are where the divisor is bound to 0.
        let zero = Bindings::from([("N".to_string(), 0), ("M".to_string(), 0)]);
        assert_eq!(Dim::from(1).floor_div(&n).substitute(&zero).as_const(), None);
        assert_eq!(n.floor_div(&Dim::symbol("M")).substitute(&zero).as_const(), None);
    }
}
