//! Rules of `scan`, `cond` and `while`: how operands, regions and results fit together.

use super::structure::{check_n_params, result_types};
use super::{InferError, ScanAttrs};
use crate::dim::Dim;
use crate::graph::Graph;
use crate::types::{DType, Shape, TensorType};

/// (c1) there are at least `n_carried + n_scanned` operands. (c2) scanned operands have the leading extent `length`.
/// (c3) the region has one parameter an operand: of its type, without the leading dimension if it is scanned.
/// (c4) the region gives the next carries, of the carries' types, and then the outputs of a step; there is at least
/// one result.
pub(super) fn infer_scan(
    attrs: &ScanAttrs,
    operands: &[&TensorType],
    body: &Graph,
) -> Result<Vec<TensorType>, InferError> {
    let ScanAttrs { n_carried, n_scanned, length, .. } = attrs;
    let n_looped = n_carried.saturating_add(*n_scanned);
    // c1
    if operands.len() < n_looped {
        return Err(format!(
            "{} operands, expected at least {n_looped}: {n_carried} carried and {n_scanned} scanned",
            operands.len()
        ));
    }
    // c3
    check_n_params(body, operands.len(), "the body")?;
    for (idx, (operand, &param)) in operands.iter().zip(body.params()).enumerate() {
        let (role, expected) = if idx < *n_carried {
            ("carried", (*operand).clone())
        } else if idx < n_looped {
            // c2
            ("scanned", slice_of(operand, length).map_err(|message| format!("scanned operand {idx} {message}"))?)
        } else {
            ("invariant", (*operand).clone())
        };
        if *body.ty(param) != expected {
            return Err(format!(
                "parameter {idx} of the body ({role}) has type {}, expected {expected}",
                body.ty(param)
            ));
        }
    }
    // c4
    let given = result_types(body);
    if given.is_empty() {
        return Err("the body gives nothing, expected carries or outputs".to_string());
    }
    if given.len() < *n_carried {
        return Err(format!("the body gives {} values, expected at least the {n_carried} carries", given.len()));
    }
    let (carries, outputs) = given.split_at(*n_carried);
    for (idx, (carry, expected)) in carries.iter().zip(operands).enumerate() {
        if carry != *expected {
            return Err(format!("the body gives carry {idx} of type {carry}, expected {expected} as it begins"));
        }
    }
    Ok(carries.iter().cloned().chain(outputs.iter().map(|output| stack_of(output, length))).collect())
}

/// The type of one slice of a scanned operand; the error continues "operand N".
fn slice_of(operand: &TensorType, length: &Dim) -> Result<TensorType, InferError> {
    match operand.shape.dims().split_first() {
        Some((leading, rest)) if leading == length => {
            Ok(TensorType { dtype: operand.dtype, shape: Shape(rest.to_vec()) })
        }
        _ => Err(format!("has type {operand}, expected the leading extent {length}")),
    }
}

/// The type of `length` values of type `step`, stacked.
fn stack_of(step: &TensorType, length: &Dim) -> TensorType {
    let dims = [std::slice::from_ref(length), step.shape.dims()].concat();
    TensorType { dtype: step.dtype, shape: Shape(dims) }
}

/// (c1) the first operand is `bool[]`. (c2) both regions have one parameter for each further operand, of its type.
/// (c3) both give values of the same types, at least one.
pub(super) fn infer_cond(
    operands: &[&TensorType],
    on_true: &Graph,
    on_false: &Graph,
) -> Result<Vec<TensorType>, InferError> {
    // c1
    let Some((pred, inputs)) = operands.split_first() else {
        return Err("0 operands, expected at least the predicate".to_string());
    };
    check_predicate(pred, "operand 0")?;
    // c2
    check_params(on_true, inputs, "the first region")?;
    check_params(on_false, inputs, "the second region")?;
    // c3
    let (expected, found) = (result_types(on_true), result_types(on_false));
    if expected.is_empty() {
        return Err("the first region gives nothing, expected at least one value".to_string());
    }
    check_given(&found, &expected.iter().collect::<Vec<_>>(), "the second region", "as the first does")?;
    Ok(expected)
}

/// (c1) both regions have one parameter an operand, of its type. (c2) the first gives one `bool[]`. (c3) the second
/// gives values of the operands' types, at least one.
pub(super) fn infer_while(
    operands: &[&TensorType],
    condition: &Graph,
    body: &Graph,
) -> Result<Vec<TensorType>, InferError> {
    if operands.is_empty() {
        return Err("0 operands, expected at least one".to_string());
    }
    // c1
    check_params(condition, operands, "the condition")?;
    check_params(body, operands, "the body")?;
    // c2
    match result_types(condition).as_slice() {
        [pred] => check_predicate(pred, "the condition's value")?,
        given => return Err(format!("the condition gives {} values, expected one bool[]", given.len())),
    }
    // c3
    check_given(&result_types(body), operands, "the body", "as the operands are")?;
    Ok(operands.iter().map(|&operand| operand.clone()).collect())
}

fn check_predicate(ty: &TensorType, what: &str) -> Result<(), InferError> {
    let expected = TensorType::scalar(DType::Bool);
    if *ty == expected { Ok(()) } else { Err(format!("{what} has type {ty}, expected {expected}")) }
}

/// Checks that the parameters of `region` have these types.
fn check_params(region: &Graph, expected: &[&TensorType], name: &str) -> Result<(), InferError> {
    check_n_params(region, expected.len(), name)?;
    for (idx, (&param, expected)) in region.params().iter().zip(expected).enumerate() {
        if region.ty(param) != *expected {
            return Err(format!("parameter {idx} of {name} has type {}, expected {expected}", region.ty(param)));
        }
    }
    Ok(())
}

/// Checks that the results of a region have these types.
fn check_given(found: &[TensorType], expected: &[&TensorType], name: &str, why: &str) -> Result<(), InferError> {
    if found.len() != expected.len() {
        return Err(format!("{name} gives {} values, expected {} {why}", found.len(), expected.len()));
    }
    for (idx, (found, expected)) in found.iter().zip(expected).enumerate() {
        if found != *expected {
            return Err(format!("result {idx} of {name} has type {found}, expected {expected} {why}"));
        }
    }
    Ok(())
}
