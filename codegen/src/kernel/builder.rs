//! Builds kernels statement by statement.

use std::collections::HashMap;

use nnc_ir::ops::CompareDir;
use nnc_ir::{DType, Scalar};

use super::{
    BinOp, Buffer, BufferId, Index, Inst, Kernel, Loop, LoopKind, Reg, RegType, SCRATCH_ALIGN, Space, Stmt,
    TENSOR_ALIGN, Ty, UnOp,
};

/// Builds one kernel. Statements go to the innermost open block; equal pure instructions in scope share a register.
pub struct KernelBuilder {
    kernel: Kernel,
    blocks: Vec<Block>,
}

#[derive(Default)]
struct Block {
    stmts: Vec<Stmt>,
    /// Pure instructions of this block, for lookup only.
    known: HashMap<(RegType, Inst), Reg>,
}

impl KernelBuilder {
    /// Starts a kernel.
    pub fn new(name: impl Into<String>) -> Self {
        Self { kernel: Kernel::new(name), blocks: vec![Block::default()] }
    }

    /// Adds an argument; all arguments come before any scratch.
    pub fn arg(&mut self, name: impl Into<String>, dtype: DType, len: usize, written: bool) -> BufferId {
        debug_assert!(
            self.kernel.buffers.iter().all(|buffer| buffer.space == Space::Global),
            "arguments come before scratch"
        );
        self.kernel.add_buffer(Buffer {
            name: name.into(),
            dtype,
            len,
            space: Space::Global,
            written,
            align: TENSOR_ALIGN,
        })
    }

    /// Adds scratch.
    pub fn scratch(&mut self, name: impl Into<String>, dtype: DType, len: usize, space: Space) -> BufferId {
        self.kernel.add_buffer(Buffer { name: name.into(), dtype, len, space, written: true, align: SCRATCH_ALIGN })
    }

    /// The kernel built so far.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// Type of a register.
    pub fn reg_type(&self, reg: Reg) -> RegType {
        self.kernel.reg_type(reg)
    }

    /// Defines a register. A pure instruction already computed in scope is not repeated.
    pub fn inst(&mut self, ty: Ty, lanes: u16, inst: Inst) -> Reg {
        let reg_type = RegType { ty, lanes };
        let pure = !matches!(inst, Inst::Load { .. });
        if pure {
            let key = (reg_type, inst.clone());
            if let Some(&reg) = self.blocks.iter().rev().find_map(|block| block.known.get(&key)) {
                return reg;
            }
        }
        let reg = self.kernel.add_reg(ty, lanes);
        let block = self.blocks.last_mut().expect("a block is open");
        if pure {
            block.known.insert((reg_type, inst.clone()), reg);
        }
        block.stmts.push(Stmt::Let(reg, inst));
        reg
    }

    /// A constant in every lane. Narrow scalars become their register type.
    pub fn constant(&mut self, value: Scalar, lanes: u16) -> Reg {
        let ty = Ty::of(value.dtype);
        let bits = match ty {
            Ty::Bool => value.bits,
            Ty::I32 | Ty::U32 => value.to_i64() as u32 as u64,
            Ty::I64 => value.to_i64() as u64,
            Ty::U64 => value.bits,
            Ty::F32 => u64::from((value.to_f64() as f32).to_bits()),
            Ty::F64 => value.bits,
        };
        self.inst(ty, lanes, Inst::Const(bits))
    }

    /// A constant of a register type: floats are rounded, integers wrap.
    pub fn const_f64(&mut self, ty: Ty, lanes: u16, value: f64) -> Reg {
        let bits = match ty {
            Ty::F32 => u64::from((value as f32).to_bits()),
            Ty::F64 => value.to_bits(),
            _ => return self.const_i64(ty, lanes, value as i64),
        };
        self.inst(ty, lanes, Inst::Const(bits))
    }

    /// An integer (or `bool`) constant of a register type.
    pub fn const_i64(&mut self, ty: Ty, lanes: u16, value: i64) -> Reg {
        let bits = match ty {
            Ty::Bool => u64::from(value != 0),
            Ty::I32 | Ty::U32 => u64::from(value as u32),
            Ty::I64 | Ty::U64 => value as u64,
            Ty::F32 | Ty::F64 => return self.const_f64(ty, lanes, value as f64),
        };
        self.inst(ty, lanes, Inst::Const(bits))
    }

    /// Unary arithmetic.
    pub fn unary(&mut self, op: UnOp, operand: Reg) -> Reg {
        let RegType { ty, lanes } = self.reg_type(operand);
        self.inst(ty, lanes, Inst::Unary(op, operand))
    }

    /// Binary arithmetic.
    pub fn binary(&mut self, op: BinOp, lhs: Reg, rhs: Reg) -> Reg {
        let RegType { ty, lanes } = self.reg_type(lhs);
        debug_assert_eq!(self.reg_type(lhs), self.reg_type(rhs), "operands of {op:?} differ");
        self.inst(ty, lanes, Inst::Binary(op, lhs, rhs))
    }

    /// `lhs + rhs`.
    pub fn add(&mut self, lhs: Reg, rhs: Reg) -> Reg {
        self.binary(BinOp::Add, lhs, rhs)
    }

    /// `lhs - rhs`.
    pub fn sub(&mut self, lhs: Reg, rhs: Reg) -> Reg {
        self.binary(BinOp::Sub, lhs, rhs)
    }

    /// `lhs * rhs`.
    pub fn mul(&mut self, lhs: Reg, rhs: Reg) -> Reg {
        self.binary(BinOp::Mul, lhs, rhs)
    }

    /// `lhs / rhs`.
    pub fn div(&mut self, lhs: Reg, rhs: Reg) -> Reg {
        self.binary(BinOp::Div, lhs, rhs)
    }

    /// `a * b + c` with one rounding.
    pub fn fma(&mut self, a: Reg, b: Reg, c: Reg) -> Reg {
        let RegType { ty, lanes } = self.reg_type(a);
        self.inst(ty, lanes, Inst::Fma(a, b, c))
    }

    /// Comparison.
    pub fn compare(&mut self, dir: CompareDir, lhs: Reg, rhs: Reg) -> Reg {
        let lanes = self.reg_type(lhs).lanes;
        self.inst(Ty::Bool, lanes, Inst::Compare(dir, lhs, rhs))
    }

    /// `pred ? on_true : on_false`.
    pub fn select(&mut self, pred: Reg, on_true: Reg, on_false: Reg) -> Reg {
        let RegType { ty, lanes } = self.reg_type(on_true);
        self.inst(ty, lanes, Inst::Select(pred, on_true, on_false))
    }

    /// Conversion to another register type.
    pub fn cast(&mut self, ty: Ty, operand: Reg) -> Reg {
        let from = self.reg_type(operand);
        if from.ty == ty { operand } else { self.inst(ty, from.lanes, Inst::Cast(operand)) }
    }

    /// The same bits as another register type.
    pub fn bitcast(&mut self, ty: Ty, operand: Reg) -> Reg {
        let from = self.reg_type(operand);
        if from.ty == ty { operand } else { self.inst(ty, from.lanes, Inst::Bitcast(operand)) }
    }

    /// Rounds to the values of `dtype`, if it is narrower than its register type.
    pub fn narrow(&mut self, dtype: DType, operand: Reg) -> Reg {
        match dtype {
            DType::U8 | DType::I8 | DType::U16 | DType::I16 | DType::F16 | DType::BF16 => {
                let RegType { ty, lanes } = self.reg_type(operand);
                self.inst(ty, lanes, Inst::Narrow(dtype, operand))
            }
            DType::Bool | DType::I32 | DType::U32 | DType::I64 | DType::U64 | DType::F32 | DType::F64 => operand,
        }
    }

    /// A scalar in `lanes` lanes.
    pub fn splat(&mut self, scalar: Reg, lanes: u16) -> Reg {
        let RegType { ty, lanes: have } = self.reg_type(scalar);
        if have == lanes { scalar } else { self.inst(ty, lanes, Inst::Splat(scalar)) }
    }

    /// Loads `lanes` elements of which the first `active` exist.
    pub fn load(&mut self, buffer: BufferId, index: Index, lane_stride: i64, lanes: u16, active: u16) -> Reg {
        let ty = Ty::of(self.kernel.buffer(buffer).dtype);
        self.inst(ty, lanes, Inst::Load { buffer, index, lane_stride, active })
    }

    /// Loads one element.
    pub fn load_scalar(&mut self, buffer: BufferId, index: Index) -> Reg {
        self.load(buffer, index, 1, 1, 1)
    }

    /// Stores the first `active` lanes.
    pub fn store(&mut self, buffer: BufferId, index: Index, lane_stride: i64, active: u16, value: Reg) {
        self.push(Stmt::Store { buffer, index, lane_stride, active, value });
    }

    /// Stores one element.
    pub fn store_scalar(&mut self, buffer: BufferId, index: Index, value: Reg) {
        self.store(buffer, index, 1, 1, value);
    }

    /// Appends a statement.
    pub fn push(&mut self, stmt: Stmt) {
        self.blocks.last_mut().expect("a block is open").stmts.push(stmt);
    }

    /// A loop whose body `body` builds from the loop variable.
    pub fn for_loop(&mut self, extent: u64, kind: LoopKind, body: impl FnOnce(&mut Self, Reg)) {
        let var = self.kernel.add_reg(Ty::I64, 1);
        self.blocks.push(Block::default());
        body(self, var);
        let body = self.blocks.pop().expect("the loop's block is open").stmts;
        self.push(Stmt::For(Loop { var, extent, kind, body }));
    }

    /// A conditional block.
    pub fn if_then(&mut self, cond: Reg, body: impl FnOnce(&mut Self)) {
        self.blocks.push(Block::default());
        body(self);
        let body = self.blocks.pop().expect("the conditional's block is open").stmts;
        self.push(Stmt::If(cond, body));
    }

    /// The finished kernel.
    pub fn finish(mut self) -> Kernel {
        let block = self.blocks.pop().expect("the outermost block is open");
        assert!(self.blocks.is_empty(), "a block was left open");
        self.kernel.body = block.stmts;
        self.kernel
    }
}
