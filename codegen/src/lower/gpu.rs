//! GPU templates.

use super::cx::{Cx, Eval, Stop};
use super::nest::Axis;
use super::row::Rows;
use super::{Built, Planner};
use crate::kernel::BufferId;
use nnc_ir::Value;
pub(super) type GpuNest = (Vec<(Value, BufferId)>, Vec<(i64, i64)>, Vec<Axis>);
pub(super) fn pointwise<'r>(_cx: Cx<'r>, _nests: Vec<GpuNest>) -> Eval<Built<'r>> {
    Err(Stop::Unsupported("gpu".into()))
}
pub(super) fn rows<'r>(_planner: &Planner<'r>, _cx: Cx<'r>, _rows: &Rows) -> Eval<Built<'r>> {
    Err(Stop::Unsupported("gpu".into()))
}

pub(super) fn contraction<'r>(
    _p: &Planner<'r>,
    _c: &super::contraction::Contraction<'_>,
    _o: &[super::Out],
) -> Eval<Built<'r>> {
    Err(Stop::Unsupported("gpu".into()))
}
