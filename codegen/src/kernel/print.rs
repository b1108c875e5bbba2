//! Prints kernels, for people, golden tests and `--emit kernel`.
//!
//! ```text
//! kernel scale(x: f32[100], out: mut f32[100]) {
//!   parallel i0 in 6 {
//!     r1 = load x[i0*16] : f32x16
//!     r2 = const 2.0 : f32x16
//!     r3 = mul r1, r2 : f32x16
//!     store out[i0*16], r3
//!   }
//! }
//! ```

use std::fmt::{self, Display, Formatter, Write};

use super::{
    BinOp, BufferId, Index, Inst, Kernel, Loop, LoopKind, Reg, RegType, Space, Stmt, TileMatmul, TileTranspose, Ty,
    UnOp,
};

impl Display for RegType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.ty.name())?;
        if self.lanes > 1 { write!(f, "x{}", self.lanes) } else { Ok(()) }
    }
}

impl Display for LoopKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let axis = |axis: u8| char::from(b'x' + axis);
        match self {
            Self::Serial => f.write_str("for"),
            Self::Unrolled => f.write_str("unrolled"),
            Self::Parallel => f.write_str("parallel"),
            Self::Grid(dim) => write!(f, "grid.{}", axis(*dim)),
            Self::Thread(dim) => write!(f, "thread.{}", axis(*dim)),
        }
    }
}

impl UnOp {
    /// The name in printed kernels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Neg => "neg",
            Self::Abs => "abs",
            Self::Not => "not",
            Self::Sqrt => "sqrt",
            Self::Floor => "floor",
            Self::Ceil => "ceil",
            Self::RoundEven => "round_even",
        }
    }
}

impl BinOp {
    /// The name in printed kernels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Sub => "sub",
            Self::Mul => "mul",
            Self::Div => "div",
            Self::Rem => "rem",
            Self::Max => "max",
            Self::Min => "min",
            Self::And => "and",
            Self::Or => "or",
            Self::Xor => "xor",
            Self::Shl => "shl",
            Self::ShrLogical => "shr_logical",
            Self::ShrArithmetic => "shr_arithmetic",
        }
    }
}

/// Text of a constant's bits as a value of `ty`.
fn constant_text(ty: Ty, bits: u64) -> String {
    match ty {
        Ty::Bool => (bits != 0).to_string(),
        Ty::I32 => (bits as u32 as i32).to_string(),
        Ty::U32 => (bits as u32).to_string(),
        Ty::I64 => (bits as i64).to_string(),
        Ty::U64 => bits.to_string(),
        Ty::F32 => format!("{:?}", f32::from_bits(bits as u32)),
        Ty::F64 => format!("{:?}", f64::from_bits(bits)),
    }
}

/// Registers that are loop variables print as `i`, the others as `r`.
struct Printer<'a> {
    kernel: &'a Kernel,
    is_var: Vec<bool>,
}

impl Printer<'_> {
    fn reg(&self, reg: Reg) -> String {
        format!("{}{}", if self.is_var[reg.idx()] { 'i' } else { 'r' }, reg.0)
    }

    fn index(&self, index: &Index) -> String {
        let mut text = String::new();
        for &(reg, stride) in &index.terms {
            if !text.is_empty() {
                text.push_str(" + ");
            }
            text.push_str(&self.reg(reg));
            if stride != 1 {
                let _ = write!(text, "*{stride}");
            }
        }
        match (text.is_empty(), index.offset) {
            (true, offset) => offset.to_string(),
            (false, 0) => text,
            (false, offset) if offset < 0 => format!("{text} - {}", offset.unsigned_abs()),
            (false, offset) => format!("{text} + {offset}"),
        }
    }

    fn element(&self, buffer: BufferId, index: &Index) -> String {
        format!("{}[{}]", self.kernel.buffer(buffer).name, self.index(index))
    }

    fn inst(&self, reg: Reg, inst: &Inst) -> String {
        let ty = self.kernel.reg_type(reg);
        let text = match inst {
            Inst::Const(bits) => format!("const {}", constant_text(ty.ty, *bits)),
            Inst::LaneIota => "lane_iota".to_string(),
            Inst::LaneMask { active } => format!("lane_mask {active}"),
            Inst::Splat(scalar) => format!("splat {}", self.reg(*scalar)),
            Inst::Extract { vector, lane } => format!("extract {}, {lane}", self.reg(*vector)),
            Inst::Unary(op, operand) => format!("{} {}", op.name(), self.reg(*operand)),
            Inst::Binary(op, lhs, rhs) => format!("{} {}, {}", op.name(), self.reg(*lhs), self.reg(*rhs)),
            Inst::Fma(a, b, c) => format!("fma {}, {}, {}", self.reg(*a), self.reg(*b), self.reg(*c)),
            Inst::Compare(dir, lhs, rhs) => format!("compare.{} {}, {}", dir.name(), self.reg(*lhs), self.reg(*rhs)),
            Inst::Select(pred, on_true, on_false) => {
                format!("select {}, {}, {}", self.reg(*pred), self.reg(*on_true), self.reg(*on_false))
            }
            Inst::Cast(operand) => format!("cast {}", self.reg(*operand)),
            Inst::Bitcast(operand) => format!("bitcast {}", self.reg(*operand)),
            Inst::Narrow(dtype, operand) => format!("narrow.{dtype} {}", self.reg(*operand)),
            Inst::Load { buffer, index, lane_stride, active } => {
                format!("load {}{}", self.element(*buffer, index), lanes_text(ty.lanes, *lane_stride, *active))
            }
            Inst::FoldLanes(op, operand) => format!("fold_lanes.{} {}", op.name(), self.reg(*operand)),
        };
        format!("{} = {text} : {ty}", self.reg(reg))
    }

    fn block(&self, body: &[Stmt], depth: usize, out: &mut String) {
        let pad = "  ".repeat(depth);
        for stmt in body {
            out.push_str(&pad);
            match stmt {
                Stmt::Let(reg, inst) => out.push_str(&self.inst(*reg, inst)),
                Stmt::Store { buffer, index, lane_stride, active, value } => {
                    let lanes = self.kernel.reg_type(*value).lanes;
                    let place = self.element(*buffer, index);
                    let _ =
                        write!(out, "store {place}, {}{}", self.reg(*value), lanes_text(lanes, *lane_stride, *active));
                }
                Stmt::For(Loop { var, extent, kind, body }) => {
                    let _ = writeln!(out, "{kind} {} in {extent} {{", self.reg(*var));
                    self.block(body, depth + 1, out);
                    let _ = write!(out, "{pad}}}");
                }
                Stmt::If(cond, body) => {
                    let _ = writeln!(out, "if {} {{", self.reg(*cond));
                    self.block(body, depth + 1, out);
                    let _ = write!(out, "{pad}}}");
                }
                Stmt::Barrier => out.push_str("barrier"),
                Stmt::Matmul(tile) => {
                    let TileMatmul { a, b, acc, m, n, k, accumulate, .. } = tile;
                    let _ = write!(
                        out,
                        "matmul{} {} (row {}) {m}x{n} = {} (row {}, k {}) * {} (k {}) over {k}",
                        if *accumulate { ".accumulate" } else { "" },
                        self.element(*acc, &tile.acc_index),
                        tile.acc_row_stride,
                        self.element(*a, &tile.a_index),
                        tile.a_row_stride,
                        tile.a_k_stride,
                        self.element(*b, &tile.b_index),
                        tile.b_k_stride,
                    );
                    if tile.b_taps != [0] {
                        let _ = write!(out, " at {:?}", tile.b_taps);
                    }
                }
                Stmt::Transpose(TileTranspose {
                    src,
                    src_index,
                    src_stride,
                    dst,
                    dst_index,
                    dst_stride,
                    rows,
                    cols,
                }) => {
                    let _ = write!(
                        out,
                        "transpose {} (row {dst_stride}) = {} (row {src_stride}) {rows}x{cols}",
                        self.element(*dst, dst_index),
                        self.element(*src, src_index),
                    );
                }
            }
            out.push('\n');
        }
    }
}

/// What a vector access adds to its element: lane stride and active lanes, where they are not the plain case.
fn lanes_text(lanes: u16, lane_stride: i64, active: u16) -> String {
    let mut text = String::new();
    if lanes > 1 && lane_stride != 1 {
        let _ = write!(text, " stride {lane_stride}");
    }
    if active != lanes {
        let _ = write!(text, " first {active}");
    }
    text
}

impl Display for Kernel {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        fn mark_vars(body: &[Stmt], is_var: &mut [bool]) {
            for stmt in body {
                match stmt {
                    Stmt::For(inner) => {
                        is_var[inner.var.idx()] = true;
                        mark_vars(&inner.body, is_var);
                    }
                    Stmt::If(_, body) => mark_vars(body, is_var),
                    Stmt::Let(..) | Stmt::Store { .. } | Stmt::Barrier | Stmt::Matmul(_) | Stmt::Transpose(_) => {}
                }
            }
        }
        let mut is_var = vec![false; self.regs.len()];
        mark_vars(&self.body, &mut is_var);
        write!(f, "kernel {}(", self.name)?;
        for (idx, (_, buffer)) in self.args().enumerate() {
            let comma = if idx > 0 { ", " } else { "" };
            let access = if buffer.written { "mut " } else { "" };
            write!(f, "{comma}{}: {access}{}[{}]", buffer.name, buffer.dtype, buffer.len)?;
        }
        f.write_str(") {\n")?;
        for buffer in self.buffers.iter().filter(|buffer| buffer.space != Space::Global) {
            let space = if buffer.space == Space::Local { "local" } else { "shared" };
            writeln!(f, "  {space} {}: {}[{}]", buffer.name, buffer.dtype, buffer.len)?;
        }
        let mut text = String::new();
        Printer { kernel: self, is_var }.block(&self.body, 1, &mut text);
        f.write_str(&text)?;
        f.write_str("}\n")
    }
}
