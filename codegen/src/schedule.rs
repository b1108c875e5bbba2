//! Schedules: the numbers that templates are lowered with.
//!
//! A schedule says how, never what: every schedule of a kernel gives the same bits. One is chosen for each kernel by
//! shape and target (never by the number of threads), printed by `explain`, and can be given back to the lowering
//! ([`crate::lower::Options`]), which is what an autotuner searches over.

use std::fmt;

use serde::{Deserialize, Serialize};

pub(crate) mod contraction;

/// How the kernels of one node are scheduled, in the order they run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// One entry a kernel.
    pub kernels: Vec<KernelSchedule>,
}

/// How one kernel is scheduled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KernelSchedule {
    /// Elementwise work over iteration spaces.
    Pointwise(PointwiseSchedule),
    /// Folds of rows and what surrounds them.
    Row(RowSchedule),
    /// A contraction and what follows it.
    Contraction(ContractionSchedule),
    /// A transposed copy of a contraction's operand.
    Pack(PackSchedule),
    /// Updates applied one after the other.
    Scatter(ScatterSchedule),
    /// Chains along a dimension.
    Cumulative(CumulativeSchedule),
    /// Rows sorted.
    Sort(SortSchedule),
    /// Independent parts of one kernel.
    Several(Vec<KernelSchedule>),
}

/// A loop nest after merging dimensions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NestSchedule {
    /// Extents of the loops, outermost first; the last one is vectorized.
    pub extents: Vec<u64>,
    /// Lanes of the innermost loop.
    pub lanes: u16,
    /// Iterations of the parallel loop that this nest takes.
    pub tasks: u64,
}

/// Schedule of a pointwise kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointwiseSchedule {
    /// The loop nests, one a result shape (and a piece of it, where a concatenation or padding is cut open).
    pub nests: Vec<NestSchedule>,
}

/// How the elements of a row are folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FoldMode {
    /// The 16 lanes of a vector are the 16 lanes of the fold.
    Lanes,
    /// 16 accumulators for each of several rows, side by side in a vector.
    Columns,
    /// 16 scalar accumulators.
    Scalar,
    /// GPU: 16 threads a row.
    Threads,
}

/// Schedule of a row kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowSchedule {
    /// How rows are folded.
    pub fold: FoldMode,
    /// Number of rows.
    pub rows: u64,
    /// Elements of a row.
    pub len: u64,
    /// Passes over a row.
    pub passes: u32,
    /// Values kept for later passes instead of being computed again.
    pub kept: u32,
    /// Iterations of the parallel loop.
    pub tasks: u64,
}

/// Which operand of a contraction stands where in the tile product, and how it gets there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Orientation {
    /// `lhs · rhs`, both read where they are.
    Direct,
    /// `lhs · rhs` with panels of `rhs` copied (transposed if need be) beside each tile.
    Panels,
    /// `rhsᵀ · lhsᵀ`, with `lhs` read where it is; the tile is turned before the epilogue.
    Swapped,
    /// `rhsᵀ · lhsᵀ`, with `lhs` transposed into scratch by a kernel of its own.
    SwappedPacked,
    /// `lhs · rhs` with blocks of both, where they do not lie as tile products read them, laid out beside each tile. Of a
    /// convolution the kernel is `lhs` and the image `rhs`.
    Staged,
    /// `rhsᵀ · lhsᵀ`, in the same way.
    SwappedStaged,
    /// A convolution's kernel times its image: blocks of the image are staged, and the windows multiplied where they
    /// overlap there.
    Overlapping,
    /// Plain loops over any element type.
    Loops,
    /// GPU: tiles of both operands staged in shared memory.
    Shared,
}

/// Schedule of a contraction kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContractionSchedule {
    /// Orientation and packing.
    pub orientation: Orientation,
    /// Rows of `lhs` a tile.
    pub tile_m: u64,
    /// Columns of `rhs` a tile.
    pub tile_n: u64,
    /// Contracted elements a step.
    pub tile_k: u64,
    /// Iterations of the parallel loop: batches times tiles.
    pub tasks: u64,
}

/// Schedule of a packing kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackSchedule {
    /// Rows a task.
    pub tile: u64,
    /// Iterations of the parallel loop.
    pub tasks: u64,
}

/// Schedule of a scatter kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScatterSchedule {
    /// Lanes along the window.
    pub lanes: u16,
}

/// Schedule of a running fold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CumulativeSchedule {
    /// Number of rows: chains.
    pub rows: u64,
    /// Elements of a row.
    pub len: u64,
    /// Rows side by side in a vector.
    pub lanes: u16,
    /// Iterations of the parallel loop.
    pub tasks: u64,
}

/// Schedule of a sort.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SortSchedule {
    /// Number of rows.
    pub rows: u64,
    /// Elements of a row.
    pub len: u64,
    /// Whether a row is sorted in scratch of its task (in a block's shared memory), rather than in memory.
    pub is_local: bool,
    /// Iterations of the parallel loop.
    pub tasks: u64,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (idx, kernel) in self.kernels.iter().enumerate() {
            if idx > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{kernel}")?;
        }
        Ok(())
    }
}

impl fmt::Display for KernelSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pointwise(schedule) => {
                f.write_str("pointwise")?;
                for (idx, nest) in schedule.nests.iter().enumerate() {
                    let extents: Vec<String> = nest.extents.iter().map(u64::to_string).collect();
                    write!(f, "{}{}", if idx > 0 { ", " } else { " " }, extents.join("x"))?;
                    write!(f, " by {} in {}", nest.lanes, nest.tasks)?;
                }
                Ok(())
            }
            Self::Row(schedule) => {
                let fold = match schedule.fold {
                    FoldMode::Lanes => "lanes",
                    FoldMode::Columns => "columns",
                    FoldMode::Scalar => "scalar",
                    FoldMode::Threads => "threads",
                };
                write!(f, "row {fold} {}x{}, {} passes", schedule.rows, schedule.len, schedule.passes)?;
                write!(f, ", {} kept, in {}", schedule.kept, schedule.tasks)
            }
            Self::Contraction(schedule) => {
                let orientation = match schedule.orientation {
                    Orientation::Direct => "direct",
                    Orientation::Panels => "panels",
                    Orientation::Swapped => "swapped",
                    Orientation::SwappedPacked => "swapped-packed",
                    Orientation::Staged => "staged",
                    Orientation::SwappedStaged => "swapped-staged",
                    Orientation::Overlapping => "overlapping",
                    Orientation::Loops => "loops",
                    Orientation::Shared => "shared",
                };
                let (m, n, k) = (schedule.tile_m, schedule.tile_n, schedule.tile_k);
                write!(f, "contraction {orientation} {m}x{n}x{k} in {}", schedule.tasks)
            }
            Self::Pack(schedule) => write!(f, "pack {} in {}", schedule.tile, schedule.tasks),
            Self::Scatter(schedule) => write!(f, "scatter by {}", schedule.lanes),
            Self::Cumulative(schedule) => {
                let CumulativeSchedule { rows, len, lanes, tasks } = schedule;
                write!(f, "cumulative {rows}x{len} by {lanes} in {tasks}")
            }
            Self::Sort(schedule) => {
                let place = if schedule.is_local { "scratch" } else { "memory" };
                write!(f, "sort {}x{} in {place}, in {}", schedule.rows, schedule.len, schedule.tasks)
            }
            Self::Several(parts) => {
                for (idx, part) in parts.iter().enumerate() {
                    write!(f, "{}{part}", if idx > 0 { " + " } else { "" })?;
                }
                Ok(())
            }
        }
    }
}

/// Estimated time of one element of elementwise work, in nanoseconds: instructions, and bytes from the L2 cache.
/// (Measured on the Cranelift tier, whose vectors have four lanes.)
pub(crate) fn element_ns(n_insts: usize, bytes: usize, lanes: u16) -> f64 {
    let inst_ns = if lanes == 1 { 0.3 } else { 0.03 };
    inst_ns * n_insts as f64 + 0.02 * bytes as f64
}

/// Kernels estimated below this run on one thread: a fork and join must pay.
pub(crate) const SERIAL_NS: f64 = 10_000.0;

/// Work handed to a thread at a time.
pub(crate) const CHUNK_NS: f64 = 5_000.0;

/// Iterations of a parallel loop handed out at a time, from the time of one.
pub(crate) fn chunk(iteration_ns: f64, extent: u64) -> u64 {
    ((CHUNK_NS / iteration_ns.max(1.0)).ceil() as u64).clamp(1, extent.max(1))
}
