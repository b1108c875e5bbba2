//! Evaluation outside a trace: each op at once, by the reference interpreter.

use std::panic::Location as Caller;

use nnc_ir::{Diagnostic, Op, TensorData, interp};

use crate::tensor::{Repr, Tensor};
use crate::trace;

/// The results of `op` on concrete operands.
pub(crate) fn evaluate(
    op: Op,
    operands: &[&Tensor],
    caller: &'static Caller<'static>,
) -> Result<Vec<Tensor>, Diagnostic> {
    let fault = |message: String| Diagnostic::new(trace::locate(caller), message);
    let operands = operands
        .iter()
        .map(|operand| match operand.repr() {
            Repr::Data(data) => Ok(data),
            Repr::Traced { ty, .. } => Err(fault(format!("a traced tensor ({ty}) is used after its trace has ended"))),
            Repr::Poisoned(fault) => Err((**fault).clone()),
        })
        .collect::<Result<Vec<&TensorData>, _>>()?;
    let results = interp::eval(&op, &operands, &[]).map_err(|error| fault(format!("{}: {error}", op.mnemonic())))?;
    Ok(results.into_iter().map(Tensor::from_data).collect())
}
