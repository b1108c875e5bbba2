//! Checks kernels at the boundary between lowering and emitters.
//!
//! - (k1) a register is defined once, before its uses, in the same or an enclosing block.
//! - (k2) operand and result types of every instruction agree with its definition.
//! - (k3) indices use scalar `i64` registers; lanes and active lanes are in range.
//! - (k4) stores go to buffers marked written; values have the register type of the buffer's elements.
//! - (k5) a parallel loop is the whole body; grid loops enclose thread loops; barriers stand inside thread loops.
//! - (k6) tiles are of `f32` buffers.
//! - (k7) arguments come before scratch, and names of buffers are distinct.

use nnc_ir::DType;

use super::{BinOp, BufferId, Index, Inst, Kernel, LoopKind, Reg, RegType, Space, Stmt, Ty, UnOp};

/// Every fault of `kernel`, one line each, naming the statement's register or buffer.
///
/// # Errors
/// The list, if it is not empty.
pub fn verify(kernel: &Kernel) -> Result<(), Vec<String>> {
    let mut checker = Checker { kernel, defined: vec![false; kernel.regs.len()], faults: Vec::new() };
    let first_scratch = kernel.args().count();
    for (idx, buffer) in kernel.buffers.iter().enumerate() {
        if idx >= first_scratch && buffer.space == Space::Global {
            checker.faults.push(format!("argument {} stands after scratch", buffer.name)); // k7
        }
        if kernel.buffers[..idx].iter().any(|other| other.name == buffer.name) {
            checker.faults.push(format!("buffer name {} is repeated", buffer.name)); // k7
        }
    }
    checker.block(&kernel.body, Context { depth: 0, in_grid: false, in_thread: false });
    if checker.faults.is_empty() { Ok(()) } else { Err(checker.faults) }
}

#[derive(Clone, Copy)]
struct Context {
    depth: usize,
    in_grid: bool,
    in_thread: bool,
}

struct Checker<'a> {
    kernel: &'a Kernel,
    defined: Vec<bool>,
    faults: Vec<String>,
}

impl Checker<'_> {
    fn require(&mut self, holds: bool, message: impl FnOnce() -> String) {
        if !holds {
            self.faults.push(message());
        }
    }

    fn used(&mut self, reg: Reg) -> RegType {
        let defined = self.defined.get(reg.idx()).copied().unwrap_or(false);
        self.require(defined, || format!("r{} is used where it is not defined", reg.0)); // k1
        self.kernel.regs.get(reg.idx()).copied().unwrap_or(RegType { ty: Ty::Bool, lanes: 1 })
    }

    fn define(&mut self, reg: Reg) {
        match self.defined.get_mut(reg.idx()) {
            Some(slot) if !*slot => *slot = true,
            _ => self.faults.push(format!("r{} is defined twice or has no type", reg.0)), // k1
        }
    }

    fn index(&mut self, index: &Index) {
        for &(reg, _) in &index.terms {
            let ty = self.used(reg);
            let scalar = RegType { ty: Ty::I64, lanes: 1 };
            self.require(ty == scalar, || format!("r{} of type {ty} is used as an index", reg.0)); // k3
        }
    }

    fn buffer_ty(&mut self, buffer: BufferId) -> Option<Ty> {
        let found = self.kernel.buffers.get(buffer.idx()).map(|buffer| Ty::of(buffer.dtype));
        self.require(found.is_some(), || format!("buffer {} does not exist", buffer.0));
        found
    }

    fn tile_buffer(&mut self, buffer: BufferId, index: &Index, written: bool) {
        self.index(index);
        let Some(info) = self.kernel.buffers.get(buffer.idx()) else {
            self.faults.push(format!("buffer {} does not exist", buffer.0));
            return;
        };
        self.require(info.dtype == DType::F32, || format!("tile of {} buffer {}", info.dtype, info.name)); // k6
        self.require(info.written || !written, || format!("store to read-only buffer {}", info.name)); // k4
    }

    fn block(&mut self, body: &[Stmt], ctx: Context) {
        let mut here = Vec::new();
        for stmt in body {
            match stmt {
                Stmt::Let(reg, inst) => {
                    self.inst(*reg, inst);
                    self.define(*reg);
                    here.push(*reg);
                }
                Stmt::Store { buffer, index, active, value, .. } => {
                    self.index(index);
                    let value_type = self.used(*value);
                    if let Some(ty) = self.buffer_ty(*buffer) {
                        let info = self.kernel.buffer(*buffer);
                        self.require(info.written, || format!("store to read-only buffer {}", info.name)); // k4
                        self.require(ty == value_type.ty, || {
                            format!("store of {value_type} to {} buffer {}", info.dtype, info.name) // k4
                        });
                    }
                    self.require(*active <= value_type.lanes, || format!("{active} of {} lanes", value_type.lanes)); // k3
                }
                Stmt::For(inner) => {
                    let nested = match inner.kind {
                        LoopKind::Parallel => {
                            let whole = ctx.depth == 0 && body.len() == 1;
                            self.require(whole, || "a parallel loop is not the whole body".to_string()); // k5
                            ctx
                        }
                        LoopKind::Grid(_) => {
                            self.require(!ctx.in_thread, || "a grid loop inside a thread loop".to_string()); // k5
                            Context { in_grid: true, ..ctx }
                        }
                        LoopKind::Thread(_) => {
                            self.require(ctx.in_grid, || "a thread loop outside a grid loop".to_string()); // k5
                            Context { in_thread: true, ..ctx }
                        }
                        LoopKind::Serial | LoopKind::Unrolled => ctx,
                    };
                    let scalar = RegType { ty: Ty::I64, lanes: 1 };
                    self.require(self.kernel.regs.get(inner.var.idx()) == Some(&scalar), || {
                        format!("loop variable r{} is not a scalar i64", inner.var.0)
                    });
                    self.define(inner.var);
                    self.block(&inner.body, Context { depth: ctx.depth + 1, ..nested });
                    self.defined[inner.var.idx()] = false;
                }
                Stmt::If(cond, body) => {
                    let ty = self.used(*cond);
                    let scalar = RegType { ty: Ty::Bool, lanes: 1 };
                    self.require(ty == scalar, || format!("condition r{} of type {ty}", cond.0)); // k2
                    self.block(body, Context { depth: ctx.depth + 1, ..ctx });
                }
                Stmt::Barrier => self.require(ctx.in_thread, || "a barrier outside a thread loop".to_string()), // k5
                Stmt::Matmul(tile) => {
                    let n_taps = tile.b_taps.len() as u64;
                    self.require(n_taps > 0 && tile.k.checked_rem(n_taps) == Some(0), || {
                        format!("a product over {} in groups of {n_taps}", tile.k)
                    });
                    self.tile_buffer(tile.a, &tile.a_index, false);
                    self.tile_buffer(tile.b, &tile.b_index, false);
                    self.tile_buffer(tile.acc, &tile.acc_index, true);
                }
                Stmt::Transpose(tile) => {
                    self.tile_buffer(tile.src, &tile.src_index, false);
                    self.tile_buffer(tile.dst, &tile.dst_index, true);
                }
            }
        }
        // A register ends with its block; leaving it marked would hide a use after the block.
        for reg in here {
            self.defined[reg.idx()] = false;
        }
    }

    fn inst(&mut self, reg: Reg, inst: &Inst) {
        let Some(&ty) = self.kernel.regs.get(reg.idx()) else {
            return;
        };
        let same = |operand: RegType| operand == ty;
        let lanes = |operand: RegType| operand.lanes == ty.lanes;
        // k2
        let fits = match inst {
            Inst::Const(_) => true,
            Inst::LaneIota => !ty.ty.is_float() && ty.ty != Ty::Bool,
            Inst::LaneMask { active } => ty.ty == Ty::Bool && *active <= ty.lanes,
            Inst::Splat(scalar) => self.used(*scalar) == RegType { ty: ty.ty, lanes: 1 },
            Inst::Extract { vector, lane } => {
                let vector = self.used(*vector);
                vector.ty == ty.ty && ty.lanes == 1 && *lane < vector.lanes
            }
            Inst::Unary(op, operand) => {
                same(self.used(*operand))
                    && match op {
                        UnOp::Neg | UnOp::Abs => ty.ty != Ty::Bool,
                        UnOp::Not => !ty.ty.is_float(),
                        UnOp::Sqrt | UnOp::Floor | UnOp::Ceil | UnOp::RoundEven => ty.ty.is_float(),
                    }
            }
            Inst::Binary(op, lhs, rhs) => {
                let operands = same(self.used(*lhs)) & same(self.used(*rhs));
                operands
                    && match op {
                        BinOp::Add | BinOp::Sub | BinOp::Mul | BinOp::Div | BinOp::Rem => ty.ty != Ty::Bool,
                        BinOp::Max | BinOp::Min => ty.ty != Ty::Bool,
                        BinOp::And | BinOp::Or | BinOp::Xor => !ty.ty.is_float(),
                        BinOp::Shl | BinOp::ShrLogical | BinOp::ShrArithmetic => !ty.ty.is_float() && ty.ty != Ty::Bool,
                    }
            }
            Inst::Fma(a, b, c) => ty.ty.is_float() && (same(self.used(*a)) & same(self.used(*b)) & same(self.used(*c))),
            Inst::Compare(_, lhs, rhs) => {
                let (lhs, rhs) = (self.used(*lhs), self.used(*rhs));
                ty.ty == Ty::Bool && lhs == rhs && lanes(lhs)
            }
            Inst::Select(pred, on_true, on_false) => {
                let pred = self.used(*pred);
                pred.ty == Ty::Bool && lanes(pred) && (same(self.used(*on_true)) & same(self.used(*on_false)))
            }
            Inst::Cast(operand) => lanes(self.used(*operand)),
            Inst::Bitcast(operand) => {
                let operand = self.used(*operand);
                let same_size = operand.ty.is_wide() == ty.ty.is_wide();
                lanes(operand) && same_size && operand.ty != Ty::Bool && ty.ty != Ty::Bool
            }
            Inst::Narrow(dtype, operand) => same(self.used(*operand)) && Ty::of(*dtype) == ty.ty,
            Inst::Load { buffer, index, active, .. } => {
                self.index(index);
                self.buffer_ty(*buffer) == Some(ty.ty) && *active <= ty.lanes
            }
            Inst::FoldLanes(_, vector) => {
                let vector = self.used(*vector);
                vector.ty == ty.ty && ty.lanes == 1 && vector.lanes.is_power_of_two()
            }
        };
        self.require(fits, || format!("r{}: operands do not fit {inst:?} : {ty}", reg.0));
    }
}
