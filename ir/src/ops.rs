//! The op table: the only list of ops.
//!
//! Names follow StableHLO where it has the op. Each entry gives the doc line, the Rust name, the attributes, the
//! mnemonic, the operands, the traits and how exact an implementation must be. Behavior is four functions over
//! [`Op`], each a `match` without a catch-all arm: [`infer`] here, `eval` in [`crate::interp`], `vjp` in the passes
//! and `lower` in code generation.

use serde::{Deserialize, Serialize};

use crate::dim::Dim;
use crate::graph::Graph;
use crate::literal::Constant;
use crate::types::{DType, Shape, TensorType};

mod contract;
mod control;
mod convolution;
mod dynamic;
mod elementwise;
mod index;
mod leaf;
mod movement;
mod order;
mod reduce;
mod structure;
mod window;

pub use convolution::{ConvolutionAttrs, WindowDim};
pub use window::ReduceWindowAttrs;

/// How exact an implementation of an op must be, relative to the interpreter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tolerance {
    /// Bit for bit.
    Exact,
    /// Correctly rounded, or within one rounding of the interpreter's double-precision result.
    Rounding,
    /// A transcendental: within a few units in the last place (each polynomial states its bound).
    Transcendental,
    /// A sum of many terms: within the error bound of the canonical order for the number of terms.
    Accumulation,
}

/// What passes may assume of an op.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trait {
    /// Each result element depends on the operand elements at the same index only; all shapes are equal.
    Elementwise,
    /// Operands may be swapped.
    Commutative,
    /// Moves elements without computing; each result element is one operand element (or a padding value).
    Movement,
    /// The result element's source is an affine function of its index, so that the op is a view.
    View,
    /// Folds elements along dimensions.
    Reduction,
    /// Sums products over contracted dimensions.
    Contraction,
    /// Has no operands.
    Leaf,
    /// Takes any number of operands.
    Variadic,
    /// Owns nested graphs.
    HasRegions,
}

/// The static facts of an op's table entry.
#[derive(Clone, Copy, Debug)]
pub struct OpInfo {
    /// Mnemonic of the text format.
    pub mnemonic: &'static str,
    /// Operand names; for a variadic op the name of the repeated operand.
    pub operands: &'static [&'static str],
    /// Traits.
    pub traits: &'static [Trait],
    /// Required exactness.
    pub tolerance: Tolerance,
    /// The entry's doc text.
    pub doc: &'static str,
}

macro_rules! op_table {
    (@plain $name:ident) => { Some(Op::$name) };
    (@plain $name:ident ($attr:ty)) => { None };
    ($(
        $(#[doc = $doc:literal])*
        $name:ident $(($attr:ty))? => $mnemonic:literal ($($operand:ident),*) [$($trait:ident),*] $tolerance:ident;
    )*) => {
        /// An operation with its attributes.
        #[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Op {
            $( $(#[doc = $doc])* $name $(($attr))?, )*
        }

        impl Op {
            /// The op's table entry.
            pub fn info(&self) -> &'static OpInfo {
                match self {
                    $( Op::$name { .. } => &OpInfo {
                        mnemonic: $mnemonic,
                        operands: &[$(stringify!($operand)),*],
                        traits: &[$(Trait::$trait),*],
                        tolerance: Tolerance::$tolerance,
                        doc: concat!($($doc, "\n"),*),
                    }, )*
                }
            }
        }

        impl Op {
            /// The op called `mnemonic`, if it is one without attributes.
            pub(crate) fn plain(mnemonic: &str) -> Option<Self> {
                match mnemonic {
                    $( $mnemonic => op_table!(@plain $name $(($attr))?), )*
                    _ => None,
                }
            }
        }

        /// Every table entry in order.
        pub const TABLE: &[OpInfo] = &[
            $( OpInfo {
                mnemonic: $mnemonic,
                operands: &[$(stringify!($operand)),*],
                traits: &[$(Trait::$trait),*],
                tolerance: Tolerance::$tolerance,
                doc: concat!($($doc, "\n"),*),
            }, )*
        ];
    };
}

op_table! {
    // Leaves.

    /// The function's (or region's) parameter with this position.
    Param(u32) => "param" () [Leaf] Exact;
    /// A literal, or a weight by name.
    Constant(Constant) => "constant" () [Leaf] Exact;
    /// Counts 0, 1, 2, ... (as `convert` of `i64` gives them) along one dimension and repeats along the others.
    Iota(IotaAttrs) => "iota" () [Leaf] Exact;
    /// Random bits from Philox4x32-10 (Salmon et al., SC'11). `state` is `u32[4]`: two key words and the two high
    /// counter words; element `i` of the `u32` result is word `i % 4` of the block with low counter words `i / 4`.
    RngBits(Shape) => "rng_bits" (state) [] Exact;

    // Elementwise, one operand.

    /// `-x`; integers wrap.
    Negate => "negate" (operand) [Elementwise] Exact;
    /// `|x|`; integers wrap.
    Abs => "abs" (operand) [Elementwise] Exact;
    /// -1, 0 or 1; the sign of zero and NaN are kept.
    Sign => "sign" (operand) [Elementwise] Exact;
    /// `e^x`.
    Exponential => "exponential" (operand) [Elementwise] Transcendental;
    /// `e^x - 1`, accurate near 0.
    ExponentialMinusOne => "exponential_minus_one" (operand) [Elementwise] Transcendental;
    /// Natural logarithm.
    Log => "log" (operand) [Elementwise] Transcendental;
    /// `ln(1 + x)`, accurate near 0.
    LogPlusOne => "log_plus_one" (operand) [Elementwise] Transcendental;
    /// Square root, correctly rounded.
    Sqrt => "sqrt" (operand) [Elementwise] Rounding;
    /// `1 / sqrt(x)`: the division of 1 by the correctly rounded root.
    Rsqrt => "rsqrt" (operand) [Elementwise] Rounding;
    /// Hyperbolic tangent.
    Tanh => "tanh" (operand) [Elementwise] Transcendental;
    /// `1 / (1 + e^-x)`.
    Logistic => "logistic" (operand) [Elementwise] Transcendental;
    /// Error function.
    Erf => "erf" (operand) [Elementwise] Transcendental;
    /// Sine of radians.
    Sine => "sine" (operand) [Elementwise] Transcendental;
    /// Cosine of radians.
    Cosine => "cosine" (operand) [Elementwise] Transcendental;
    /// Tangent of radians.
    Tan => "tan" (operand) [Elementwise] Transcendental;
    /// Largest integer not above `x`.
    Floor => "floor" (operand) [Elementwise] Exact;
    /// Smallest integer not below `x`.
    Ceil => "ceil" (operand) [Elementwise] Exact;
    /// Nearest integer, ties to even.
    RoundNearestEven => "round_nearest_even" (operand) [Elementwise] Exact;
    /// Whether a float is neither infinite nor NaN; the result is `bool`.
    IsFinite => "is_finite" (operand) [Elementwise] Exact;
    /// Bitwise complement of integers, negation of `bool`.
    Not => "not" (operand) [Elementwise] Exact;
    /// The same values in another element type: floats round to nearest even, floats to integers truncate and
    /// saturate (NaN gives 0), integers wrap, `bool` is `x != 0`.
    Convert(DType) => "convert" (operand) [Elementwise] Exact;
    /// The same bits as another element type of equal size.
    BitcastConvert(DType) => "bitcast_convert" (operand) [Elementwise] Exact;

    // Elementwise, several operands.

    /// `lhs + rhs`; integers wrap.
    Add => "add" (lhs, rhs) [Elementwise, Commutative] Rounding;
    /// `lhs - rhs`; integers wrap.
    Subtract => "subtract" (lhs, rhs) [Elementwise] Rounding;
    /// `lhs * rhs`; integers wrap.
    Multiply => "multiply" (lhs, rhs) [Elementwise, Commutative] Rounding;
    /// `lhs / rhs`; integers truncate toward zero, and division by zero gives -1 (all bits set).
    Divide => "divide" (lhs, rhs) [Elementwise] Rounding;
    /// Remainder with the sign of `lhs` (C's `fmod`); integers by zero give `lhs`.
    Remainder => "remainder" (lhs, rhs) [Elementwise] Exact;
    /// `rhs` if `rhs > lhs` or `rhs` is NaN, else `lhs`: NaN propagates, and of two zeros the left one is kept.
    Maximum => "maximum" (lhs, rhs) [Elementwise] Exact;
    /// `rhs` if `rhs < lhs` or `rhs` is NaN, else `lhs`: NaN propagates, and of two zeros the left one is kept.
    Minimum => "minimum" (lhs, rhs) [Elementwise] Exact;
    /// `lhs ^ rhs` as C's `pow`; integers wrap, and a negative exponent gives 0 except for bases 1 and -1.
    Power => "power" (lhs, rhs) [Elementwise] Transcendental;
    /// Angle of the point (`rhs`, `lhs`), in (-pi, pi].
    Atan2 => "atan2" (lhs, rhs) [Elementwise] Transcendental;
    /// Bitwise (`bool`: logical) conjunction.
    And => "and" (lhs, rhs) [Elementwise, Commutative] Exact;
    /// Bitwise (`bool`: logical) disjunction.
    Or => "or" (lhs, rhs) [Elementwise, Commutative] Exact;
    /// Bitwise (`bool`: logical) exclusive or.
    Xor => "xor" (lhs, rhs) [Elementwise, Commutative] Exact;
    /// Shifts bits left; a shift by the width or more (or below 0) gives 0.
    ShiftLeft => "shift_left" (lhs, rhs) [Elementwise] Exact;
    /// Shifts bits right, filling with zeros; a shift by the width or more (or below 0) gives 0.
    ShiftRightLogical => "shift_right_logical" (lhs, rhs) [Elementwise] Exact;
    /// Shifts bits right, filling with the top bit (of unsigned types too); a shift by the width or more (or below 0)
    /// gives that bit everywhere.
    ShiftRightArithmetic => "shift_right_arithmetic" (lhs, rhs) [Elementwise] Exact;
    /// Compares two values of one type; the result is `bool`. Any comparison with NaN but `ne` is false.
    Compare(CompareDir) => "compare" (lhs, rhs) [Elementwise] Exact;
    /// `on_true` where `pred` (`bool`), else `on_false`.
    Select => "select" (pred, on_true, on_false) [Elementwise] Exact;
    /// `minimum(maximum(operand, min), max)`.
    Clamp => "clamp" (min, operand, max) [Elementwise] Exact;

    // Movement.

    /// The same elements in row-major order under another shape.
    Reshape(Shape) => "reshape" (operand) [Movement] Exact;
    /// Result dimension `i` is operand dimension `permutation[i]`.
    Transpose(Vec<usize>) => "transpose" (operand) [Movement, View] Exact;
    /// Operand dimension `i` becomes result dimension `dims[i]` (stretched if its extent is 1); the other result
    /// dimensions repeat. `dims` increases.
    BroadcastInDim(BroadcastAttrs) => "broadcast_in_dim" (operand) [Movement, View] Exact;
    /// Elements `start, start + stride, ... < limit` of each dimension.
    Slice(SliceAttrs) => "slice" (operand) [Movement, View] Exact;
    /// Puts `value` (a scalar) around and between the elements; negative amounts crop.
    Pad(PadAttrs) => "pad" (operand, value) [Movement] Exact;
    /// Joins the operands along a dimension.
    Concatenate(usize) => "concatenate" (inputs) [Movement, Variadic] Exact;
    /// Reverses the order of elements along dimensions.
    Reverse(Vec<usize>) => "reverse" (operand) [Movement, View] Exact;
    /// The slice of given sizes at a run-time start: one `i32` or `i64` scalar a dimension, clamped so that the slice
    /// lies inside.
    DynamicSlice(Shape) => "dynamic_slice" (operand, starts) [Movement, Variadic] Exact;
    /// `operand` with the slice at a run-time start replaced by `update`. Starts are as those of `dynamic_slice`.
    DynamicUpdateSlice => "dynamic_update_slice" (operand, update, starts) [Movement, Variadic] Exact;

    // Indexing.

    /// Slices of `operand` at the index vectors in `indices` (StableHLO's gather; starts are clamped into range).
    Gather(GatherAttrs) => "gather" (operand, indices) [Movement] Exact;
    /// `operand` with `updates` combined in at the index vectors in `indices` (StableHLO's scatter; updates whose
    /// window is not wholly inside are dropped; collisions are combined in row-major order of `updates`).
    Scatter(ScatterAttrs) => "scatter" (operand, indices, updates) [] Accumulation;

    // Reductions.

    /// Folds the elements along dimensions, which vanish.
    Reduce(ReduceAttrs) => "reduce" (operand) [Reduction] Accumulation;
    /// Running fold along a dimension: element `i` of the result folds elements 0 to `i` (with `reverse`, the last
    /// down to `i`) as one chain from the identity. Half precision is folded in `f32`; each result is rounded once.
    Cumulative(CumulativeAttrs) => "cumulative" (operand) [] Accumulation;
    /// Sorts the first input along a dimension and permutes the others alike. The order is stable in both
    /// directions, the two zeros are equal, and a NaN is the largest value.
    Sort(SortAttrs) => "sort" (inputs) [Variadic] Exact;
    /// Folds the elements of each window as one chain from the identity, in row-major order. What lies in the
    /// padding (negative padding crops) does not take part. Half precision is folded in `f32`. `argmin` and `argmax`
    /// give the `i64` row-major index, in the whole operand, of the element that `min` or `max` ends with: the first
    /// of equals, the last of several NaNs, and -1 for a window without elements.
    ReduceWindow(ReduceWindowAttrs) => "reduce_window" (operand) [] Accumulation;
    /// Zeros of the operand's shape, to which each element of `source` is added where `reduce_window` of the same
    /// attributes and kind `argmin` (for `min`) or `argmax` (for `max`) points. Elements that meet are added from 0 in
    /// row-major order of `source`.
    SelectAndScatter(ReduceWindowAttrs) => "select_and_scatter" (operand, source) [] Accumulation;

    // Contractions.

    /// Sum of products over the contracted dimensions. Result dimensions: batch, free of `lhs`, free of `rhs`.
    /// Each element is one chain of fused multiply-adds from 0 in row-major order of the contracted index
    /// (half-precision operands accumulate in `f32`).
    DotGeneral(DotAttrs) => "dot_general" (lhs, rhs) [Contraction] Accumulation;
    /// Correlates an image `[batch, in, space...]` with a kernel `[out, in / groups, space...]`, in one to three spatial
    /// dimensions: `[batch, out, space...]`. Each element is one chain of fused multiply-adds from 0 in row-major order
    /// of (input channel of the group, tap of the kernel). A tap on padding multiplies 0; one on a hole of the dilated
    /// image (`lhs_dilation`) is no link of the chain. Negative padding crops. Half-precision operands accumulate in
    /// `f32`.
    Convolution(ConvolutionAttrs) => "convolution" (lhs, rhs) [Contraction] Accumulation;

    // Structure.

    /// A region compiled as one kernel; made by the `fuse` pass.
    Fusion(FusionKind) => "fusion" (inputs) [Variadic, HasRegions] Accumulation;
    /// Runs a region `length` times. The operands are the initial carries, the tensors that are scanned (each step
    /// sees the next slice of their leading dimension), then the invariants, which every step sees whole; the region's
    /// parameters are the same without that dimension. It gives the next carries and the outputs of the step. The
    /// results are the last carries and the outputs stacked along a new leading dimension.
    Scan(ScanAttrs) => "scan" (inputs) [Variadic, HasRegions] Accumulation;
    /// Runs the first region if the scalar `pred` is true, else the second. Both take the operands behind `pred` and give
    /// values of the same types.
    Cond => "cond" (inputs) [Variadic, HasRegions] Accumulation;
    /// Replaces the operands by what the second region makes of them as long as the first gives true of them.
    While => "while" (inputs) [Variadic, HasRegions] Accumulation;
    /// The operand, unchanged; no pass moves or merges anything across it.
    OptimizationBarrier => "optimization_barrier" (operand) [] Exact;
    /// The operand, unchanged, through which no gradient flows. It opts out of gradient coverage.
    StopGradient => "stop_gradient" (operand) [Elementwise] Exact;
}

impl Op {
    /// Mnemonic of the text format.
    pub fn mnemonic(&self) -> &'static str {
        self.info().mnemonic
    }

    /// Whether the op has `wanted`.
    pub fn has(&self, wanted: Trait) -> bool {
        self.info().traits.contains(&wanted)
    }
}

/// Attributes of `iota`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IotaAttrs {
    /// Result type; not `bool`.
    pub ty: TensorType,
    /// Dimension that counts.
    pub dim: usize,
}

/// Direction of `compare`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum CompareDir {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl CompareDir {
    /// Every direction.
    pub const ALL: [Self; 6] = [Self::Eq, Self::Ne, Self::Lt, Self::Le, Self::Gt, Self::Ge];

    /// The name in the text format.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eq => "eq",
            Self::Ne => "ne",
            Self::Lt => "lt",
            Self::Le => "le",
            Self::Gt => "gt",
            Self::Ge => "ge",
        }
    }
}

/// Attributes of `broadcast_in_dim`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BroadcastAttrs {
    /// Result shape.
    pub shape: Shape,
    /// For each operand dimension, its result dimension.
    pub dims: Vec<usize>,
}

/// Attributes of `slice`, one entry a dimension.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SliceAttrs {
    /// First element.
    pub start: Vec<crate::Dim>,
    /// One past the last candidate.
    pub limit: Vec<crate::Dim>,
    /// Step, at least 1.
    pub stride: Vec<usize>,
}

/// Attributes of `pad`, one entry a dimension.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PadAttrs {
    /// Elements before the first; negative crops.
    pub low: Vec<i64>,
    /// Elements after the last; negative crops.
    pub high: Vec<i64>,
    /// Elements between neighbors.
    pub interior: Vec<usize>,
}

/// Attributes of `gather`, with StableHLO's names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GatherAttrs {
    /// Result dimensions that index into the slice.
    pub offset_dims: Vec<usize>,
    /// Operand dimensions of slice size 1 that the result drops.
    pub collapsed_slice_dims: Vec<usize>,
    /// Operand dimensions paired with a dimension of `indices`.
    pub operand_batching_dims: Vec<usize>,
    /// The dimensions of `indices` paired with them.
    pub start_indices_batching_dims: Vec<usize>,
    /// For each component of an index vector, the operand dimension it addresses.
    pub start_index_map: Vec<usize>,
    /// Dimension of `indices` that holds the index vectors; its rank means scalars without such a dimension.
    pub index_vector_dim: usize,
    /// Extent of the slice in each operand dimension.
    pub slice_sizes: Vec<usize>,
}

/// Attributes of `scatter`, with StableHLO's names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ScatterAttrs {
    /// Dimensions of `updates` that index into the window.
    pub update_window_dims: Vec<usize>,
    /// Operand dimensions of window size 1 that `updates` drops.
    pub inserted_window_dims: Vec<usize>,
    /// Operand dimensions paired with a dimension of `indices`.
    pub input_batching_dims: Vec<usize>,
    /// The dimensions of `indices` paired with them.
    pub scatter_indices_batching_dims: Vec<usize>,
    /// For each component of an index vector, the operand dimension it addresses.
    pub scatter_dims_to_operand_dims: Vec<usize>,
    /// Dimension of `indices` that holds the index vectors; its rank means scalars without such a dimension.
    pub index_vector_dim: usize,
    /// How an update meets the element in place.
    pub combiner: Combiner,
}

/// How `scatter` combines an update with the element in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Combiner {
    /// The update replaces the element; the last one wins.
    Assign,
    /// Sum.
    Add,
    /// Product.
    Multiply,
    /// Smaller, as `minimum(element, update)`.
    Minimum,
    /// Larger, as `maximum(element, update)`.
    Maximum,
}

impl Combiner {
    /// Every combiner.
    pub const ALL: [Self; 5] = [Self::Assign, Self::Add, Self::Multiply, Self::Minimum, Self::Maximum];

    /// The name in the text format.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Assign => "assign",
            Self::Add => "add",
            Self::Multiply => "multiply",
            Self::Minimum => "minimum",
            Self::Maximum => "maximum",
        }
    }
}

/// What `reduce` computes.
///
/// The canonical order of every fold but arg-min and arg-max, whatever the layout: the reduced elements are numbered
/// `r = 0, 1, ...` in row-major order of the reduced dimensions; lane `l` of 16 starts from the identity and folds
/// `r = l, l + 16, ...` in order; the lanes are combined as a tree, `l` with `l + 8`, then `+ 4`, `+ 2`, `+ 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReduceKind {
    /// Sum; of nothing, 0.
    Sum,
    /// Product; of nothing, 1.
    Prod,
    /// Smallest, as `minimum`; of nothing, the largest value (+inf).
    Min,
    /// Largest, as `maximum`; of nothing, the smallest value (-inf).
    Max,
    /// Disjunction of `bool`.
    Any,
    /// Conjunction of `bool`.
    All,
    /// Row-major `i64` index of the first smallest element (a NaN counts as smallest); of nothing, an error.
    ArgMin,
    /// Row-major `i64` index of the first largest element (a NaN counts as largest); of nothing, an error.
    ArgMax,
}

impl ReduceKind {
    /// Every kind.
    pub const ALL: [Self; 8] =
        [Self::Sum, Self::Prod, Self::Min, Self::Max, Self::Any, Self::All, Self::ArgMin, Self::ArgMax];

    /// The name in the text format.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Prod => "prod",
            Self::Min => "min",
            Self::Max => "max",
            Self::Any => "any",
            Self::All => "all",
            Self::ArgMin => "argmin",
            Self::ArgMax => "argmax",
        }
    }
}

/// Attributes of `reduce`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReduceAttrs {
    /// What is computed.
    pub kind: ReduceKind,
    /// Dimensions folded, increasing.
    pub dims: Vec<usize>,
}

/// Attributes of `cumulative`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CumulativeAttrs {
    /// What is computed.
    pub kind: ReduceKind,
    /// Dimension along which it runs.
    pub dim: usize,
    /// Whether it runs from the end.
    pub reverse: bool,
}

/// Attributes of `sort`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SortAttrs {
    /// Dimension sorted.
    pub dim: usize,
    /// Whether the largest comes first.
    pub descending: bool,
}

/// Attributes of `dot_general`, with StableHLO's names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DotAttrs {
    /// Batch dimensions of `lhs`, paired with those of `rhs`.
    pub lhs_batch: Vec<usize>,
    /// Batch dimensions of `rhs`.
    pub rhs_batch: Vec<usize>,
    /// Contracted dimensions of `lhs`, paired with those of `rhs`.
    pub lhs_contract: Vec<usize>,
    /// Contracted dimensions of `rhs`.
    pub rhs_contract: Vec<usize>,
}

impl DotAttrs {
    /// Dimensions of an operand of rank `rank` that are neither batch nor contracted, increasing.
    pub fn free_dims(rank: usize, batch: &[usize], contract: &[usize]) -> Vec<usize> {
        (0..rank).filter(|dim| !batch.contains(dim) && !contract.contains(dim)).collect()
    }
}

/// Attributes of `scan`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ScanAttrs {
    /// Number of leading operands that are carried from step to step.
    pub n_carried: usize,
    /// Number of operands behind them that are scanned; the others are invariants.
    pub n_scanned: usize,
    /// Number of steps: the leading extent of what is scanned and of what is stacked.
    pub length: Dim,
    /// Whether step `i` reads and writes slice `length - 1 - i`.
    pub reverse: bool,
}

/// Which template a fusion is lowered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FusionKind {
    /// Elementwise ops and views over one iteration space; one or several results.
    Pointwise,
    /// Reductions along the same dimensions of one shape together with what surrounds them, a row at a time.
    Row,
    /// One contraction with elementwise work on its result.
    Contraction,
    /// Independent pointwise groups of different shapes in one kernel.
    Horizontal,
}

impl FusionKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Pointwise, Self::Row, Self::Contraction, Self::Horizontal];

    /// The name in the text format.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pointwise => "pointwise",
            Self::Row => "row",
            Self::Contraction => "contraction",
            Self::Horizontal => "horizontal",
        }
    }
}

/// What is wrong with a node's operands or attributes: found and expected, in type syntax.
pub type InferError = String;

/// Result types of `op` on operands of the given types. This is also the check of operands and attributes.
///
/// # Errors
/// The first broken rule of the op's definition.
pub fn infer(op: &Op, operands: &[&TensorType], regions: &[Graph]) -> Result<Vec<TensorType>, InferError> {
    structure::check_counts(op, operands, regions)?;
    match op {
        Op::Param(_) | Op::Constant(_) | Op::Iota(_) | Op::RngBits(_) => leaf::infer(op, operands).map(one),
        Op::Negate
        | Op::Abs
        | Op::Sign
        | Op::Exponential
        | Op::ExponentialMinusOne
        | Op::Log
        | Op::LogPlusOne
        | Op::Sqrt
        | Op::Rsqrt
        | Op::Tanh
        | Op::Logistic
        | Op::Erf
        | Op::Sine
        | Op::Cosine
        | Op::Tan
        | Op::Floor
        | Op::Ceil
        | Op::RoundNearestEven
        | Op::IsFinite
        | Op::Not
        | Op::Convert(_)
        | Op::BitcastConvert(_)
        | Op::Add
        | Op::Subtract
        | Op::Multiply
        | Op::Divide
        | Op::Remainder
        | Op::Maximum
        | Op::Minimum
        | Op::Power
        | Op::Atan2
        | Op::And
        | Op::Or
        | Op::Xor
        | Op::ShiftLeft
        | Op::ShiftRightLogical
        | Op::ShiftRightArithmetic
        | Op::Compare(_)
        | Op::Select
        | Op::Clamp
        | Op::StopGradient => elementwise::infer(op, operands).map(one),
        Op::Reshape(_)
        | Op::Transpose(_)
        | Op::BroadcastInDim(_)
        | Op::Slice(_)
        | Op::Pad(_)
        | Op::Concatenate(_)
        | Op::Reverse(_) => movement::infer(op, operands).map(one),
        Op::Gather(attrs) => index::infer_gather(attrs, operands[0], operands[1]).map(one),
        Op::Scatter(attrs) => index::infer_scatter(attrs, operands[0], operands[1], operands[2]).map(one),
        Op::Reduce(attrs) => reduce::infer(attrs, operands[0]).map(one),
        Op::DotGeneral(attrs) => contract::infer_dot(attrs, operands[0], operands[1]).map(one),
        Op::Convolution(attrs) => convolution::infer(attrs, operands[0], operands[1]).map(one),
        Op::Fusion(_) => structure::infer_fusion(operands, &regions[0]),
        Op::Scan(attrs) => control::infer_scan(attrs, operands, &regions[0]),
        Op::Cond => control::infer_cond(operands, &regions[0], &regions[1]),
        Op::While => control::infer_while(operands, &regions[0], &regions[1]),
        Op::OptimizationBarrier => Ok(one(operands[0].clone())),
        Op::DynamicSlice(sizes) => dynamic::infer_slice(sizes, operands[0], &operands[1..]).map(one),
        Op::DynamicUpdateSlice => dynamic::infer_update_slice(operands[0], operands[1], &operands[2..]).map(one),
        Op::Cumulative(attrs) => order::infer_cumulative(attrs, operands[0]).map(one),
        Op::Sort(attrs) => order::infer_sort(attrs, operands),
        Op::ReduceWindow(attrs) => window::infer_reduce_window(attrs, operands[0]).map(one),
        Op::SelectAndScatter(attrs) => window::infer_select_and_scatter(attrs, operands[0], operands[1]).map(one),
    }
}

fn one(ty: TensorType) -> Vec<TensorType> {
    vec![ty]
}
