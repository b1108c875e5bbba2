//! Scatter.

use super::cx::{Eval, Stop};
use super::{Out, Planner};
pub(super) fn lower(_planner: &mut Planner<'_>, _out: Out) -> Eval {
    Err(Stop::Unsupported("scatter".into()))
}
