//! The rules of `reduce_window` and `select_and_scatter`, and the arithmetic of their windows.
//!
//! Along one dimension window `at` starts at position `at * stride - low` of the operand and holds the `window`
//! positions from there that stand `dilation` apart. There are as many windows as lie wholly inside the padded (or,
//! where padding is negative, cropped) operand.

use serde::{Deserialize, Serialize};

use super::{InferError, ReduceKind};
use crate::dim::Dim;
use crate::types::{DType, Shape, TensorType};

/// Attributes of `reduce_window` and `select_and_scatter`, one entry a dimension.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReduceWindowAttrs {
    /// What is computed.
    pub kind: ReduceKind,
    /// Extent of the window.
    pub window: Vec<usize>,
    /// Step of the window.
    pub stride: Vec<usize>,
    /// Step inside the window.
    pub dilation: Vec<usize>,
    /// Padding before and after.
    pub padding: Vec<(i64, i64)>,
}

impl ReduceWindowAttrs {
    /// Windows of one element in `rank` dimensions: steps of 1, no padding.
    pub fn plain(kind: ReduceKind, rank: usize) -> Self {
        Self {
            kind,
            window: vec![1; rank],
            stride: vec![1; rank],
            dilation: vec![1; rank],
            padding: vec![(0, 0); rank],
        }
    }

    /// The same windows, folded otherwise.
    pub fn with_kind(&self, kind: ReduceKind) -> Self {
        Self { kind, ..self.clone() }
    }

    /// Positions from the first to the last of a window along `dim`, both included.
    pub fn spread(&self, dim: usize) -> i64 {
        (self.window[dim] as i64 - 1) * self.dilation[dim] as i64 + 1
    }

    /// Position in the operand of element `tap` of window `at` along `dim`.
    pub fn position(&self, dim: usize, at: i64, tap: i64) -> i64 {
        at * self.stride[dim] as i64 + tap * self.dilation[dim] as i64 - self.padding[dim].0
    }

    /// Number of elements of a window, those in the padding included.
    pub fn n_taps(&self) -> usize {
        self.window.iter().fold(1, |product, &extent| product.saturating_mul(extent))
    }

    /// Whether a window may reach into the padding, so that elements are missing.
    pub fn is_padded(&self) -> bool {
        self.padding.iter().any(|&(low, high)| low > 0 || high > 0)
    }
}

/// Largest extent, step, dilation or padding: products of two of them stay far from overflow.
const MAX_AMOUNT: usize = 1 << 31;

/// (c1) numbers. (c2) one entry a dimension; windows, steps and dilations are at least 1. (c3) a window is no larger
/// than the padded operand, unless both are of no and one element.
pub(super) fn infer_reduce_window(attrs: &ReduceWindowAttrs, operand: &TensorType) -> Result<TensorType, InferError> {
    let shape = windows(attrs, operand)?;
    let dtype = match attrs.kind {
        ReduceKind::Sum | ReduceKind::Prod | ReduceKind::Min | ReduceKind::Max => operand.dtype,
        ReduceKind::ArgMin | ReduceKind::ArgMax => DType::I64,
        ReduceKind::Any | ReduceKind::All => {
            return Err(format!("kind is {}, expected sum, prod, min, max, argmin or argmax", attrs.kind.name()));
        }
    };
    Ok(TensorType { dtype, shape })
}

/// As `reduce_window`, and (c4) `source` has one element of the operand's type a window.
pub(super) fn infer_select_and_scatter(
    attrs: &ReduceWindowAttrs,
    operand: &TensorType,
    source: &TensorType,
) -> Result<TensorType, InferError> {
    if !matches!(attrs.kind, ReduceKind::Min | ReduceKind::Max) {
        return Err(format!("kind is {}, expected min or max", attrs.kind.name()));
    }
    let expected = TensorType { dtype: operand.dtype, shape: windows(attrs, operand)? };
    if *source != expected {
        return Err(format!("operand `source` has type {source}, expected {expected}"));
    }
    Ok(operand.clone())
}

/// The number of windows along each dimension.
fn windows(attrs: &ReduceWindowAttrs, operand: &TensorType) -> Result<Shape, InferError> {
    if operand.dtype == DType::Bool {
        return Err(format!("operand has type {operand}, expected a number"));
    }
    let rank = operand.rank();
    for (name, values) in [("window", &attrs.window), ("stride", &attrs.stride), ("dilation", &attrs.dilation)] {
        check_entries(name, values.len(), operand)?;
        if let Some(&value) = values.iter().find(|&&value| value == 0 || value > MAX_AMOUNT) {
            return Err(format!("{name} is {value}, expected 1 to {MAX_AMOUNT}"));
        }
    }
    check_entries("padding", attrs.padding.len(), operand)?;
    let amounts = attrs.padding.iter().flat_map(|&(low, high)| [low, high]);
    if let Some(amount) = { amounts }.find(|amount| amount.unsigned_abs() > MAX_AMOUNT as u64) {
        return Err(format!("padding is {amount}, expected -{MAX_AMOUNT} to {MAX_AMOUNT}"));
    }
    let extent = |dim: usize| {
        n_windows(attrs, dim, &operand.shape[dim]).map_err(|(found, spread)| {
            format!("a window covers {spread} positions along dimension {dim}, but {operand} has {found}")
        })
    };
    Ok(Shape((0..rank).map(extent).collect::<Result<_, _>>()?))
}

fn check_entries(name: &str, found: usize, operand: &TensorType) -> Result<(), InferError> {
    if found == operand.rank() {
        return Ok(());
    }
    Err(format!("{name} has {found} entries, expected {}, one a dimension of {operand}", operand.rank()))
}

/// Number of windows along `dim`, or the padded extent and the window's if that does not fit.
fn n_windows(attrs: &ReduceWindowAttrs, dim: usize, extent: &Dim) -> Result<Dim, (i64, i64)> {
    let (stride, spread) = (attrs.stride[dim] as i64, attrs.spread(dim));
    let (low, high) = attrs.padding[dim];
    if let Some(extent) = extent.as_const() {
        let padded = i64::try_from(extent).unwrap_or(i64::MAX).saturating_add(low + high);
        if padded < 0 || (spread > padded && (padded, spread) != (0, 1)) {
            return Err((padded, spread));
        }
        return Ok(Dim::from(((padded - spread).div_euclid(stride) + 1).max(0) as usize));
    }
    // (extent + low + high - spread) / stride + 1, with what is constant on one side.
    let constant = low + high - spread + stride;
    let amount = Dim::from(constant.unsigned_abs() as usize);
    let span = if constant < 0 { extent.clone() - amount } else { extent.clone() + amount };
    Ok(span.floor_div(&Dim::from(attrs.stride[dim])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(extent: Dim, window: usize, stride: usize, padding: (i64, i64), expected: Result<&str, &str>) {
        let attrs = ReduceWindowAttrs {
            window: vec![window],
            stride: vec![stride],
            padding: vec![padding],
            ..ReduceWindowAttrs::plain(ReduceKind::Max, 1)
        };
        let found = infer_reduce_window(&attrs, &TensorType::new(DType::F32, Shape(vec![extent])));
        assert_eq!(found.map(|ty| ty.to_string()), expected.map(str::to_string).map_err(str::to_string));
    }

    #[test]
    fn windows_are_counted() {
        check(Dim::from(7), 3, 2, (0, 0), Ok("f32[3]"));
        check(Dim::from(7), 3, 2, (1, 1), Ok("f32[4]"));
        check(Dim::from(8), 3, 2, (-1, 0), Ok("f32[3]"));
        check(Dim::from(0), 1, 1, (0, 0), Ok("f32[0]"));
        check(Dim::from(0), 1, 3, (0, 0), Ok("f32[0]"));
        check(Dim::symbol("N"), 1, 1, (0, 0), Ok("f32[N]"));
        check(Dim::symbol("N"), 2, 2, (0, 0), Ok("f32[(N // 2)]"));
        check(Dim::symbol("N"), 3, 1, (1, 0), Ok("f32[N - 1]"));
        check(Dim::from(2), 3, 1, (0, 0), Err("a window covers 3 positions along dimension 0, but f32[2] has 2"));
        check(Dim::from(2), 1, 0, (0, 0), Err("stride is 0, expected 1 to 2147483648"));
    }
}
