//! Runs kernels as they are written: the meaning every emitter must reproduce bit for bit.
//!
//! GPU kernels run one block at a time, the threads of a block in lockstep, one statement after the other. Lockstep
//! alone would hide a missing barrier, so every access is also checked for races: two threads of a block may touch one
//! element between two barriers only if both read it, and iterations of a parallel loop (or blocks of a grid) may not
//! share an element that one of them writes. Accesses out of bounds and reads of scratch that nothing wrote are errors
//! too.

use std::fmt;

use super::{
    Buffer, BufferId, Index, Inst, Kernel, Loop, LoopKind, Reg, Space, Stmt, TileMatmul, TileTranspose, scalar,
};

/// A fault found while running a kernel: always a bug of the lowering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelFault {
    /// What happened and where.
    pub message: String,
}

impl fmt::Display for KernelFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for KernelFault {}

/// Runs `kernel` on tensors of raw bytes. `bindings[i]` is the tensor bound to argument `i`; an output that works in
/// place is bound to the same tensor as its input.
///
/// # Errors
/// Accesses out of bounds, reads of unwritten scratch, races, barriers in divergent control flow, and tensors of the
/// wrong size.
pub fn run(kernel: &Kernel, tensors: &mut [Vec<u8>], bindings: &[usize]) -> Result<(), KernelFault> {
    let n_args = kernel.args().count();
    if bindings.len() != n_args {
        return Err(fault(format!("{} bindings for {n_args} arguments of {}", bindings.len(), kernel.name)));
    }
    for ((_, buffer), &tensor) in kernel.args().zip(bindings) {
        let expected = buffer.len * buffer.dtype.size();
        if tensors[tensor].len() != expected {
            return Err(fault(format!("{} has {} bytes, expected {expected}", buffer.name, tensors[tensor].len())));
        }
    }
    let max_lanes = kernel.regs.iter().map(|reg| reg.lanes as usize).max().unwrap_or(1);
    let global = tensors.iter().map(|tensor| Log::new(tensor.len())).collect();
    let mut machine = Machine {
        kernel,
        tensors,
        bindings,
        global,
        shared: Vec::new(),
        shared_log: Vec::new(),
        max_lanes,
        epoch: 0,
        task: 0,
    };
    machine.reset_shared();
    let mut threads = vec![machine.new_thread()];
    machine.block(&kernel.body, &mut threads)
}

fn fault(message: impl Into<String>) -> KernelFault {
    KernelFault { message: message.into() }
}

/// Who touched an element: a task (parallel iteration or block), a thread of it, and the barriers passed before.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Access {
    task: u32,
    thread: u32,
    epoch: u32,
}

impl Access {
    /// Whether the two may happen at the same time.
    fn races(self, other: Self) -> bool {
        self.task != other.task || (self.thread != other.thread && self.epoch == other.epoch)
    }
}

/// Last write and the reads since, one entry an element (an element is named by its first byte).
struct Log {
    writes: Vec<Option<Access>>,
    reads: Vec<Option<(Access, Option<Access>)>>,
}

impl Log {
    fn new(len: usize) -> Self {
        Self { writes: vec![None; len], reads: vec![None; len] }
    }

    fn read(&mut self, at: usize, access: Access) -> bool {
        self.reads[at] = Some(match self.reads[at] {
            Some((first, _)) if first != access => (first, Some(access)),
            other => (access, other.and_then(|(_, second)| second)),
        });
        !self.writes[at].is_some_and(|write| write.races(access))
    }

    fn write(&mut self, at: usize, access: Access) -> bool {
        let raced = self.writes[at].is_some_and(|write| write.races(access))
            || self.reads[at]
                .is_some_and(|(first, second)| first.races(access) || second.is_some_and(|read| read.races(access)));
        self.writes[at] = Some(access);
        !raced
    }
}

/// Scratch: words of register types, `None` until written.
#[derive(Clone)]
struct Scratch {
    elements: Vec<Option<u64>>,
}

impl Scratch {
    fn new(len: usize, used: bool) -> Self {
        Self { elements: vec![None; if used { len } else { 0 }] }
    }
}

/// One thread of control: its registers and its local scratch.
#[derive(Clone)]
struct Thread {
    regs: Vec<u64>,
    local: Vec<Scratch>,
    number: u32,
    active: bool,
}

struct Machine<'a> {
    kernel: &'a Kernel,
    tensors: &'a mut [Vec<u8>],
    bindings: &'a [usize],
    global: Vec<Log>,
    shared: Vec<Scratch>,
    shared_log: Vec<Log>,
    max_lanes: usize,
    epoch: u32,
    task: u32,
}

impl Machine<'_> {
    fn new_thread(&self) -> Thread {
        let local = self.kernel.buffers.iter().map(|buffer| Scratch::new(buffer.len, buffer.space == Space::Local));
        Thread {
            regs: vec![0; self.kernel.regs.len() * self.max_lanes],
            local: local.collect(),
            number: 0,
            active: true,
        }
    }

    fn reset_shared(&mut self) {
        let shared = |buffer: &Buffer| buffer.space == Space::Shared;
        let buffers = &self.kernel.buffers;
        self.shared = buffers.iter().map(|buffer| Scratch::new(buffer.len, shared(buffer))).collect();
        self.shared_log = buffers.iter().map(|buffer| Log::new(if shared(buffer) { buffer.len } else { 0 })).collect();
    }

    fn lane(&self, thread: &Thread, reg: Reg, lane: usize) -> u64 {
        thread.regs[reg.idx() * self.max_lanes + lane]
    }

    fn set_lane(&self, thread: &mut Thread, reg: Reg, lane: usize, bits: u64) {
        thread.regs[reg.idx() * self.max_lanes + lane] = bits;
    }

    fn address(&self, thread: &Thread, index: &Index) -> i64 {
        let terms = index.terms.iter().map(|&(reg, stride)| (self.lane(thread, reg, 0) as i64).wrapping_mul(stride));
        terms.fold(index.offset, i64::wrapping_add)
    }

    fn check_bounds(&self, buffer: BufferId, at: i64) -> Result<usize, KernelFault> {
        let info = self.kernel.buffer(buffer);
        match usize::try_from(at) {
            Ok(at) if at < info.len => Ok(at),
            _ => Err(fault(format!(
                "{}: element {at} of {}[{}] is out of bounds",
                self.kernel.name, info.name, info.len
            ))),
        }
    }

    fn race(&self, buffer: BufferId, at: usize) -> KernelFault {
        let name = &self.kernel.buffer(buffer).name;
        fault(format!("{}: race on element {at} of {name}", self.kernel.name))
    }

    fn access(&self, thread: &Thread) -> Access {
        Access { task: self.task, thread: thread.number, epoch: self.epoch }
    }

    fn load(&mut self, thread: &Thread, buffer: BufferId, at: i64) -> Result<u64, KernelFault> {
        let at = self.check_bounds(buffer, at)?;
        let kernel = self.kernel;
        let info = kernel.buffer(buffer);
        let access = self.access(thread);
        match info.space {
            Space::Global => {
                let tensor = self.bindings[buffer.idx()];
                let byte = at * info.dtype.size();
                if !self.global[tensor].read(byte, access) {
                    return Err(self.race(buffer, at));
                }
                Ok(scalar::load(info.dtype, &self.tensors[tensor][byte..]))
            }
            Space::Local | Space::Shared => {
                if info.space == Space::Shared && !self.shared_log[buffer.idx()].read(at, access) {
                    return Err(self.race(buffer, at));
                }
                let scratch = match info.space {
                    Space::Local => &thread.local[buffer.idx()],
                    _ => &self.shared[buffer.idx()],
                };
                scratch.elements[at].ok_or_else(|| {
                    fault(format!("{}: element {at} of {} is read before it is written", kernel.name, info.name))
                })
            }
        }
    }

    fn store(&mut self, thread: &mut Thread, buffer: BufferId, at: i64, bits: u64) -> Result<(), KernelFault> {
        let at = self.check_bounds(buffer, at)?;
        let info = self.kernel.buffer(buffer);
        let access = self.access(thread);
        match info.space {
            Space::Global => {
                let tensor = self.bindings[buffer.idx()];
                let byte = at * info.dtype.size();
                if !self.global[tensor].write(byte, access) {
                    return Err(self.race(buffer, at));
                }
                scalar::store(info.dtype, bits, &mut self.tensors[tensor][byte..]);
            }
            Space::Local => thread.local[buffer.idx()].elements[at] = Some(scalar::narrow(info.dtype, bits)),
            Space::Shared => {
                if !self.shared_log[buffer.idx()].write(at, access) {
                    return Err(self.race(buffer, at));
                }
                self.shared[buffer.idx()].elements[at] = Some(scalar::narrow(info.dtype, bits));
            }
        }
        Ok(())
    }

    fn block(&mut self, body: &[Stmt], threads: &mut Vec<Thread>) -> Result<(), KernelFault> {
        for stmt in body {
            match stmt {
                Stmt::Let(reg, inst) => {
                    for thread in threads.iter_mut().filter(|thread| thread.active) {
                        let mut taken = std::mem::replace(thread, Thread::empty());
                        let outcome = self.inst(&mut taken, *reg, inst);
                        *thread = taken;
                        outcome?;
                    }
                }
                Stmt::Store { buffer, index, lane_stride, active, value } => {
                    for thread in threads.iter_mut().filter(|thread| thread.active) {
                        let base = self.address(thread, index);
                        for lane in 0..*active {
                            let bits = self.lane(thread, *value, lane as usize);
                            self.store(thread, *buffer, base + i64::from(lane) * lane_stride, bits)?;
                        }
                    }
                }
                Stmt::For(inner) => self.for_loop(inner, threads)?,
                Stmt::If(cond, body) => {
                    let before: Vec<bool> = threads.iter().map(|thread| thread.active).collect();
                    for thread in threads.iter_mut() {
                        thread.active &= thread.regs[cond.idx() * self.max_lanes] != 0;
                    }
                    self.block(body, threads)?;
                    for (thread, active) in threads.iter_mut().zip(before) {
                        thread.active = active;
                    }
                }
                Stmt::Barrier => {
                    if threads.iter().any(|thread| !thread.active) {
                        return Err(fault(format!("{}: barrier in divergent control flow", self.kernel.name)));
                    }
                    self.epoch += 1;
                }
                Stmt::Matmul(tile) => {
                    for thread in threads.iter_mut().filter(|thread| thread.active) {
                        self.matmul(thread, tile)?;
                    }
                }
                Stmt::Transpose(tile) => {
                    for thread in threads.iter_mut().filter(|thread| thread.active) {
                        self.transpose(thread, tile)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn for_loop(&mut self, inner: &Loop, threads: &mut Vec<Thread>) -> Result<(), KernelFault> {
        let Loop { var, extent, kind, body } = inner;
        match kind {
            LoopKind::Serial | LoopKind::Unrolled | LoopKind::Parallel | LoopKind::Grid(_) => {
                for iteration in 0..*extent {
                    if matches!(kind, LoopKind::Parallel | LoopKind::Grid(_)) {
                        self.task += 1;
                        self.reset_shared();
                        for scratch in threads.iter_mut().flat_map(|thread| &mut thread.local) {
                            scratch.elements.fill(None);
                        }
                    }
                    for thread in threads.iter_mut() {
                        thread.regs[var.idx() * self.max_lanes] = iteration;
                    }
                    self.block(body, threads)?;
                }
                Ok(())
            }
            LoopKind::Thread(_) => {
                let mut forked = Vec::with_capacity(threads.len() * *extent as usize);
                for thread in threads.iter() {
                    for iteration in 0..*extent {
                        let mut copy = thread.clone();
                        copy.number = forked.len() as u32;
                        copy.regs[var.idx() * self.max_lanes] = iteration;
                        forked.push(copy);
                    }
                }
                self.block(body, &mut forked)
            }
        }
    }

    fn inst(&mut self, thread: &mut Thread, reg: Reg, inst: &Inst) -> Result<(), KernelFault> {
        let ty = self.kernel.reg_type(reg);
        if let Inst::FoldLanes(op, vector) = inst {
            let mut width = self.kernel.reg_type(*vector).lanes as usize;
            let mut lanes: Vec<u64> = (0..width).map(|lane| self.lane(thread, *vector, lane)).collect();
            while width > 1 {
                width /= 2;
                for lane in 0..width {
                    lanes[lane] = scalar::binary(*op, ty.ty, lanes[lane], lanes[lane + width]);
                }
            }
            self.set_lane(thread, reg, 0, lanes[0]);
            return Ok(());
        }
        if let Inst::Load { buffer, index, lane_stride, active } = inst {
            let base = self.address(thread, index);
            for lane in 0..ty.lanes {
                let bits =
                    if lane < *active { self.load(thread, *buffer, base + i64::from(lane) * lane_stride)? } else { 0 };
                self.set_lane(thread, reg, lane as usize, bits);
            }
            return Ok(());
        }
        for lane in 0..ty.lanes as usize {
            let at = |operand: Reg| self.lane(thread, operand, lane);
            let operand_ty = |operand: Reg| self.kernel.reg_type(operand).ty;
            let bits = match inst {
                Inst::Const(bits) => *bits,
                Inst::LaneIota => lane as u64,
                Inst::LaneMask { active } => u64::from(lane < *active as usize),
                Inst::Splat(scalar) => self.lane(thread, *scalar, 0),
                Inst::Extract { vector, lane } => self.lane(thread, *vector, *lane as usize),
                Inst::Unary(op, operand) => scalar::unary(*op, ty.ty, at(*operand)),
                Inst::Binary(op, lhs, rhs) => scalar::binary(*op, ty.ty, at(*lhs), at(*rhs)),
                Inst::Fma(a, b, c) => scalar::fma(ty.ty, at(*a), at(*b), at(*c)),
                Inst::Compare(dir, lhs, rhs) => u64::from(scalar::compare(*dir, operand_ty(*lhs), at(*lhs), at(*rhs))),
                Inst::Select(pred, on_true, on_false) => {
                    if at(*pred) != 0 {
                        at(*on_true)
                    } else {
                        at(*on_false)
                    }
                }
                Inst::Cast(operand) => scalar::cast(ty.ty, operand_ty(*operand), at(*operand)),
                Inst::Bitcast(operand) => at(*operand),
                Inst::Narrow(dtype, operand) => scalar::narrow(*dtype, at(*operand)),
                Inst::Load { .. } | Inst::FoldLanes(..) => unreachable!("handled above"),
            };
            self.set_lane(thread, reg, lane, bits);
        }
        Ok(())
    }

    fn matmul(&mut self, thread: &mut Thread, tile: &TileMatmul) -> Result<(), KernelFault> {
        let a_base = self.address(thread, &tile.a_index);
        let b_base = self.address(thread, &tile.b_index);
        let acc_base = self.address(thread, &tile.acc_index);
        for row in 0..i64::from(tile.m) {
            for column in 0..i64::from(tile.n) {
                let acc_at = acc_base + row * tile.acc_row_stride + column;
                let mut acc = if tile.accumulate { self.load(thread, tile.acc, acc_at)? } else { 0 };
                for k in 0..tile.k as i64 {
                    let a = self.load(thread, tile.a, a_base + row * tile.a_row_stride + k * tile.a_k_stride)?;
                    let b = self.load(thread, tile.b, b_base + tile.b_row(k as u64) + column)?;
                    acc = scalar::fma(super::Ty::F32, a, b, acc);
                }
                self.store(thread, tile.acc, acc_at, acc)?;
            }
        }
        Ok(())
    }

    fn transpose(&mut self, thread: &mut Thread, tile: &TileTranspose) -> Result<(), KernelFault> {
        let src_base = self.address(thread, &tile.src_index);
        let dst_base = self.address(thread, &tile.dst_index);
        for row in 0..i64::from(tile.rows) {
            for column in 0..i64::from(tile.cols) {
                let bits = self.load(thread, tile.src, src_base + row * tile.src_stride + column)?;
                self.store(thread, tile.dst, dst_base + column * tile.dst_stride + row, bits)?;
            }
        }
        Ok(())
    }
}

impl Thread {
    /// A placeholder while a thread is being stepped.
    fn empty() -> Self {
        Self { regs: Vec::new(), local: Vec::new(), number: 0, active: false }
    }
}

#[cfg(test)]
mod tests {
    use nnc_ir::DType;

    use super::*;
    use crate::kernel::{BinOp, KernelBuilder, Ty};

    fn f32s(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn folds_lanes_in_the_canonical_tree() {
        let mut b = KernelBuilder::new("sum");
        let x = b.arg("x", DType::F32, 5, false);
        let out = b.arg("out", DType::F32, 1, true);
        let row = b.load(x, Index::constant(0), 1, 16, 5);
        let sum = b.inst(Ty::F32, 1, Inst::FoldLanes(BinOp::Add, row));
        b.store_scalar(out, Index::constant(0), sum);
        let mut tensors = [f32s(&[1.0, 2.0, 3.0, 4.0, 5.0]), f32s(&[0.0])];
        run(&b.finish(), &mut tensors, &[0, 1]).unwrap();
        assert_eq!(tensors[1], f32s(&[15.0]));
    }

    /// Each thread stores its number to shared memory and reads its neighbor's.
    fn neighbor(with_barrier: bool) -> Kernel {
        let mut b = KernelBuilder::new("neighbor");
        let out = b.arg("out", DType::I64, 4, true);
        let shared = b.scratch("s", DType::I64, 4, Space::Shared);
        b.for_loop(1, LoopKind::Grid(0), |b, _| {
            b.for_loop(4, LoopKind::Thread(0), |b, thread| {
                b.store_scalar(shared, Index::term(thread, 1), thread);
                if with_barrier {
                    b.push(Stmt::Barrier);
                }
                let last = b.const_i64(Ty::I64, 1, 3);
                let other = b.sub(last, thread);
                let value = b.load_scalar(shared, Index::term(other, 1));
                b.store_scalar(out, Index::term(thread, 1), value);
            });
        });
        b.finish()
    }

    #[test]
    fn a_barrier_orders_shared_memory() {
        let mut tensors = [vec![0; 32]];
        run(&neighbor(true), &mut tensors, &[0]).unwrap();
        assert_eq!(tensors[0].chunks(8).map(|word| word[0]).collect::<Vec<_>>(), [3, 2, 1, 0]);
    }

    #[test]
    fn a_missing_barrier_is_a_race() {
        let error = run(&neighbor(false), &mut [vec![0; 32]], &[0]).unwrap_err();
        assert_eq!(error.message, "neighbor: race on element 3 of s");
    }
}
