//! Evaluation of `scan`, `cond` and `while`: regions, run as often as it takes.

use super::{EvalError, MAX_STEPS, run};
use crate::graph::Graph;
use crate::literal::TensorData;
use crate::ops::ScanAttrs;
use crate::types::TensorType;

/// The results of `region` on `inputs`.
pub(super) fn region(region: &Graph, inputs: Vec<TensorData>) -> Result<Vec<TensorData>, EvalError> {
    run::run(region, inputs).map_err(|fault| EvalError::Region(Box::new(fault)))
}

/// The last carries and the stacked outputs, of types `result_types`.
pub(super) fn scan(
    attrs: &ScanAttrs,
    operands: &[&TensorData],
    body: &Graph,
    result_types: &[TensorType],
) -> Result<Vec<TensorData>, EvalError> {
    let Some(length) = attrs.length.as_const() else {
        return Err(EvalError::Rule(format!("the length is {}, expected a number", attrs.length)));
    };
    if length > MAX_STEPS {
        return Err(EvalError::TooManySteps);
    }
    let (carried, others) = operands.split_at(attrs.n_carried);
    let (scanned, invariants) = others.split_at(attrs.n_scanned);
    let mut carries: Vec<TensorData> = carried.iter().map(|&carry| carry.clone()).collect();
    let mut stacks: Vec<Vec<u8>> = result_types[attrs.n_carried..]
        .iter()
        .map(|ty| vec![0; ty.bytes().expect("result types were checked to be fixed and small")])
        .collect();
    for step in 0..length {
        let at = if attrs.reverse { length - 1 - step } else { step };
        let slices = scanned.iter().map(|stack| slice(stack, at));
        let inputs = carries.into_iter().chain(slices).chain(invariants.iter().map(|&input| input.clone())).collect();
        carries = region(body, inputs)?;
        let outputs = carries.split_off(attrs.n_carried);
        for (stack, output) in stacks.iter_mut().zip(outputs) {
            let size = output.bytes.len();
            stack[at * size..(at + 1) * size].copy_from_slice(&output.bytes);
        }
    }
    let stacked = stacks.into_iter().zip(&result_types[attrs.n_carried..]).map(|(bytes, ty)| {
        let shape = ty.shape.as_fixed().expect("result types were checked to be fixed");
        TensorData::new(ty.dtype, shape, bytes)
    });
    Ok(carries.into_iter().chain(stacked).collect())
}

/// Slice `at` of the leading dimension.
fn slice(stack: &TensorData, at: usize) -> TensorData {
    let size = stack.bytes.len() / stack.shape[0];
    TensorData::new(stack.dtype, stack.shape[1..].to_vec(), &stack.bytes[at * size..(at + 1) * size])
}

pub(super) fn cond(operands: &[&TensorData], regions: &[Graph]) -> Result<Vec<TensorData>, EvalError> {
    let inputs = operands[1..].iter().map(|&input| input.clone()).collect();
    region(&regions[usize::from(!is_true(operands[0]))], inputs)
}

pub(super) fn while_loop(
    operands: &[&TensorData],
    condition: &Graph,
    body: &Graph,
) -> Result<Vec<TensorData>, EvalError> {
    let mut carries: Vec<TensorData> = operands.iter().map(|&operand| operand.clone()).collect();
    for _ in 0..=MAX_STEPS {
        if !is_true(&region(condition, carries.clone())?[0]) {
            return Ok(carries);
        }
        carries = region(body, carries)?;
    }
    Err(EvalError::TooManySteps)
}

fn is_true(pred: &TensorData) -> bool {
    pred.get(0).bits != 0
}
