//! Kernel IR: explicit loops over explicit vectors, shared by every target.
//!
//! A [`Kernel`] is what one symbol of machine code does. All cleverness (tiling, vectorizing, staging, epilogues) has
//! happened when a kernel exists; an emitter translates its statements one by one. Kernels print, verify, and run in an
//! interpreter of their own, which every emitter must match bit for bit.
//!
//! - Registers are assigned once ([`Stmt::Let`]) and typed: an element type [`Ty`] and a number of lanes. A register is
//!   visible in the statements that follow it in the same block and in nested blocks.
//! - Buffers are one-dimensional arrays of elements: the tensors bound at launch (*arguments*), and `local` or `shared`
//!   scratch. Multi-dimensional layouts have become [`Index`] arithmetic.
//! - Loops count from 0 by 1 to a constant extent.
//! - A local buffer whose indices are all constant after unrolling is a register tile: emitters keep it in registers.

mod builder;
pub mod interp;
mod print;
pub mod scalar;
mod unroll;
mod verify;

pub use builder::KernelBuilder;
use nnc_ir::DType;
use nnc_ir::ops::CompareDir;
use serde::{Deserialize, Serialize};
pub use unroll::unroll;
pub use verify::verify;

/// A register: the result of one [`Stmt::Let`] or the variable of one loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reg(pub u32);

/// A buffer of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BufferId(pub u32);

impl Reg {
    /// Position in [`Kernel::regs`].
    pub const fn idx(self) -> usize {
        self.0 as usize
    }
}

impl BufferId {
    /// Position in [`Kernel::buffers`].
    pub const fn idx(self) -> usize {
        self.0 as usize
    }
}

/// Element type of a register. Narrow types exist only in memory: loads widen `i8` and `i16` to [`Ty::I32`],
/// `u8` and `u16` to [`Ty::U32`], `f16` and `bf16` to [`Ty::F32`]; stores narrow (integers wrap, floats round to nearest even), and
/// [`Inst::Narrow`] does the same rounding in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Ty {
    /// A truth value; in memory one byte, 0 or 1.
    Bool,
    /// Signed 32-bit integer.
    I32,
    /// Unsigned 32-bit integer.
    U32,
    /// Signed 64-bit integer.
    I64,
    /// Unsigned 64-bit integer.
    U64,
    /// binary32.
    F32,
    /// binary64.
    F64,
}

impl Ty {
    /// The register type that holds elements of `dtype`.
    pub const fn of(dtype: DType) -> Self {
        match dtype {
            DType::Bool => Self::Bool,
            DType::U8 | DType::U16 | DType::U32 => Self::U32,
            DType::I8 | DType::I16 | DType::I32 => Self::I32,
            DType::I64 => Self::I64,
            DType::U64 => Self::U64,
            DType::F16 | DType::BF16 | DType::F32 => Self::F32,
            DType::F64 => Self::F64,
        }
    }

    /// The name in printed kernels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::I32 => "i32",
            Self::U32 => "u32",
            Self::I64 => "i64",
            Self::U64 => "u64",
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }

    /// Whether this is `f32` or `f64`.
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64)
    }

    /// Whether this is a signed integer.
    pub const fn is_signed_int(self) -> bool {
        matches!(self, Self::I32 | Self::I64)
    }

    /// Whether a lane has 64 bits.
    pub const fn is_wide(self) -> bool {
        matches!(self, Self::I64 | Self::U64 | Self::F64)
    }
}

/// Type of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RegType {
    /// Element type.
    pub ty: Ty,
    /// Number of lanes; 1 is a scalar.
    pub lanes: u16,
}

/// Where a buffer lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Space {
    /// A tensor bound at launch.
    Global,
    /// Scratch of one thread, undefined at the start of each iteration of the parallel loop (of each GPU thread).
    Local,
    /// Scratch shared by the threads of a GPU block, undefined at the start.
    Shared,
}

/// A one-dimensional array of elements.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Buffer {
    /// Name in printed kernels, unique in the kernel.
    pub name: String,
    /// Element type in memory.
    pub dtype: DType,
    /// Number of elements.
    pub len: usize,
    /// Where it lives.
    pub space: Space,
    /// Whether the kernel stores to it.
    pub written: bool,
    /// What its address is a multiple of, in bytes, where targets can make use of that.
    pub align: usize,
}

/// What addresses of whole tensors are multiples of, in bytes.
pub const TENSOR_ALIGN: usize = 64;

/// What addresses of scratch of a kernel are multiples of, in bytes.
pub const SCRATCH_ALIGN: usize = 16;

/// An element offset: `offset + Σ register * stride`. The registers are scalar [`Ty::I64`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Index {
    /// Constant part.
    pub offset: i64,
    /// Registers and their strides, each register once, no stride 0.
    pub terms: Vec<(Reg, i64)>,
}

impl Index {
    /// A constant offset.
    pub fn constant(offset: i64) -> Self {
        Self { offset, terms: Vec::new() }
    }

    /// `register * stride`.
    pub fn term(reg: Reg, stride: i64) -> Self {
        Self::default().plus(reg, stride)
    }

    /// `self + register * stride`.
    pub fn plus(mut self, reg: Reg, stride: i64) -> Self {
        match self.terms.iter_mut().find(|(term, _)| *term == reg) {
            Some((_, have)) => *have += stride,
            None => self.terms.push((reg, stride)),
        }
        self.terms.retain(|(_, stride)| *stride != 0);
        self
    }

    /// `self + offset`.
    pub fn plus_const(mut self, offset: i64) -> Self {
        self.offset += offset;
        self
    }

    /// `self + other * scale`.
    pub fn plus_scaled(self, other: &Index, scale: i64) -> Self {
        let sum = self.plus_const(other.offset * scale);
        other.terms.iter().fold(sum, |sum, &(reg, stride)| sum.plus(reg, stride * scale))
    }

    /// The offset, if no register takes part.
    pub fn as_const(&self) -> Option<i64> {
        self.terms.is_empty().then_some(self.offset)
    }
}

/// Operations on one register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum UnOp {
    /// Negation; floats flip the sign bit, integers wrap.
    Neg,
    /// Absolute value; floats clear the sign bit, integers wrap.
    Abs,
    /// Complement of integers, negation of `bool`.
    Not,
    /// Correctly rounded square root.
    Sqrt,
    /// Largest integer not above.
    Floor,
    /// Smallest integer not below.
    Ceil,
    /// Nearest integer, ties to even.
    RoundEven,
}

/// Operations on two registers of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BinOp {
    /// Sum; integers wrap.
    Add,
    /// Difference; integers wrap.
    Sub,
    /// Product; integers wrap.
    Mul,
    /// Quotient. Integers truncate; the divisor must not be 0, and `MIN / -1` gives `MIN`.
    Div,
    /// Remainder with the sign of the dividend; integer divisors must not be 0, and `MIN % -1` is 0; floats as `fmod`.
    Rem,
    /// `rhs` if `rhs > lhs` or `rhs` is NaN, else `lhs`.
    Max,
    /// `rhs` if `rhs < lhs` or `rhs` is NaN, else `lhs`.
    Min,
    /// Bitwise and.
    And,
    /// Bitwise or.
    Or,
    /// Bitwise exclusive or.
    Xor,
    /// Shift left; the amount must be below the width.
    Shl,
    /// Shift right with zeros; the amount must be below the width.
    ShrLogical,
    /// Shift right with the sign; the amount must be below the width.
    ShrArithmetic,
}

/// What a [`Stmt::Let`] computes. Operands have the lanes of the result unless stated otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Inst {
    /// The same value in every lane: the low bits hold the element (of the register's own [`Ty`]).
    Const(u64),
    /// Lane numbers 0, 1, 2, ... as integers.
    LaneIota,
    /// `bool`: whether the lane number is below `active`.
    LaneMask {
        /// Number of leading true lanes.
        active: u16,
    },
    /// A scalar repeated in every lane.
    Splat(Reg),
    /// One lane of a vector.
    Extract {
        /// The vector.
        vector: Reg,
        /// Which lane.
        lane: u16,
    },
    /// Unary arithmetic.
    Unary(UnOp, Reg),
    /// Binary arithmetic.
    Binary(BinOp, Reg, Reg),
    /// `a * b + c` with one rounding.
    Fma(Reg, Reg, Reg),
    /// Comparison, giving `bool`; false for NaN but for `Ne`.
    Compare(CompareDir, Reg, Reg),
    /// `on_true` where the `bool` is true, else `on_false`.
    Select(Reg, Reg, Reg),
    /// Conversion between register types: int to float rounds to nearest even, float to int truncates and saturates
    /// (NaN gives 0), integers wrap or extend by their own sign, `bool` is 0 or 1, and to `bool` is `x != 0`.
    Cast(Reg),
    /// The same bits as another register type of equal size.
    Bitcast(Reg),
    /// Rounds to the values of a narrow memory type ([`DType::F16`], [`DType::BF16`], integers of 8 and 16 bits)
    /// and widens again.
    Narrow(DType, Reg),
    /// Loads element `index + lane * lane_stride` for the first `active` lanes; the others are 0.
    Load {
        /// From where.
        buffer: BufferId,
        /// Element of lane 0.
        index: Index,
        /// Distance between lanes in elements; 0 repeats one element, 1 is a contiguous vector.
        lane_stride: i64,
        /// Number of lanes loaded.
        active: u16,
    },
    /// Combines the lanes in the canonical tree: lane `l` with `l + n/2`, and so on; gives a scalar.
    FoldLanes(BinOp, Reg),
}

/// A product of two tiles: `acc[i, j] = chain of fma over k of a[i, k] * b[k, j]`, in order of `k`, starting from 0 or
/// from what `acc` holds. Elements are `f32`. The columns of `b` and `acc` are contiguous.
///
/// The rows of `b` come in groups of one per *tap*: row `k` lies `(k / T) * b_k_stride + b_taps[k % T]` elements after
/// the first, where `T` is the number of taps, which divides `k`. So the windows of a convolution, which overlap, are
/// multiplied where they lie. A matrix has the one tap 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TileMatmul {
    /// Left tile.
    pub a: BufferId,
    /// Element (0, 0) of the left tile.
    pub a_index: Index,
    /// Distance between rows of the left tile.
    pub a_row_stride: i64,
    /// Distance between columns of the left tile.
    pub a_k_stride: i64,
    /// Right tile.
    pub b: BufferId,
    /// Element (0, 0) of the right tile.
    pub b_index: Index,
    /// Distance between groups of rows of the right tile.
    pub b_k_stride: i64,
    /// Where the rows of a group lie in it.
    pub b_taps: Vec<i64>,
    /// Result tile.
    pub acc: BufferId,
    /// Element (0, 0) of the result tile.
    pub acc_index: Index,
    /// Distance between rows of the result tile.
    pub acc_row_stride: i64,
    /// Rows.
    pub m: u32,
    /// Columns.
    pub n: u32,
    /// Length of the contraction.
    pub k: u64,
    /// Whether the chains start from what `acc` holds.
    pub accumulate: bool,
}

impl TileMatmul {
    /// Distance of row `k` of the right tile from its first element.
    pub fn b_row(&self, k: u64) -> i64 {
        let n_taps = self.b_taps.len() as u64;
        (k / n_taps) as i64 * self.b_k_stride + self.b_taps[(k % n_taps) as usize]
    }
}

/// A transposed copy: `dst[c * dst_stride + r] = src[r * src_stride + c]` for `r < rows`, `c < cols`. Elements are `f32`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TileTranspose {
    /// Source.
    pub src: BufferId,
    /// Element (0, 0) of the source.
    pub src_index: Index,
    /// Distance between rows of the source.
    pub src_stride: i64,
    /// Destination.
    pub dst: BufferId,
    /// Element (0, 0) of the destination.
    pub dst_index: Index,
    /// Distance between rows of the destination.
    pub dst_stride: i64,
    /// Rows of the source.
    pub rows: u32,
    /// Columns of the source.
    pub cols: u32,
}

/// How a loop is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LoopKind {
    /// One iteration after the other.
    Serial,
    /// Replicated at compile time; its variable is a constant in each copy.
    Unrolled,
    /// CPU: iterations are independent and may be split over threads. Only the outermost statement, at most once.
    Parallel,
    /// GPU: one iteration a block along an axis (0 = x).
    Grid(u8),
    /// GPU: one iteration a thread along an axis.
    Thread(u8),
}

/// A counted loop: `var` takes 0, 1, ... `extent - 1` as scalar [`Ty::I64`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Loop {
    /// The variable.
    pub var: Reg,
    /// Number of iterations.
    pub extent: u64,
    /// How it runs.
    pub kind: LoopKind,
    /// What it repeats.
    pub body: Vec<Stmt>,
}

/// A statement.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stmt {
    /// Defines a register.
    Let(Reg, Inst),
    /// Stores the first `active` lanes to elements `index + lane * lane_stride`.
    Store {
        /// Where to.
        buffer: BufferId,
        /// Element of lane 0.
        index: Index,
        /// Distance between lanes in elements; 1 is a contiguous vector.
        lane_stride: i64,
        /// Number of lanes stored.
        active: u16,
        /// What is stored.
        value: Reg,
    },
    /// A loop.
    For(Loop),
    /// Runs the block if the scalar `bool` is true.
    If(Reg, Vec<Stmt>),
    /// GPU: waits until every thread of the block arrives. Stands in block-uniform control flow only.
    Barrier,
    /// A tile product. CPU only.
    Matmul(TileMatmul),
    /// A transposed tile copy. CPU only.
    Transpose(TileTranspose),
}

/// A kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Kernel {
    /// Symbol name: letters, digits and `_`.
    pub name: String,
    /// Buffers: first the arguments ([`Space::Global`]) in launch order, then scratch.
    pub buffers: Vec<Buffer>,
    /// Types of the registers.
    pub regs: Vec<RegType>,
    /// What it does.
    pub body: Vec<Stmt>,
}

impl Kernel {
    /// An empty kernel.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), buffers: Vec::new(), regs: Vec::new(), body: Vec::new() }
    }

    /// The arguments, in launch order.
    pub fn args(&self) -> impl Iterator<Item = (BufferId, &Buffer)> {
        let buffers = self.buffers.iter().enumerate().map(|(idx, buffer)| (BufferId(idx as u32), buffer));
        buffers.take_while(|(_, buffer)| buffer.space == Space::Global)
    }

    /// Type of a register.
    pub fn reg_type(&self, reg: Reg) -> RegType {
        self.regs[reg.idx()]
    }

    /// A buffer's description.
    pub fn buffer(&self, buffer: BufferId) -> &Buffer {
        &self.buffers[buffer.idx()]
    }

    /// Adds a buffer.
    pub fn add_buffer(&mut self, buffer: Buffer) -> BufferId {
        self.buffers.push(buffer);
        BufferId(self.buffers.len() as u32 - 1)
    }

    /// Adds a register.
    pub fn add_reg(&mut self, ty: Ty, lanes: u16) -> Reg {
        self.regs.push(RegType { ty, lanes });
        Reg(self.regs.len() as u32 - 1)
    }

    /// Extent of the parallel loop, 1 if there is none.
    pub fn parallel_extent(&self) -> u64 {
        match self.body.as_slice() {
            [Stmt::For(Loop { kind: LoopKind::Parallel, extent, .. })] => *extent,
            _ => 1,
        }
    }

    /// Extents of the loops of one GPU kind along x, y, z, 1 where there is none.
    pub fn gpu_extents(&self, grid: bool) -> [u32; 3] {
        fn visit(body: &[Stmt], grid: bool, extents: &mut [u32; 3]) {
            for stmt in body {
                if let Stmt::For(inner) = stmt {
                    match inner.kind {
                        LoopKind::Grid(axis) if grid => extents[axis as usize] = inner.extent as u32,
                        LoopKind::Thread(axis) if !grid => extents[axis as usize] = inner.extent as u32,
                        _ => {}
                    }
                    visit(&inner.body, grid, extents);
                } else if let Stmt::If(_, body) = stmt {
                    visit(body, grid, extents);
                }
            }
        }
        let mut extents = [1; 3];
        visit(&self.body, grid, &mut extents);
        extents
    }
}
