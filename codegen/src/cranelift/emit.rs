//! Translates one kernel to Cranelift IR, statement by statement.
//!
//! A vector register of 32-bit lanes (or `bool`) becomes 128-bit pieces of four lanes; masks are pieces of `i32x4` with
//! all bits set or clear. Anything else (64-bit vectors, odd lane counts) becomes one scalar a lane, where `bool` is an
//! `i8` of 0 or 1. [`Emitter::pieces`] and [`Emitter::lanes`] move a register between the two forms.

use std::collections::HashMap;

use cranelift::codegen::ir::{FuncRef, Function, StackSlot};
use cranelift::codegen::isa::TargetIsa;
use cranelift::module::FuncId;
use cranelift::prelude::*;
use nnc_ir::DType;
use nnc_ir::ops::CompareDir;

use super::Imports;
use crate::kernel::{
    BinOp, BufferId, Index, Inst, Kernel, Loop, LoopKind, Reg, RegType, Space, Stmt, TileMatmul, TileTranspose, Ty,
    UnOp,
};

mod half;
mod masks;
mod tiles;

type Emitted<T> = Result<T, String>;

/// Fills `func` with the code of `kernel`, which has no unrolled loops.
pub(super) fn emit(kernel: &Kernel, func: &mut Function, imports: &Imports, isa: &dyn TargetIsa) -> Emitted<()> {
    let mut ctx = FunctionBuilderContext::new();
    let mut builder = FunctionBuilder::new(func, &mut ctx);
    let entry = builder.create_block();
    builder.append_block_params_for_function_params(entry);
    builder.switch_to_block(entry);
    let params = builder.block_params(entry).to_vec();
    let mut emitter = Emitter {
        kernel,
        builder,
        regs: vec![None; kernel.regs.len()],
        constants: vec![None; kernel.regs.len()],
        uniform: vec![None; kernel.regs.len()],
        buffers: Vec::new(),
        imports,
        refs: HashMap::new(),
        tile_args: None,
        taps: HashMap::new(),
        range: (params[1], params[2]),
    };
    emitter.bind_buffers(params[0]);
    emitter.write_taps(&kernel.body);
    emitter.block(&kernel.body)?;
    emitter.builder.ins().return_(&[]);
    emitter.builder.seal_all_blocks();
    emitter.builder.finalize(isa.frontend_config());
    Ok(())
}

/// How a register is held.
#[derive(Clone, Debug)]
enum Repr {
    /// 128-bit vectors of four lanes.
    Pieces(Vec<Value>),
    /// One scalar a lane.
    Lanes(Vec<Value>),
}

/// Where a buffer is.
enum Storage {
    /// Memory at an address.
    Address(Value),
    /// A register tile: one variable a piece or lane, by element.
    Variables(HashMap<i64, Variable>),
    /// A stack slot.
    Slot(StackSlot),
}

struct Emitter<'a> {
    kernel: &'a Kernel,
    builder: FunctionBuilder<'a>,
    regs: Vec<Option<Repr>>,
    /// Bits of registers that are constants.
    constants: Vec<Option<u64>>,
    /// The scalar that every lane of a register repeats.
    uniform: Vec<Option<Value>>,
    buffers: Vec<Storage>,
    imports: &'a Imports,
    refs: HashMap<u32, FuncRef>,
    tile_args: Option<StackSlot>,
    /// Tables of taps that tile products read.
    taps: HashMap<Vec<i64>, StackSlot>,
    range: (Value, Value),
}

fn lane_type(ty: Ty) -> Type {
    match ty {
        Ty::Bool => types::I8,
        Ty::I32 | Ty::U32 => types::I32,
        Ty::I64 | Ty::U64 => types::I64,
        Ty::F32 => types::F32,
        Ty::F64 => types::F64,
    }
}

fn piece_type(ty: Ty) -> Type {
    match ty {
        Ty::F32 => types::F32X4,
        _ => types::I32X4,
    }
}

/// Whether registers of this type are held in pieces.
fn in_pieces(reg: RegType) -> bool {
    reg.lanes > 1 && reg.lanes.is_multiple_of(4) && !reg.ty.is_wide()
}

fn int_cc(dir: CompareDir, signed: bool) -> IntCC {
    match (dir, signed) {
        (CompareDir::Eq, _) => IntCC::Equal,
        (CompareDir::Ne, _) => IntCC::NotEqual,
        (CompareDir::Lt, true) => IntCC::SignedLessThan,
        (CompareDir::Le, true) => IntCC::SignedLessThanOrEqual,
        (CompareDir::Gt, true) => IntCC::SignedGreaterThan,
        (CompareDir::Ge, true) => IntCC::SignedGreaterThanOrEqual,
        (CompareDir::Lt, false) => IntCC::UnsignedLessThan,
        (CompareDir::Le, false) => IntCC::UnsignedLessThanOrEqual,
        (CompareDir::Gt, false) => IntCC::UnsignedGreaterThan,
        (CompareDir::Ge, false) => IntCC::UnsignedGreaterThanOrEqual,
    }
}

fn float_cc(dir: CompareDir) -> FloatCC {
    match dir {
        CompareDir::Eq => FloatCC::Equal,
        CompareDir::Ne => FloatCC::NotEqual,
        CompareDir::Lt => FloatCC::LessThan,
        CompareDir::Le => FloatCC::LessThanOrEqual,
        CompareDir::Gt => FloatCC::GreaterThan,
        CompareDir::Ge => FloatCC::GreaterThanOrEqual,
    }
}

impl Emitter<'_> {
    // Buffers.

    fn bind_buffers(&mut self, table: Value) {
        let tiles = tiles::register_tiles(self.kernel);
        for (idx, buffer) in self.kernel.buffers.iter().enumerate() {
            let storage = match buffer.space {
                Space::Global => {
                    let flags = MemFlagsData::trusted().with_readonly().with_can_move();
                    let base = self.builder.ins().load(types::I64, flags, table, idx as i32 * 8);
                    Storage::Address(base)
                }
                _ if tiles[idx] => Storage::Variables(HashMap::new()),
                _ => {
                    let bytes = (buffer.len * buffer.dtype.size()) as u32;
                    let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, bytes, 6);
                    Storage::Slot(self.builder.create_sized_stack_slot(slot))
                }
            };
            self.buffers.push(storage);
        }
    }

    /// Address of an element, and a byte offset to add to it.
    fn address(&mut self, buffer: BufferId, index: &Index) -> Emitted<(Value, i32)> {
        let size = self.kernel.buffer(buffer).dtype.size() as i64;
        let base = match &self.buffers[buffer.idx()] {
            Storage::Address(base) => *base,
            Storage::Slot(slot) => {
                let slot = *slot;
                self.builder.ins().stack_addr(types::I64, slot, 0)
            }
            Storage::Variables(_) => return Err("the address of a register tile is taken".to_string()),
        };
        let mut address = base;
        for &(reg, stride) in &index.terms {
            let value = self.scalar(reg);
            let scaled = match stride * size {
                1 => value,
                bytes => self.builder.ins().imul_imm_s(value, bytes),
            };
            address = self.builder.ins().iadd(address, scaled);
        }
        let offset = index.offset * size;
        match i32::try_from(offset) {
            // Room is left for the offsets of further pieces.
            Ok(offset) if offset.abs() < i32::MAX / 2 => Ok((address, offset)),
            _ => Ok((self.builder.ins().iadd_imm_s(address, offset), 0)),
        }
    }

    /// Loads one element as its register type.
    fn load_lane(&mut self, dtype: DType, address: Value, offset: i32) -> Value {
        let flags = MemFlagsData::new().with_notrap();
        let ins = self.builder.ins();
        match dtype {
            DType::Bool => ins.load(types::I8, flags, address, offset),
            DType::U8 => ins.uload8(types::I32, flags, address, offset),
            DType::I8 => ins.sload8(types::I32, flags, address, offset),
            DType::I32 | DType::U32 => ins.load(types::I32, flags, address, offset),
            DType::U16 => ins.uload16(types::I32, flags, address, offset),
            DType::I16 => ins.sload16(types::I32, flags, address, offset),
            DType::I64 | DType::U64 => ins.load(types::I64, flags, address, offset),
            DType::F32 => ins.load(types::F32, flags, address, offset),
            DType::F64 => ins.load(types::F64, flags, address, offset),
            DType::BF16 => {
                let bits = ins.uload16(types::I32, flags, address, offset);
                self.bf16_to_f32(bits)
            }
            DType::F16 => {
                let bits = ins.uload16(types::I32, flags, address, offset);
                self.f16_to_f32(bits)
            }
        }
    }

    fn store_lane(&mut self, dtype: DType, value: Value, address: Value, offset: i32) {
        let flags = MemFlagsData::new().with_notrap();
        match dtype {
            DType::U8 | DType::I8 => {
                self.builder.ins().istore8(flags, value, address, offset);
            }
            DType::U16 | DType::I16 => {
                self.builder.ins().istore16(flags, value, address, offset);
            }
            DType::BF16 => {
                let bits = self.f32_to_bf16(value);
                self.builder.ins().istore16(flags, bits, address, offset);
            }
            DType::F16 => {
                let bits = self.f32_to_f16(value);
                self.builder.ins().istore16(flags, bits, address, offset);
            }
            DType::Bool | DType::I32 | DType::U32 | DType::I64 | DType::U64 | DType::F32 | DType::F64 => {
                self.builder.ins().store(flags, value, address, offset);
            }
        }
    }

    // Registers.

    fn reg_type(&self, reg: Reg) -> RegType {
        self.kernel.reg_type(reg)
    }

    fn repr(&self, reg: Reg) -> Repr {
        self.regs[reg.idx()].clone().expect("verified kernels define registers before they use them")
    }

    /// The value of a scalar register.
    fn scalar(&mut self, reg: Reg) -> Value {
        self.lanes(reg)[0]
    }

    /// The register as one scalar a lane.
    fn lanes(&mut self, reg: Reg) -> Vec<Value> {
        match self.repr(reg) {
            Repr::Lanes(values) => values,
            Repr::Pieces(pieces) => {
                let is_bool = self.reg_type(reg).ty == Ty::Bool;
                let mut values = Vec::with_capacity(pieces.len() * 4);
                for piece in pieces {
                    for lane in 0..4 {
                        let value = self.builder.ins().extractlane(piece, lane);
                        values.push(if is_bool {
                            let bit = self.builder.ins().ireduce(types::I8, value);
                            self.builder.ins().band_imm_u(bit, 1)
                        } else {
                            value
                        });
                    }
                }
                values
            }
        }
    }

    /// The register as 128-bit pieces.
    fn pieces(&mut self, reg: Reg) -> Vec<Value> {
        match self.repr(reg) {
            Repr::Pieces(pieces) => pieces,
            Repr::Lanes(values) => self.pack(&values, self.reg_type(reg).ty),
        }
    }

    /// Packs scalars into pieces; missing lanes of the last piece are 0.
    fn pack(&mut self, values: &[Value], ty: Ty) -> Vec<Value> {
        let zero = self.zero_piece(ty);
        let mut pieces = Vec::with_capacity(values.len() / 4);
        for chunk in values.chunks(4) {
            let mut piece = zero;
            for (lane, &value) in chunk.iter().enumerate() {
                let value = if ty == Ty::Bool {
                    let wide = self.builder.ins().uextend(types::I32, value);
                    self.builder.ins().ineg(wide)
                } else {
                    value
                };
                piece = self.builder.ins().insertlane(piece, value, lane as u8);
            }
            pieces.push(piece);
        }
        pieces
    }

    fn zero_piece(&mut self, ty: Ty) -> Value {
        if ty == Ty::F32 {
            let zero = self.builder.ins().f32const(0.0);
            self.builder.ins().splat(types::F32X4, zero)
        } else {
            let zero = self.builder.ins().iconst(types::I32, 0);
            self.builder.ins().splat(types::I32X4, zero)
        }
    }

    fn const_lane(&mut self, ty: Ty, bits: u64) -> Value {
        match ty {
            Ty::F32 => self.builder.ins().f32const(Ieee32::with_bits(bits as u32)),
            Ty::F64 => self.builder.ins().f64const(Ieee64::with_bits(bits)),
            Ty::Bool => self.builder.ins().iconst(types::I8, i64::from(bits != 0)),
            Ty::I32 | Ty::U32 => self.builder.ins().iconst(types::I32, i64::from(bits as u32)),
            Ty::I64 | Ty::U64 => self.builder.ins().iconst(types::I64, bits as i64),
        }
    }

    fn define(&mut self, reg: Reg, repr: Repr) {
        self.regs[reg.idx()] = Some(repr);
    }

    // Statements.

    fn block(&mut self, body: &[Stmt]) -> Emitted<()> {
        for stmt in body {
            match stmt {
                Stmt::Let(reg, inst) => self.inst(*reg, inst)?,
                Stmt::Store { buffer, index, lane_stride, active, value } => {
                    self.store(*buffer, index, *lane_stride, *active, *value)?;
                }
                Stmt::For(inner) => self.for_loop(inner)?,
                Stmt::If(cond, body) => {
                    let cond = self.scalar(*cond);
                    let then = self.builder.create_block();
                    let after = self.builder.create_block();
                    self.builder.ins().brif(cond, then, &[], after, &[]);
                    self.builder.switch_to_block(then);
                    self.block(body)?;
                    self.builder.ins().jump(after, &[]);
                    self.builder.switch_to_block(after);
                }
                Stmt::Barrier => return Err("barriers exist on GPUs only".to_string()),
                Stmt::Matmul(tile) => self.matmul(tile)?,
                Stmt::Transpose(tile) => self.transpose(tile)?,
            }
        }
        Ok(())
    }

    fn for_loop(&mut self, inner: &Loop) -> Emitted<()> {
        let (begin, end) = match inner.kind {
            LoopKind::Parallel => self.range,
            LoopKind::Serial => {
                let begin = self.builder.ins().iconst(types::I64, 0);
                (begin, self.builder.ins().iconst(types::I64, inner.extent as i64))
            }
            LoopKind::Unrolled => return Err("unrolled loops are expanded before emission".to_string()),
            LoopKind::Grid(_) | LoopKind::Thread(_) => return Err("GPU loops on a CPU target".to_string()),
        };
        let header = self.builder.create_block();
        let body = self.builder.create_block();
        let after = self.builder.create_block();
        let var = self.builder.append_block_param(header, types::I64);
        self.builder.ins().jump(header, &[begin.into()]);
        self.builder.switch_to_block(header);
        let more = self.builder.ins().icmp(IntCC::SignedLessThan, var, end);
        self.builder.ins().brif(more, body, &[], after, &[]);
        self.builder.switch_to_block(body);
        self.define(inner.var, Repr::Lanes(vec![var]));
        self.block(&inner.body)?;
        let next = self.builder.ins().iadd_imm_s(var, 1);
        self.builder.ins().jump(header, &[next.into()]);
        self.builder.switch_to_block(after);
        Ok(())
    }

    fn store(&mut self, buffer: BufferId, index: &Index, lane_stride: i64, active: u16, value: Reg) -> Emitted<()> {
        let dtype = self.kernel.buffer(buffer).dtype;
        if matches!(self.buffers[buffer.idx()], Storage::Variables(_)) {
            return self.store_variables(buffer, index, value);
        }
        let (address, offset) = self.address(buffer, index)?;
        let stride = lane_stride as i32 * dtype.size() as i32;
        let wide = matches!(dtype, DType::F32 | DType::I32 | DType::U32);
        let mut first_lane = 0;
        if dtype == DType::Bool
            && lane_stride == 1
            && let Repr::Pieces(pieces) = self.repr(value)
            && (pieces.len() * 4, active as usize % masks::LANES) == (active.into(), 0)
        {
            self.store_masks(&pieces, address, offset);
            return Ok(());
        }
        if let (Repr::Pieces(pieces), true) = (self.repr(value), lane_stride == 1 && wide) {
            let flags = MemFlagsData::new().with_notrap();
            for piece in pieces.iter().take(active as usize / 4) {
                self.builder.ins().store(flags, *piece, address, offset + first_lane * 4);
                first_lane += 4;
            }
        }
        if first_lane < i32::from(active) {
            let lanes = self.lanes(value);
            for lane in first_lane..i32::from(active) {
                self.store_lane(dtype, lanes[lane as usize], address, offset + lane * stride);
            }
        }
        Ok(())
    }

    fn store_variables(&mut self, buffer: BufferId, index: &Index, value: Reg) -> Emitted<()> {
        let base = index.as_const().expect("register tiles have constant indices");
        let dtype = self.kernel.buffer(buffer).dtype;
        let (values, ty, step) = match self.repr(value) {
            Repr::Pieces(pieces) => (pieces, piece_type(Ty::of(dtype)), 4),
            Repr::Lanes(lanes) => (lanes, lane_type(Ty::of(dtype)), 1),
        };
        for (idx, value) in values.into_iter().enumerate() {
            let variable = self.variable(buffer, base + idx as i64 * step, ty);
            self.builder.def_var(variable, value);
        }
        Ok(())
    }

    fn variable(&mut self, buffer: BufferId, element: i64, ty: Type) -> Variable {
        let Storage::Variables(variables) = &mut self.buffers[buffer.idx()] else {
            unreachable!("the caller found a register tile");
        };
        *variables.entry(element).or_insert_with(|| self.builder.declare_var(ty))
    }

    fn call(&mut self, (id, signature): (FuncId, Signature), args: &[Value]) -> Vec<Value> {
        let func = *self.refs.entry(id.as_u32()).or_insert_with(|| {
            let name = cranelift::codegen::ir::UserExternalName { namespace: 0, index: id.as_u32() };
            let name = ExternalName::user(self.builder.func.declare_imported_user_function(name));
            let signature = self.builder.import_signature(signature);
            self.builder.import_function(ExtFuncData { name, signature, colocated: false, patchable: false })
        });
        let call = self.builder.ins().call(func, args);
        self.builder.inst_results(call).to_vec()
    }

    /// Writes the taps of all tile products to the stack, once for the kernel.
    fn write_taps(&mut self, body: &[Stmt]) {
        for stmt in body {
            match stmt {
                Stmt::For(Loop { body, .. }) | Stmt::If(_, body) => self.write_taps(body),
                Stmt::Matmul(tile) if !self.taps.contains_key(&tile.b_taps) => {
                    let bytes = 8 * tile.b_taps.len() as u32;
                    let data = StackSlotData::new(StackSlotKind::ExplicitSlot, bytes, 3);
                    let slot = self.builder.create_sized_stack_slot(data);
                    for (idx, &tap) in tile.b_taps.iter().enumerate() {
                        let value = self.builder.ins().iconst(types::I64, tap);
                        self.builder.ins().stack_store(types::I64, value, slot, 8 * idx as i32);
                    }
                    self.taps.insert(tile.b_taps.clone(), slot);
                }
                _ => {}
            }
        }
    }

    fn matmul(&mut self, tile: &TileMatmul) -> Emitted<()> {
        let slot = match self.tile_args {
            Some(slot) => slot,
            None => {
                let data = StackSlotData::new(StackSlotKind::ExplicitSlot, 96, 3);
                *self.tile_args.insert(self.builder.create_sized_stack_slot(data))
            }
        };
        // The layout of `nnc_runtime::microkernel::TileArgs`.
        let pointers = [(tile.a, &tile.a_index, 0), (tile.b, &tile.b_index, 8), (tile.acc, &tile.acc_index, 16)];
        for (buffer, index, field) in pointers {
            let (address, offset) = self.address(buffer, index)?;
            let pointer = self.builder.ins().iadd_imm_s(address, i64::from(offset));
            self.builder.ins().stack_store(types::I64, pointer, slot, field);
        }
        let words = [tile.a_row_stride, tile.a_k_stride, tile.b_k_stride, tile.acc_row_stride];
        for (word, field) in words.into_iter().zip([24, 32, 40, 48]) {
            let value = self.builder.ins().iconst(types::I64, word);
            self.builder.ins().stack_store(types::I64, value, slot, field);
        }
        let extents = self.builder.ins().iconst(types::I64, i64::from(tile.m) | i64::from(tile.n) << 32);
        self.builder.ins().stack_store(types::I64, extents, slot, 56);
        let k = self.builder.ins().iconst(types::I64, tile.k as i64);
        self.builder.ins().stack_store(types::I64, k, slot, 64);
        let accumulate = self.builder.ins().iconst(types::I64, i64::from(tile.accumulate));
        self.builder.ins().stack_store(types::I64, accumulate, slot, 72);
        let taps = self.builder.ins().stack_addr(types::I64, self.taps[&tile.b_taps], 0);
        self.builder.ins().stack_store(types::I64, taps, slot, 80);
        let n_taps = self.builder.ins().iconst(types::I64, tile.b_taps.len() as i64);
        self.builder.ins().stack_store(types::I64, n_taps, slot, 88);
        let args = self.builder.ins().stack_addr(types::I64, slot, 0);
        self.call(self.imports.tile_matmul.clone(), &[args]);
        Ok(())
    }

    fn transpose(&mut self, tile: &TileTranspose) -> Emitted<()> {
        let mut args = Vec::with_capacity(6);
        for (buffer, index) in [(tile.src, &tile.src_index), (tile.dst, &tile.dst_index)] {
            let (address, offset) = self.address(buffer, index)?;
            args.push(self.builder.ins().iadd_imm_s(address, i64::from(offset)));
        }
        for word in [tile.src_stride, tile.dst_stride, i64::from(tile.rows), i64::from(tile.cols)] {
            args.push(self.builder.ins().iconst(types::I64, word));
        }
        self.call(self.imports.transpose.clone(), &args);
        Ok(())
    }

    // Instructions.

    fn inst(&mut self, reg: Reg, inst: &Inst) -> Emitted<()> {
        let RegType { ty, lanes } = self.reg_type(reg);
        let n_lanes = lanes as usize;
        let vector = in_pieces(RegType { ty, lanes });
        let repr = match inst {
            Inst::Const(bits) => {
                self.constants[reg.idx()] = Some(*bits);
                let lane = self.const_lane(ty, *bits);
                self.repeat(reg, lane)
            }
            Inst::Splat(scalar) => {
                self.constants[reg.idx()] = self.constants[scalar.idx()];
                let lane = self.scalar(*scalar);
                self.repeat(reg, lane)
            }
            Inst::LaneIota => {
                let values: Vec<Value> = (0..n_lanes).map(|lane| self.const_lane(ty, lane as u64)).collect();
                self.collect(reg, values)
            }
            Inst::LaneMask { active } => {
                let values: Vec<Value> =
                    (0..n_lanes).map(|lane| self.const_lane(Ty::Bool, u64::from(lane < *active as usize))).collect();
                self.collect(reg, values)
            }
            Inst::Extract { vector, lane } => {
                let value = match self.repr(*vector) {
                    Repr::Pieces(pieces) if ty != Ty::Bool => {
                        self.builder.ins().extractlane(pieces[*lane as usize / 4], (*lane % 4) as u8)
                    }
                    _ => self.lanes(*vector)[*lane as usize],
                };
                Repr::Lanes(vec![value])
            }
            Inst::Load { buffer, index, lane_stride, active } => {
                self.load(reg, *buffer, index, *lane_stride, *active)?
            }
            Inst::FoldLanes(op, operand) => {
                let folded = self.fold_lanes(*op, *operand);
                Repr::Lanes(vec![self.pinned(folded)])
            }
            Inst::Unary(op, operand) if vector => {
                let pieces = self.pieces(*operand);
                Repr::Pieces(pieces.into_iter().map(|piece| self.unary(*op, ty, piece, true)).collect())
            }
            Inst::Unary(op, operand) => {
                let lanes = self.lanes(*operand);
                Repr::Lanes(lanes.into_iter().map(|lane| self.unary(*op, ty, lane, false)).collect())
            }
            Inst::Binary(op, lhs, rhs) => self.binary_reg(*op, ty, vector, *lhs, *rhs),
            Inst::Fma(a, b, c) => {
                let (a, b, c) = if vector {
                    (self.pieces(*a), self.pieces(*b), self.pieces(*c))
                } else {
                    (self.lanes(*a), self.lanes(*b), self.lanes(*c))
                };
                let values = (0..a.len()).map(|idx| self.builder.ins().fma(a[idx], b[idx], c[idx])).collect();
                if vector { Repr::Pieces(values) } else { Repr::Lanes(values) }
            }
            Inst::Compare(dir, lhs, rhs) => {
                let operand = self.reg_type(*lhs);
                if in_pieces(operand) && operand.ty != Ty::Bool {
                    let (lhs, rhs) = (self.pieces(*lhs), self.pieces(*rhs));
                    let masks = lhs.into_iter().zip(rhs).map(|(lhs, rhs)| {
                        if operand.ty == Ty::F32 {
                            self.builder.ins().fcmp(float_cc(*dir), lhs, rhs)
                        } else {
                            self.builder.ins().icmp(int_cc(*dir, operand.ty == Ty::I32), lhs, rhs)
                        }
                    });
                    Repr::Pieces(masks.collect())
                } else {
                    let (lhs, rhs) = (self.lanes(*lhs), self.lanes(*rhs));
                    let bits = lhs.into_iter().zip(rhs).map(|(lhs, rhs)| {
                        if operand.ty.is_float() {
                            self.builder.ins().fcmp(float_cc(*dir), lhs, rhs)
                        } else {
                            self.builder.ins().icmp(int_cc(*dir, operand.ty.is_signed_int()), lhs, rhs)
                        }
                    });
                    Repr::Lanes(bits.collect())
                }
            }
            Inst::Select(pred, on_true, on_false) if vector => {
                let (pred, on_true, on_false) = (self.pieces(*pred), self.pieces(*on_true), self.pieces(*on_false));
                let values = (0..pred.len()).map(|idx| self.select_piece(ty, pred[idx], on_true[idx], on_false[idx]));
                Repr::Pieces(values.collect())
            }
            Inst::Select(pred, on_true, on_false) => {
                let (pred, on_true, on_false) = (self.lanes(*pred), self.lanes(*on_true), self.lanes(*on_false));
                let values =
                    (0..pred.len()).map(|idx| self.builder.ins().select(pred[idx], on_true[idx], on_false[idx]));
                Repr::Lanes(values.collect())
            }
            Inst::Cast(operand) => self.cast(ty, vector, *operand),
            Inst::Bitcast(operand) => {
                if vector {
                    let pieces = self.pieces(*operand);
                    Repr::Pieces(pieces.into_iter().map(|piece| self.bitcast(piece_type(ty), piece)).collect())
                } else {
                    let lanes = self.lanes(*operand);
                    Repr::Lanes(lanes.into_iter().map(|lane| self.bitcast(lane_type(ty), lane)).collect())
                }
            }
            Inst::Narrow(dtype, operand) => {
                let lanes = self.lanes(*operand);
                let values = lanes.into_iter().map(|lane| self.narrow(*dtype, lane)).collect();
                self.collect(reg, values)
            }
        };
        self.define(reg, repr);
        Ok(())
    }

    /// A register with one scalar in every lane.
    fn repeat(&mut self, reg: Reg, lane: Value) -> Repr {
        let RegType { ty, lanes } = self.reg_type(reg);
        self.uniform[reg.idx()] = Some(lane);
        if !in_pieces(RegType { ty, lanes }) {
            return Repr::Lanes(vec![lane; lanes as usize]);
        }
        let lane = if ty == Ty::Bool {
            let wide = self.builder.ins().uextend(types::I32, lane);
            self.builder.ins().ineg(wide)
        } else {
            lane
        };
        let piece = self.builder.ins().splat(piece_type(ty), lane);
        Repr::Pieces(vec![piece; lanes as usize / 4])
    }

    /// A register from one scalar a lane, in the form its type is held in.
    fn collect(&mut self, reg: Reg, values: Vec<Value>) -> Repr {
        let reg_type = self.reg_type(reg);
        if in_pieces(reg_type) { Repr::Pieces(self.pack(&values, reg_type.ty)) } else { Repr::Lanes(values) }
    }

    fn load(&mut self, reg: Reg, buffer: BufferId, index: &Index, lane_stride: i64, active: u16) -> Emitted<Repr> {
        let reg_type = self.reg_type(reg);
        let dtype = self.kernel.buffer(buffer).dtype;
        if matches!(self.buffers[buffer.idx()], Storage::Variables(_)) {
            let base = index.as_const().expect("register tiles have constant indices");
            return Ok(if in_pieces(reg_type) {
                let count = i64::from(reg_type.lanes) / 4;
                let variables: Vec<_> =
                    (0..count).map(|idx| self.variable(buffer, base + idx * 4, piece_type(reg_type.ty))).collect();
                Repr::Pieces(variables.into_iter().map(|variable| self.builder.use_var(variable)).collect())
            } else {
                let count = i64::from(reg_type.lanes);
                let variables: Vec<_> =
                    (0..count).map(|idx| self.variable(buffer, base + idx, lane_type(reg_type.ty))).collect();
                Repr::Lanes(variables.into_iter().map(|variable| self.builder.use_var(variable)).collect())
            });
        }
        let (address, offset) = self.address(buffer, index)?;
        if lane_stride == 0 && active == reg_type.lanes {
            let lane = self.load_lane(dtype, address, offset);
            return Ok(self.repeat(reg, lane));
        }
        let is_whole = lane_stride == 1 && active == reg_type.lanes && (active as usize).is_multiple_of(masks::LANES);
        if dtype == DType::Bool && is_whole {
            return Ok(self.load_masks(address, offset, active.into()));
        }
        let size = dtype.size() as i32;
        let contiguous = lane_stride == 1 && matches!(dtype, DType::F32 | DType::I32 | DType::U32 | DType::BF16);
        if in_pieces(reg_type) && contiguous {
            let flags = MemFlagsData::new().with_notrap();
            let mut pieces = Vec::with_capacity(reg_type.lanes as usize / 4);
            for first in (0..reg_type.lanes).step_by(4) {
                let piece = if first + 4 <= active {
                    let at = offset + i32::from(first) * size;
                    if dtype == DType::BF16 {
                        let bits = self.builder.ins().uload16x4(flags, address, at);
                        let amount = self.builder.ins().iconst(types::I32, 16);
                        let wide = self.builder.ins().ishl(bits, amount);
                        self.bitcast(types::F32X4, wide)
                    } else {
                        self.builder.ins().load(piece_type(reg_type.ty), flags, address, at)
                    }
                } else {
                    let lanes: Vec<Value> = (first..active.max(first))
                        .map(|lane| self.load_lane(dtype, address, offset + i32::from(lane) * size))
                        .collect();
                    match self.pack(&lanes, reg_type.ty).first() {
                        Some(&piece) => piece,
                        None => self.zero_piece(reg_type.ty),
                    }
                };
                pieces.push(piece);
            }
            return Ok(Repr::Pieces(pieces));
        }
        let values = (0..i32::from(reg_type.lanes)).map(|lane| {
            if lane < i32::from(active) {
                self.load_lane(dtype, address, offset + lane * lane_stride as i32 * size)
            } else {
                self.const_lane(reg_type.ty, 0)
            }
        });
        let values = values.collect();
        Ok(self.collect(reg, values))
    }

    /// The same value, computed here and not again.
    ///
    /// Cranelift places pure instructions where they are used, and moves out of a loop only what depends on nothing that is
    /// defined as deep as the loop is: what is made of the sums that one loop leaves behind would be computed in every
    /// iteration of the next. It does not see through memory that is read as another type.
    fn pinned(&mut self, value: Value) -> Value {
        let ty = self.builder.func.dfg.value_type(value);
        let other = match ty {
            types::F32 => types::I32,
            types::F64 => types::I64,
            types::I32 => types::F32,
            types::I64 => types::F64,
            _ => return value,
        };
        let bytes = ty.bytes();
        let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, bytes, bytes.trailing_zeros() as u8);
        let slot = self.builder.create_sized_stack_slot(slot);
        self.builder.ins().stack_store(types::I64, value, slot, 0);
        let read = self.builder.ins().stack_load(types::I64, other, slot, 0);
        self.bitcast(ty, read)
    }

    fn fold_lanes(&mut self, op: BinOp, operand: Reg) -> Value {
        let ty = self.reg_type(operand).ty;
        let mut values = match self.repr(operand) {
            Repr::Pieces(mut pieces) => {
                while pieces.len() > 1 && pieces.len().is_multiple_of(2) {
                    let upper = pieces.split_off(pieces.len() / 2);
                    pieces = pieces
                        .iter()
                        .zip(upper)
                        .map(|(&lhs, rhs)| self.binary_piece(op, ty, lhs, rhs, false))
                        .collect();
                }
                let mut lanes = Vec::with_capacity(pieces.len() * 4);
                for piece in pieces {
                    for lane in 0..4 {
                        let value = self.builder.ins().extractlane(piece, lane);
                        lanes.push(if ty == Ty::Bool {
                            let bit = self.builder.ins().ireduce(types::I8, value);
                            self.builder.ins().band_imm_u(bit, 1)
                        } else {
                            value
                        });
                    }
                }
                lanes
            }
            Repr::Lanes(lanes) => lanes,
        };
        while values.len() > 1 {
            let upper = values.split_off(values.len() / 2);
            values = values.iter().zip(upper).map(|(&lhs, rhs)| self.binary_lane(op, ty, lhs, rhs, false)).collect();
        }
        values[0]
    }

    fn unary(&mut self, op: UnOp, ty: Ty, x: Value, is_piece: bool) -> Value {
        let ins = self.builder.ins();
        match op {
            UnOp::Neg if ty.is_float() => ins.fneg(x),
            UnOp::Neg => ins.ineg(x),
            UnOp::Abs if ty.is_float() => ins.fabs(x),
            UnOp::Abs if !ty.is_signed_int() => x,
            UnOp::Abs => ins.iabs(x),
            UnOp::Not if ty == Ty::Bool && !is_piece => ins.bxor_imm_u(x, 1),
            UnOp::Not => ins.bnot(x),
            UnOp::Sqrt => ins.sqrt(x),
            UnOp::Floor => ins.floor(x),
            UnOp::Ceil => ins.ceil(x),
            UnOp::RoundEven => ins.nearest(x),
        }
    }

    /// Whether a register is a constant other than NaN, so that NaN rules cost nothing.
    fn never_nan(&self, reg: Reg) -> bool {
        match (self.constants[reg.idx()], self.reg_type(reg).ty) {
            (Some(bits), Ty::F32) => !f32::from_bits(bits as u32).is_nan(),
            (Some(bits), Ty::F64) => !f64::from_bits(bits).is_nan(),
            _ => false,
        }
    }

    fn binary_reg(&mut self, op: BinOp, ty: Ty, vector: bool, lhs: Reg, rhs: Reg) -> Repr {
        let never_nan = self.never_nan(rhs);
        if !vector {
            let (lhs, rhs) = (self.lanes(lhs), self.lanes(rhs));
            let values = lhs.into_iter().zip(rhs).map(|(lhs, rhs)| self.binary_lane(op, ty, lhs, rhs, never_nan));
            return Repr::Lanes(values.collect());
        }
        let is_shift = matches!(op, BinOp::Shl | BinOp::ShrLogical | BinOp::ShrArithmetic);
        let scalarize = is_shift || (matches!(op, BinOp::Div | BinOp::Rem) && (ty != Ty::F32 || op == BinOp::Rem));
        if is_shift && let Some(amount) = self.uniform[rhs.idx()] {
            // Vectors shift by one scalar amount.
            let pieces = self.pieces(lhs);
            let shifted = pieces.into_iter().map(|piece| {
                let ins = self.builder.ins();
                match op {
                    BinOp::Shl => ins.ishl(piece, amount),
                    BinOp::ShrLogical => ins.ushr(piece, amount),
                    _ => ins.sshr(piece, amount),
                }
            });
            return Repr::Pieces(shifted.collect());
        }
        if scalarize {
            let (lhs, rhs) = (self.lanes(lhs), self.lanes(rhs));
            let values: Vec<Value> =
                lhs.into_iter().zip(rhs).map(|(lhs, rhs)| self.binary_lane(op, ty, lhs, rhs, never_nan)).collect();
            return Repr::Pieces(self.pack(&values, ty));
        }
        let (lhs, rhs) = (self.pieces(lhs), self.pieces(rhs));
        let values = lhs.into_iter().zip(rhs).map(|(lhs, rhs)| self.binary_piece(op, ty, lhs, rhs, never_nan));
        Repr::Pieces(values.collect())
    }

    /// `rhs` where it is beyond `lhs` (or NaN, unless that is known not to happen), else `lhs`.
    fn extremum(&mut self, op: BinOp, lhs: Value, rhs: Value, never_nan: bool) -> Value {
        // Written so that without the NaN check it is one machine instruction.
        let beyond = match op {
            BinOp::Max => self.builder.ins().fcmp(FloatCC::LessThan, lhs, rhs),
            _ => self.builder.ins().fcmp(FloatCC::LessThan, rhs, lhs),
        };
        let ty = self.builder.func.dfg.value_type(lhs);
        if ty.is_vector() {
            let mask = self.bitcast(ty, beyond);
            let extremum = self.builder.ins().bitselect(mask, rhs, lhs);
            if never_nan {
                return extremum;
            }
            let is_nan = self.builder.ins().fcmp(FloatCC::Unordered, rhs, rhs);
            let is_nan = self.bitcast(ty, is_nan);
            return self.builder.ins().bitselect(is_nan, rhs, extremum);
        }
        let take = if never_nan {
            beyond
        } else {
            let is_nan = self.builder.ins().fcmp(FloatCC::Unordered, rhs, rhs);
            self.builder.ins().bor(beyond, is_nan)
        };
        self.builder.ins().select(take, rhs, lhs)
    }

    fn binary_piece(&mut self, op: BinOp, ty: Ty, lhs: Value, rhs: Value, never_nan: bool) -> Value {
        if ty == Ty::F32 {
            return match op {
                BinOp::Add => self.builder.ins().fadd(lhs, rhs),
                BinOp::Sub => self.builder.ins().fsub(lhs, rhs),
                BinOp::Mul => self.builder.ins().fmul(lhs, rhs),
                BinOp::Div => self.builder.ins().fdiv(lhs, rhs),
                _ => self.extremum(op, lhs, rhs, never_nan),
            };
        }
        let ins = self.builder.ins();
        match op {
            BinOp::Add => ins.iadd(lhs, rhs),
            BinOp::Sub => ins.isub(lhs, rhs),
            BinOp::Mul => ins.imul(lhs, rhs),
            BinOp::Max if ty == Ty::I32 => ins.smax(lhs, rhs),
            BinOp::Min if ty == Ty::I32 => ins.smin(lhs, rhs),
            BinOp::Max => ins.umax(lhs, rhs),
            BinOp::Min => ins.umin(lhs, rhs),
            BinOp::And => ins.band(lhs, rhs),
            BinOp::Or => ins.bor(lhs, rhs),
            BinOp::Xor => ins.bxor(lhs, rhs),
            BinOp::Div | BinOp::Rem | BinOp::Shl | BinOp::ShrLogical | BinOp::ShrArithmetic => {
                unreachable!("{} of vectors is done lane by lane", op.name())
            }
        }
    }

    fn binary_lane(&mut self, op: BinOp, ty: Ty, lhs: Value, rhs: Value, never_nan: bool) -> Value {
        if ty.is_float() {
            return match op {
                BinOp::Add => self.builder.ins().fadd(lhs, rhs),
                BinOp::Sub => self.builder.ins().fsub(lhs, rhs),
                BinOp::Mul => self.builder.ins().fmul(lhs, rhs),
                BinOp::Div => self.builder.ins().fdiv(lhs, rhs),
                BinOp::Rem => {
                    let import = if ty == Ty::F32 { &self.imports.fmodf } else { &self.imports.fmod };
                    self.call(import.clone(), &[lhs, rhs])[0]
                }
                _ => self.extremum(op, lhs, rhs, never_nan),
            };
        }
        let signed = ty.is_signed_int();
        match op {
            BinOp::Div if signed => self.signed_div(ty, lhs, rhs, true),
            BinOp::Rem if signed => self.signed_div(ty, lhs, rhs, false),
            _ => {
                let ins = self.builder.ins();
                match op {
                    BinOp::Add => ins.iadd(lhs, rhs),
                    BinOp::Sub => ins.isub(lhs, rhs),
                    BinOp::Mul => ins.imul(lhs, rhs),
                    BinOp::Div => ins.udiv(lhs, rhs),
                    BinOp::Rem => ins.urem(lhs, rhs),
                    BinOp::Max if signed => ins.smax(lhs, rhs),
                    BinOp::Min if signed => ins.smin(lhs, rhs),
                    BinOp::Max => ins.umax(lhs, rhs),
                    BinOp::Min => ins.umin(lhs, rhs),
                    BinOp::And => ins.band(lhs, rhs),
                    BinOp::Or => ins.bor(lhs, rhs),
                    BinOp::Xor => ins.bxor(lhs, rhs),
                    BinOp::Shl => ins.ishl(lhs, rhs),
                    BinOp::ShrLogical => ins.ushr(lhs, rhs),
                    BinOp::ShrArithmetic => ins.sshr(lhs, rhs),
                }
            }
        }
    }

    /// Quotient or remainder; the smallest integer by -1 wraps instead of trapping.
    fn signed_div(&mut self, ty: Ty, lhs: Value, rhs: Value, quotient: bool) -> Value {
        let minus_one = self.builder.ins().icmp_imm_s(IntCC::Equal, rhs, -1);
        let one = self.const_lane(ty, 1);
        let divisor = self.builder.ins().select(minus_one, one, rhs);
        if quotient {
            let negated = self.builder.ins().ineg(lhs);
            let divided = self.builder.ins().sdiv(lhs, divisor);
            self.builder.ins().select(minus_one, negated, divided)
        } else {
            // Anything modulo 1 is 0, as it is modulo -1.
            self.builder.ins().srem(lhs, divisor)
        }
    }

    fn select_piece(&mut self, ty: Ty, mask: Value, on_true: Value, on_false: Value) -> Value {
        let mask = self.bitcast(piece_type(ty), mask);
        self.builder.ins().bitselect(mask, on_true, on_false)
    }

    fn bitcast(&mut self, ty: Type, value: Value) -> Value {
        if self.builder.func.dfg.value_type(value) == ty {
            return value;
        }
        let flags = MemFlagsData::new().with_endianness(cranelift::codegen::ir::Endianness::Little);
        self.builder.ins().bitcast(ty, flags, value)
    }

    fn cast(&mut self, to: Ty, vector: bool, operand: Reg) -> Repr {
        let from = self.reg_type(operand).ty;
        if vector && in_pieces(self.reg_type(operand)) {
            let converted = |emitter: &mut Self, piece: Value| -> Option<Value> {
                let ins = emitter.builder.ins();
                Some(match (from, to) {
                    (Ty::I32, Ty::F32) => ins.fcvt_from_sint(types::F32X4, piece),
                    (Ty::F32, Ty::I32) => ins.fcvt_to_sint_sat(types::I32X4, piece),
                    (Ty::I32, Ty::U32) | (Ty::U32, Ty::I32) => piece,
                    (Ty::Bool, Ty::I32 | Ty::U32) => {
                        let one = emitter.builder.ins().iconst(types::I32, 1);
                        let ones = emitter.builder.ins().splat(types::I32X4, one);
                        emitter.builder.ins().band(piece, ones)
                    }
                    (Ty::Bool, Ty::F32) => {
                        let one = emitter.builder.ins().f32const(1.0);
                        let ones = emitter.builder.ins().splat(types::F32X4, one);
                        let zeros = emitter.zero_piece(Ty::F32);
                        emitter.select_piece(Ty::F32, piece, ones, zeros)
                    }
                    (Ty::F32, Ty::Bool) => {
                        let zeros = emitter.zero_piece(Ty::F32);
                        emitter.builder.ins().fcmp(FloatCC::NotEqual, piece, zeros)
                    }
                    (Ty::I32 | Ty::U32, Ty::Bool) => {
                        let zeros = emitter.zero_piece(Ty::I32);
                        emitter.builder.ins().icmp(IntCC::NotEqual, piece, zeros)
                    }
                    _ => return None,
                })
            };
            let pieces = self.pieces(operand);
            let results: Option<Vec<Value>> = pieces.into_iter().map(|piece| converted(self, piece)).collect();
            if let Some(results) = results {
                return Repr::Pieces(results);
            }
        }
        let lanes = self.lanes(operand);
        let values: Vec<Value> = lanes.into_iter().map(|lane| self.cast_lane(from, to, lane)).collect();
        if vector { Repr::Pieces(self.pack(&values, to)) } else { Repr::Lanes(values) }
    }

    fn cast_lane(&mut self, from: Ty, to: Ty, x: Value) -> Value {
        let ins = self.builder.ins();
        match (from, to) {
            (Ty::Bool, Ty::I32 | Ty::U32 | Ty::I64 | Ty::U64) => ins.uextend(lane_type(to), x),
            (Ty::Bool, Ty::F32 | Ty::F64) => {
                let wide = ins.uextend(types::I32, x);
                self.builder.ins().fcvt_from_sint(lane_type(to), wide)
            }
            (Ty::F32, Ty::Bool) => {
                let zero = ins.f32const(0.0);
                self.builder.ins().fcmp(FloatCC::NotEqual, x, zero)
            }
            (Ty::F64, Ty::Bool) => {
                let zero = ins.f64const(0.0);
                self.builder.ins().fcmp(FloatCC::NotEqual, x, zero)
            }
            (_, Ty::Bool) => ins.icmp_imm_s(IntCC::NotEqual, x, 0),
            (Ty::I32, Ty::I64 | Ty::U64) => ins.sextend(types::I64, x),
            (Ty::U32, Ty::I64 | Ty::U64) => ins.uextend(types::I64, x),
            (Ty::I64 | Ty::U64, Ty::I32 | Ty::U32) => ins.ireduce(types::I32, x),
            (Ty::I32 | Ty::I64, Ty::F32 | Ty::F64) => ins.fcvt_from_sint(lane_type(to), x),
            (Ty::U32, Ty::F32 | Ty::F64) => {
                let wide = ins.uextend(types::I64, x);
                self.builder.ins().fcvt_from_sint(lane_type(to), wide)
            }
            (Ty::F32 | Ty::F64, Ty::I32 | Ty::I64) => ins.fcvt_to_sint_sat(lane_type(to), x),
            (Ty::U64, Ty::F32 | Ty::F64) => ins.fcvt_from_uint(lane_type(to), x),
            (Ty::F32 | Ty::F64, Ty::U32 | Ty::U64) => ins.fcvt_to_uint_sat(lane_type(to), x),
            (Ty::F32, Ty::F64) => ins.fpromote(types::F64, x),
            (Ty::F64, Ty::F32) => ins.fdemote(types::F32, x),
            _ => x,
        }
    }
}
