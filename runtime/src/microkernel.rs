//! The hand-written `f32` kernels that compiled code calls, and the choice among their instruction sets at run time.
//!
//! The Cranelift tier has 128-bit vectors only, so it emits addressing and control and leaves the inner tiles of
//! contractions to [`nnc_tile_matmul_f32`] and the reordering of operands to [`nnc_transpose_f32`]. Both have one
//! meaning and several implementations (AVX-512, AVX2 with FMA, NEON, portable) that give the same bits: each element
//! is a single chain of fused multiply-adds in `k` order, vectors run along `j`, and no implementation ever splits or
//! reorders a chain.
//!
//! Layout of the module: `tile` holds the register tile, generic over a vector type, `call` the split of a call into
//! tiles, `transpose` the blocked transposition, and one file an instruction set holds its vector type.

use std::sync::OnceLock;

mod call;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
mod tile;
mod transpose;
#[cfg(target_arch = "x86_64")]
mod x86;

/// Arguments of one [`nnc_tile_matmul_f32`] call. All strides count elements and may be negative or zero.
///
/// For `i` in `0..m` and `j` in `0..n` the call sets `acc[i * acc_row_stride + j]` to the chain
/// `s = fma(a[i * a_row_stride + p * a_k_stride], b[(p / T) * b_k_stride + b_taps[p % T] + j], s)` over `p` in `0..k` in
/// ascending order, starting from `0.0`, or from the value already there if `accumulate` is not 0. `T` is `n_taps`, which
/// divides `k`; rows of `b` that belong to one group may overlap, as the windows of a convolution do.
///
/// Any extents and strides are fast: the call is cut into register tiles, and where many of them read a strip of `b`
/// whose rows lie far apart, the strip is copied together first. Callers gain from preparing `b` only where its rows are
/// not of consecutive elements at all.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct TileArgs {
    /// Left operand, `m` rows of `k`.
    pub a: *const f32,
    /// Right operand, `k` rows of `n` consecutive elements.
    pub b: *const f32,
    /// Result, `m` rows of `n` consecutive elements; overlaps neither operand.
    pub acc: *mut f32,
    /// Elements from one row of `a` to the next.
    pub a_row_stride: i64,
    /// Elements from one `k` of `a` to the next.
    pub a_k_stride: i64,
    /// Elements from one group of rows of `b` to the next.
    pub b_k_stride: i64,
    /// Elements from one row of the result to the next.
    pub acc_row_stride: i64,
    /// Rows of the result.
    pub m: u32,
    /// Columns of the result.
    pub n: u32,
    /// Length of each chain.
    pub k: u64,
    /// Start from the value in `acc` if not 0, else from `0.0`.
    pub accumulate: u32,
    /// Where the rows of a group of `b` lie in it, in elements: `n_taps` of them, the one tap 0 for a matrix.
    pub b_taps: *const i64,
    /// Rows of a group, at least 1.
    pub n_taps: u64,
}

/// Type of [`nnc_tile_matmul_f32`] and of its implementations.
pub type TileMatmulF32 = unsafe extern "C" fn(args: *const TileArgs);

/// Type of [`nnc_transpose_f32`] and of its implementations.
pub type TransposeF32 =
    unsafe extern "C" fn(src: *const f32, dst: *mut f32, src_stride: i64, dst_stride: i64, rows: u64, cols: u64);

/// An instruction set that the kernels are written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// x86-64 with AVX-512F: 16 lanes, 32 registers.
    Avx512,
    /// x86-64 with AVX2 and FMA: 8 lanes, 16 registers.
    Avx2,
    /// aarch64: 4 lanes, 32 registers.
    Neon,
    /// Any machine: `f32::mul_add`, which is a library call where the target has no fused multiply-add.
    Portable,
}

impl Isa {
    /// All instruction sets, widest first.
    pub const ALL: [Isa; 4] = [Isa::Avx512, Isa::Avx2, Isa::Neon, Isa::Portable];

    /// Whether this machine can run the kernels of this instruction set.
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => is_x86_feature_detected!("avx512f"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            Isa::Portable => true,
            #[allow(unreachable_patterns)]
            _ => false,
        }
    }

    /// The widest instruction set this machine has.
    pub fn best() -> Isa {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| {
            Isa::ALL.into_iter().find(|isa| isa.is_available()).expect("the portable kernels run anywhere")
        })
    }

    /// Lower-case name, for reports.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Avx512 => "avx512",
            Isa::Avx2 => "avx2",
            Isa::Neon => "neon",
            Isa::Portable => "portable",
        }
    }
}

/// The kernels of one instruction set.
#[derive(Clone, Copy, Debug)]
pub struct Kernels {
    /// See [`nnc_tile_matmul_f32`].
    pub tile_matmul_f32: TileMatmulF32,
    /// See [`nnc_transpose_f32`].
    pub transpose_f32: TransposeF32,
}

impl Kernels {
    /// The kernels of `isa`, or `None` where this machine cannot run them.
    pub fn of(isa: Isa) -> Option<Kernels> {
        if !isa.is_available() {
            return None;
        }
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Some(x86::AVX512),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Some(x86::AVX2),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => Some(neon::NEON),
            Isa::Portable => Some(portable::PORTABLE),
            #[allow(unreachable_patterns)]
            _ => None,
        }
    }

    /// The kernels of [`Isa::best`].
    pub fn best() -> &'static Kernels {
        static BEST: OnceLock<Kernels> = OnceLock::new();
        BEST.get_or_init(|| Kernels::of(Isa::best()).expect("the best instruction set is available"))
    }
}

/// `acc = a · b` or `acc += a · b` on one tile, of any size, as [`TileArgs`] defines it.
///
/// Forwards to the widest implementation this machine has; the loader binds the symbol straight to that one.
///
/// # Safety
/// `args` points to a valid [`TileArgs`]; every element it describes lies in memory that is readable (`a`, `b`) or
/// readable and writable (`acc`), and `acc` overlaps neither operand.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nnc_tile_matmul_f32(args: *const TileArgs) {
    // SAFETY: the caller's promise is the callee's.
    unsafe { (Kernels::best().tile_matmul_f32)(args) }
}

/// Transposes a matrix of 32-bit elements: `dst[c * dst_stride + r] = src[r * src_stride + c]` for `r` in `0..rows` and
/// `c` in `0..cols`. Strides count elements.
///
/// # Safety
/// Every element read lies in readable memory, every element written in writable memory, and the two do not overlap.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nnc_transpose_f32(
    src: *const f32,
    dst: *mut f32,
    src_stride: i64,
    dst_stride: i64,
    rows: u64,
    cols: u64,
) {
    // SAFETY: the caller's promise is the callee's.
    unsafe { (Kernels::best().transpose_f32)(src, dst, src_stride, dst_stride, rows, cols) }
}

#[cfg(test)]
mod tests;
