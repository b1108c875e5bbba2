//! Which operands may give their buffers to results.

use nnc_ir::Value;

use super::region::Region;
use super::{Accesses, Arg, LoweredKernel};

/// Pairs of operand and result that may share a buffer.
///
/// A pair is safe if no kernel after the first that stores the result reads the operand, and wherever that kernel reads
/// an element of the operand, the same iteration stores that very element, not before.
pub(super) fn pairs(
    region: &Region<'_>,
    operands: &[Value],
    kernels: &[LoweredKernel],
    accesses: &[Accesses],
) -> Vec<(usize, usize)> {
    debug_assert_eq!(kernels.len(), accesses.len(), "one record a kernel");
    let mut pairs = Vec::new();
    for (operand_idx, &param) in region.graph.params().iter().enumerate() {
        for (result_idx, &result) in region.graph.results().iter().enumerate() {
            let same_size = region.n_elements(param) == region.n_elements(result)
                && region.dtype(param).size() == region.dtype(result).size();
            // An operand passed twice is one buffer.
            let aliases = |arg: Arg| match arg {
                Arg::Operand(idx) => operands[idx] == operands[operand_idx],
                _ => false,
            };
            if same_size && is_safe(&aliases, Arg::Result(result_idx), accesses) {
                pairs.push((operand_idx, result_idx));
            }
        }
    }
    pairs
}

fn is_safe(is_operand: &dyn Fn(Arg) -> bool, result: Arg, accesses: &[Accesses]) -> bool {
    let stores = |access: &Accesses| access.stores.iter().any(|(arg, _)| *arg == result);
    let Some(writer) = accesses.iter().position(stores) else { return false };
    for (idx, access) in accesses.iter().enumerate().skip(writer) {
        if access.scattered.iter().any(|&arg| is_operand(arg)) {
            return false;
        }
        for (_, load) in access.loads.iter().filter(|(arg, _)| is_operand(*arg)) {
            let meets = |(arg, store): &(Arg, super::cx::Access)| {
                *arg == result && store.space == load.space && store.linear == load.linear && store.phase >= load.phase
            };
            if idx != writer || !access.stores.iter().any(meets) {
                return false;
            }
        }
    }
    true
}
