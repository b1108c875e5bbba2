//! Constants and counters.

use nnc_ir::ops::IotaAttrs;
use nnc_ir::{Constant, DType, Scalar, Shape, TensorData, TensorType};

use super::emitter::{Emitter, Refusal, Val};

/// Counters of at most this many elements are constants.
const MAX_COUNTED: usize = 1024;

/// A literal of one value is a scalar, which broadcasts.
pub(super) fn constant(e: &mut Emitter, constant: &Constant) -> Val {
    match constant {
        Constant::Splat { value, .. } => e.scalar(*value),
        Constant::Dense { data, name: None } => e.tensor(data.clone()),
        Constant::Dense { data, name: Some(name) } => {
            let name = e.claim(name);
            e.initializer(name, data)
        }
    }
}

/// The counter along its dimension; the others are for broadcasting.
pub(super) fn iota(e: &mut Emitter, attrs: &IotaAttrs) -> Result<Val, Refusal> {
    let IotaAttrs { ty, dim } = attrs;
    let extent = &ty.shape[*dim];
    let counted = match extent.as_const() {
        Some(n) if n <= MAX_COUNTED => {
            let scalars = (0..n).map(|idx| Scalar::from_i64(ty.dtype, idx as i64));
            e.tensor(TensorData::from_scalars(ty.dtype, vec![n], scalars))
        }
        _ => {
            let (first, last, step) = (e.int(0), e.extent_scalar(extent)?, e.int(1));
            let wide = TensorType::new(DType::I64, Shape(vec![extent.clone()]));
            let counted = e.op("Range", &[&first, &last, &step], wide);
            e.cast(&counted, ty.dtype)
        }
    };
    let behind: Vec<usize> = (1..ty.rank() - dim).collect();
    Ok(e.unsqueeze(&counted, &behind))
}
