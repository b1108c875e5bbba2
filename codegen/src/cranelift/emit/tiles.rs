//! Which scratch buffers become variables instead of stack memory.

use nnc_ir::DType;

use crate::kernel::{Inst, Kernel, Space, Stmt};

/// For each buffer, whether it is a register tile: local, small, and only ever accessed whole-vector at constant,
/// aligned indices with one lane count.
pub(super) fn register_tiles(kernel: &Kernel) -> Vec<bool> {
    /// Beyond this many elements the variables would spill anyway.
    const MAX_ELEMENTS: usize = 64;

    fn visit(kernel: &Kernel, body: &[Stmt], lanes: &mut [Option<u16>], tile: &mut [bool]) {
        for stmt in body {
            let access = match stmt {
                Stmt::Let(reg, Inst::Load { buffer, index, lane_stride, active }) => {
                    Some((*buffer, index, *lane_stride, *active, kernel.reg_type(*reg).lanes))
                }
                Stmt::Store { buffer, index, lane_stride, active, value } => {
                    Some((*buffer, index, *lane_stride, *active, kernel.reg_type(*value).lanes))
                }
                Stmt::For(inner) => {
                    visit(kernel, &inner.body, lanes, tile);
                    None
                }
                Stmt::If(_, body) => {
                    visit(kernel, body, lanes, tile);
                    None
                }
                Stmt::Matmul(inner) => {
                    for buffer in [inner.a, inner.b, inner.acc] {
                        tile[buffer.idx()] = false;
                    }
                    None
                }
                Stmt::Transpose(inner) => {
                    for buffer in [inner.src, inner.dst] {
                        tile[buffer.idx()] = false;
                    }
                    None
                }
                Stmt::Let(..) | Stmt::Barrier => None,
            };
            if let Some((buffer, index, lane_stride, active, count)) = access {
                let at = index.as_const().unwrap_or(-1);
                let contiguous = (lane_stride == 1 || count == 1) && active == count;
                let aligned = at >= 0 && at % i64::from(count) == 0;
                let same = *lanes[buffer.idx()].get_or_insert(count) == count;
                tile[buffer.idx()] &= contiguous && aligned && same;
            }
        }
    }
    let candidate = |buffer: &crate::kernel::Buffer| {
        let same_in_memory = matches!(buffer.dtype, DType::Bool) || buffer.dtype.size() >= 4;
        buffer.space == Space::Local && buffer.len <= MAX_ELEMENTS && same_in_memory
    };
    let mut tile: Vec<bool> = kernel.buffers.iter().map(candidate).collect();
    visit(kernel, &kernel.body, &mut vec![None; kernel.buffers.len()], &mut tile);
    tile
}
