//! Removes buffers that a kernel does not use: templates declare all that they might.

use crate::kernel::{BufferId, Inst, Kernel, Stmt};

/// Drops unused buffers and renumbers the others; tells which of the old ones were kept.
pub(super) fn prune(kernel: &mut Kernel) -> Vec<bool> {
    let mut used = vec![false; kernel.buffers.len()];
    visit(&mut kernel.body, &mut |buffer| used[buffer.idx()] = true);
    let mut next = 0;
    let numbers: Vec<BufferId> = used
        .iter()
        .map(|&used| {
            let number = BufferId(next);
            next += u32::from(used);
            number
        })
        .collect();
    visit(&mut kernel.body, &mut |buffer| *buffer = numbers[buffer.idx()]);
    let mut keep = used.iter().copied();
    kernel.buffers.retain(|_| keep.next().expect("one flag a buffer"));
    used
}

fn visit(body: &mut [Stmt], on_buffer: &mut impl FnMut(&mut BufferId)) {
    for stmt in body {
        match stmt {
            Stmt::Let(_, Inst::Load { buffer, .. }) | Stmt::Store { buffer, .. } => on_buffer(buffer),
            Stmt::Let(..) | Stmt::Barrier => {}
            Stmt::For(inner) => visit(&mut inner.body, on_buffer),
            Stmt::If(_, body) => visit(body, on_buffer),
            Stmt::Matmul(tile) => [&mut tile.a, &mut tile.b, &mut tile.acc].into_iter().for_each(&mut *on_buffer),
            Stmt::Transpose(tile) => [&mut tile.src, &mut tile.dst].into_iter().for_each(&mut *on_buffer),
        }
    }
}
