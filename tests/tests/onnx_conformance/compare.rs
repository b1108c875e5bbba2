//! Comparing outputs with expected ones, as ONNX's own runner does (`numpy.testing.assert_allclose`), but for integers, which
//! must be equal.

use nnc_ir::{DType, TensorData};

/// Whether two tensors have one type and near elements.
///
/// # Errors
/// The types, or how many elements differ and the first that does.
pub(crate) fn near(expected: &TensorData, found: &TensorData, (relative, absolute): (f64, f64)) -> Result<(), String> {
    if expected.ty() != found.ty() {
        return Err(format!("found {}, expected {}", found.ty(), expected.ty()));
    }
    // Two steps of `bf16`, which ONNX's runner grants too.
    let relative = if expected.dtype == DType::BF16 { f64::max(relative, 1.0 / 64.0) } else { relative };
    let differs = |idx: usize| {
        let (expected, found) = (expected.get(idx), found.get(idx));
        if !expected.dtype.is_float() {
            return expected.bits != found.bits;
        }
        let (expected, found) = (expected.to_f64(), found.to_f64());
        let same = expected == found || (expected.is_nan() && found.is_nan());
        !(same || expected.is_finite() && (found - expected).abs() <= absolute + relative * expected.abs())
    };
    let differing: Vec<usize> = (0..expected.len()).filter(|&idx| differs(idx)).collect();
    let Some(&idx) = differing.first() else { return Ok(()) };
    let (n, of) = (differing.len(), expected.len());
    Err(format!("{n} of {of} elements differ; element {idx} is {}, expected {}", found.get(idx), expected.get(idx)))
}
