//! Contractions through tile products whose operands are laid out beside each tile.
//!
//! This is the way of convolutions and of half-precision operands: blocks of the iteration space become panels
//! ([`feed`], [`patches`]) that a tile product multiplies, a block of the contracted index after the other, into a tile
//! of `f32` sums. Neither a buffer of patches nor a widened copy of an operand is ever made as a whole.

use super::super::affine::dense_strides;
use super::super::cx::{Cx, Eval, Source, Stop};
use super::super::nest::{Axis, Split, Task, dispatch, merge, unflatten};
use super::super::pointwise::{LANES, split_last_digit};
use super::super::{Arg, Built, Out, Planner};
use super::blocks::{Block, Blocking, Part, walk};
use super::feed::{Memory, Operand, Side, Values, is_image, turn, vectors};
use super::patches::{Arrangement, Patches, Stage};
use super::{Contraction, Epilogue, Form};
use crate::kernel::{BufferId, Index, LoopKind, Space, Stmt, TileMatmul, Ty};
use crate::schedule::contraction::{packed as costs, product_cycles};
use crate::schedule::{ContractionSchedule, KernelSchedule, Orientation, PackSchedule};
use nnc_ir::DType;

/// How an operand is fed to the tile product.
#[derive(Clone, Debug)]
enum Feed {
    /// Read where it lies.
    Memory(Memory),
    /// Lies with the contracted index side by side: turned into a panel.
    Turned(Memory),
    Values(Values),
    /// The image of a convolution, by way of a stage.
    Patches {
        arrangement: Arrangement,
        lanes: u16,
    },
}

/// One way to cut the contraction.
struct Plan {
    /// One of those that stage: `Staged`, `SwappedStaged`, `Overlapping`.
    orientation: Orientation,
    rows: Blocking,
    columns: Blocking,
    depth: Blocking,
    /// Left and right operand of the product.
    a: Feed,
    b: Feed,
    /// The largest stage.
    stage: Option<Stage>,
    cycles: f64,
}

/// Lowers the contraction if its sums are `f32`; `false` if there is no plan for it.
pub(super) fn lower(planner: &mut Planner<'_>, contraction: &Contraction<'_>, outs: &[Out], flops: u64) -> Eval<bool> {
    let region = planner.region;
    let narrow = |dtype: DType| matches!(dtype, DType::F32 | DType::F16 | DType::BF16);
    let fits = |extents: &[usize]| extents.iter().product::<usize>() < 1 << 31;
    if !narrow(region.dtype(contraction.dot))
        || !narrow(region.dtype(contraction.lhs))
        || contraction.contracted.contains(&0)
        || !fits(&contraction.extents)
        || !fits(&contraction.contracted)
    {
        return Ok(false);
    }
    let given = match planner.given_schedule() {
        Some(KernelSchedule::Contraction(given)) => Some(given.clone()),
        _ => None,
    };
    let mut best: Option<Plan> = None;
    for orientation in [Orientation::Overlapping, Orientation::Staged, Orientation::SwappedStaged] {
        let sizes = given.as_ref().filter(|given| given.orientation == orientation);
        if let Some(mut plan) = plan(planner, contraction, orientation, sizes)? {
            if sizes.is_some() {
                plan.cycles = 0.0;
            }
            if best.as_ref().is_none_or(|best| plan.cycles < best.cycles) {
                best = Some(plan);
            }
        }
    }
    let Some(mut plan) = best else { return Ok(false) };
    // A kernel that is no matrix in memory is read in every tile: it is made one first.
    let packed = match (&plan.a, plan.orientation, &contraction.form) {
        (Feed::Values(_), Orientation::Staged | Orientation::Overlapping, Form::Convolution(_)) => {
            Some(pack_kernel(planner, contraction)?)
        }
        _ => None,
    };
    let built = main_kernel(planner, contraction, outs, &mut plan, packed)?;
    planner.finish_with(built, flops);
    Ok(true)
}

impl Plan {
    /// Whether the rows of the product are the columns of the contraction: `lhs` is then the product's right operand.
    fn is_swapped(&self) -> bool {
        self.orientation == Orientation::SwappedStaged
    }

    /// Whether windows are multiplied where they overlap in the stage.
    fn is_overlapping(&self) -> bool {
        self.orientation == Orientation::Overlapping
    }

    /// How the sums of a block of columns of these extents lie in a row: its length, and the distances between
    /// neighbors along each dimension.
    fn row_of_sums(&self, contraction: &Contraction<'_>, extents: &[u64]) -> (u64, Vec<i64>) {
        match &contraction.form {
            Form::Convolution(windows) if self.is_overlapping() => {
                let stage = Stage::new(windows, extents, &self.depth.block_extents(), Arrangement::Stage);
                let stage = stage.expect("checked for blocks");
                (stage.span(extents), stage.window_strides())
            }
            _ => {
                let extents: Vec<usize> = extents.iter().map(|&extent| extent as usize).collect();
                (extents.iter().product::<usize>() as u64, dense_strides(&extents))
            }
        }
    }
}

fn plan(
    planner: &Planner<'_>,
    contraction: &Contraction<'_>,
    orientation: Orientation,
    given: Option<&ContractionSchedule>,
) -> Eval<Option<Plan>> {
    let swapped = orientation == Orientation::SwappedStaged;
    let arrangement = match orientation {
        Orientation::Overlapping => Arrangement::Stage,
        Orientation::SwappedStaged => Arrangement::Taps,
        _ => Arrangement::Windows,
    };
    let rank = contraction.extents.len();
    let space: Vec<usize> = [contraction.extents.as_slice(), &contraction.contracted].concat();
    let (row_dims, column_dims) = match swapped {
        false => (&contraction.rows, &contraction.columns),
        true => (&contraction.columns, &contraction.rows),
    };
    let depth_dims: Vec<usize> = (rank..space.len()).collect();
    let mut limits = costs::Limits::of(given, swapped);
    let n_rows: u64 = row_dims.iter().map(|&dim| space[dim] as u64).product();
    if arrangement == Arrangement::Stage {
        let Form::Convolution(windows) = &contraction.form else { return Ok(None) };
        let Some(overlapping) = costs::Limits::overlapping(n_rows, windows.n_taps()) else {
            return Ok(None);
        };
        limits = if given.is_some() { limits } else { overlapping };
    }
    let mut columns = match arrangement {
        Arrangement::Stage => Blocking::even(column_dims, &space, limits.columns),
        _ => Blocking::new(column_dims, &space, limits.columns, costs::columns),
    };
    let rows =
        Blocking::even(row_dims, &space, (costs::MAX_SUMS / columns.len().next_multiple_of(16)).clamp(1, limits.rows));
    let most = (costs::MAX_PANEL / rows.len().max(columns.len().next_multiple_of(16))).clamp(1, limits.depth);
    let mut depth = Blocking::even(&depth_dims, &space, most);
    if arrangement == Arrangement::Stage {
        // All taps of a channel are multiplied at once.
        depth.cut = 0;
        depth.size = contraction.contracted[0] as u64;
    }
    let (a_side, b_side) = if swapped { (Side::Rhs, Side::Lhs) } else { (Side::Lhs, Side::Rhs) };
    let mut stage = None;
    if let Form::Convolution(windows) = &contraction.form {
        // Stages are as long as panels at most; where the contracted block is cut already, it is cut on.
        loop {
            let free = if swapped { rows.block_extents() } else { columns.block_extents() };
            match Stage::new(windows, &free, &depth.block_extents(), arrangement) {
                Some(found) if found.len() <= limits.stage => {
                    stage = Some(found);
                    break;
                }
                Some(_) if depth.size > 1 => depth.size = depth.size.div_ceil(2),
                Some(_) if arrangement == Arrangement::Stage && columns.size > 1 => {
                    columns.size = columns.size.div_ceil(2);
                }
                _ => return Ok(None),
            }
        }
    }
    let blocks = |blocking: &Blocking| (blocking.dims.clone(), blocking.block_extents());
    let ((row_list, row_extents), (column_list, column_extents)) = (blocks(&rows), blocks(&columns));
    let depth_extents = depth.block_extents();
    let flat = |memory: &Memory, dims: &[usize], extents: &[u64]| {
        memory.strides((dims, extents), (&depth_dims, &depth_extents))
    };
    let image_lanes = || -> Eval<u16> {
        let mut cx = planner
            .probe(&planner.region.shape(contraction.rhs).iter().map(|&extent| (0, extent as i64)).collect::<Vec<_>>());
        (cx.lanes, cx.active) = (LANES, LANES);
        let last = planner.region.shape(contraction.rhs).len() - 1;
        cx.bind(last, Index::constant(0), 1);
        let coords = cx.coords();
        match cx.eval(contraction.rhs, &coords) {
            Ok(_) => Ok(LANES),
            Err(Stop::Scalar) => Ok(1),
            Err(other) => Err(other),
        }
    };
    let feed = |side: Side, dims: &[usize], extents: &[u64], is_right: bool| -> Eval<Feed> {
        if let Some(memory) = contraction.in_memory(planner, side)?
            && let Some((free, along)) = flat(&memory, dims, extents)
        {
            if !is_right || free == 1 {
                return Ok(Feed::Memory(memory));
            }
            if along == 1 {
                return Ok(Feed::Turned(memory));
            }
        }
        if is_image(contraction, side) {
            return Ok(Feed::Patches { arrangement, lanes: image_lanes()? });
        }
        Ok(Feed::Values(contraction.values(planner, side, dims)?))
    };
    let a = feed(a_side, &row_list, &row_extents, false)?;
    let b = feed(b_side, &column_list, &column_extents, true)?;
    if arrangement == Arrangement::Stage && !matches!(b, Feed::Patches { .. }) {
        // A matrix is no image.
        return Ok(None);
    }
    let batches: u64 = contraction.batch.iter().map(|&dim| space[dim] as u64).product();
    if let (Feed::Memory(a), Feed::Memory(b), None) = (&a, &b, given) {
        // No panel bounds the depth: sums stay in registers for long.
        let deep = Blocking::even(&depth_dims, &space, costs::MAX_DEPTH);
        let along = (deep.dims.as_slice(), deep.block_extents());
        let is_flat = |memory: &Memory, blocking: &Blocking| {
            memory.strides((&blocking.dims, &blocking.block_extents()), (along.0, &along.1)).is_some()
        };
        if is_flat(a, &rows) && is_flat(b, &columns) {
            depth = deep;
        }
    }
    let depth_len: u64 = contraction.contracted.iter().map(|&extent| extent as u64).product();
    let n_columns: u64 = columns.extents.iter().product();
    let feed_cycles = |feed: &Feed, free: u64, turned: bool| {
        let elements = (free * depth_len) as f64;
        let run = |blocking: &Blocking| blocking.extents.last().copied().unwrap_or(1);
        match feed {
            Feed::Memory(_) => 0.0,
            Feed::Turned(_) => costs::TURN * elements,
            Feed::Values(values) => {
                elements * (costs::value(values.lanes) + if turned && values.along_depth { costs::TURN } else { 0.0 })
            }
            Feed::Patches { arrangement: Arrangement::Stage, lanes } => {
                let stage = stage.as_ref().expect("an image has a stage");
                let steps = contraction.window_steps();
                (columns.n_blocks() * depth.n_blocks() * stage.len()) as f64 * costs::staged(*lanes, steps)
            }
            Feed::Patches { arrangement, .. } => {
                let along = if *arrangement == Arrangement::Windows { &columns } else { &depth };
                elements * costs::patch(run(along))
            }
        }
    };
    let n_sums = match (arrangement, &stage) {
        (Arrangement::Stage, Some(stage)) => columns.n_blocks() * stage.span(&column_extents),
        _ => n_columns,
    };
    let cycles = product_cycles(n_rows, n_sums, depth_len)
        + feed_cycles(&a, n_rows, false) * columns.n_blocks() as f64
        + feed_cycles(&b, n_columns, true) * rows.n_blocks() as f64;
    Ok(Some(Plan { orientation, rows, columns, depth, a, b, stage, cycles: cycles * batches as f64 }))
}

/// Writes the kernel of a convolution to scratch, one row of contracted elements for each channel of the result.
fn pack_kernel(planner: &mut Planner<'_>, contraction: &Contraction<'_>) -> Eval<Arg> {
    let rank = contraction.extents.len();
    let free: Vec<usize> = contraction.batch.iter().chain(&contraction.rows).copied().collect();
    let values = contraction.values(planner, Side::Lhs, &free)?;
    let space: Vec<usize> = contraction.whole_space().iter().map(|&(_, end)| end as usize).collect();
    let depth = Blocking::even(&(rank..space.len()).collect::<Vec<_>>(), &space, u64::MAX / 4);
    let rows: u64 = free.iter().map(|&dim| space[dim] as u64).product();
    let elements = rows * depth.len();
    let arg = planner.new_scratch(4 * elements);
    let (mut cx, _) = planner.start("pack", &[]);
    let scratch = declare(&mut cx, arg, elements, true);
    let axes: Vec<Axis> =
        free.iter().map(|&dim| Axis { dims: vec![dim], first: 0, extent: space[dim] as u64 }).collect();
    let lanes = if values.along_depth { values.lanes } else { 1 };
    let ranges = contraction.whole_space();
    let tasks = vec![Task {
        count: rows,
        ns: depth.len() as f64 * if lanes == 1 { 1.0 } else { 0.2 },
        body: Box::new(|cx: &mut Cx<'_>, at: Index| {
            cx.set_space(ranges.iter().copied());
            let wide: Vec<Axis> = axes.iter().filter(|axis| axis.extent > 1).cloned().collect();
            unflatten(cx, &wide, &at);
            let part = Part { first: 0, size: depth.size, count: 1 };
            let block = depth.block(cx, &part, &Index::constant(0));
            vectors(cx, &block.runs(&values.depth), lanes, &mut |cx, column| {
                let coords = cx.coords();
                let (space, contracted) = coords.split_at(rank);
                let seen = cx.trace.loads.len();
                let reg = contraction.lhs_element(cx, space, contracted)?;
                super::scatter_loads(cx, seen);
                let reg = cx.promote(reg, cx.lanes);
                let to = Index::default().plus_scaled(&at, depth.len() as i64).plus_scaled(column, 1);
                cx.b.store(scratch, to, 1, cx.active, reg);
                Ok(())
            })
        }),
    }];
    let split = dispatch(&mut cx, tasks)?;
    let schedule = KernelSchedule::Pack(PackSchedule { tile: 1, tasks: rows });
    planner.finish_with(Built { cx, split, schedule }, 0);
    Ok(arg)
}

fn declare(cx: &mut Cx<'_>, arg: Arg, elements: u64, written: bool) -> BufferId {
    cx.args.push(arg);
    cx.b.arg("packed", DType::F32, elements as usize, written)
}

/// The tile loop: everything about it that is fixed.
struct Tiles<'a> {
    contraction: &'a Contraction<'a>,
    epilogue: Epilogue,
    plan: &'a Plan,
    acc: BufferId,
    a_panel: Option<BufferId>,
    b_panel: Option<BufferId>,
    /// Evaluated elements that are still to be turned.
    unturned: Option<BufferId>,
    stage: Option<BufferId>,
    depth_parts: Vec<Part>,
    /// Loops over the result as the epilogue allows.
    row_axes: Vec<Axis>,
    column_axes: Vec<Axis>,
    lanes: u16,
}

fn main_kernel<'r>(
    planner: &Planner<'r>,
    contraction: &Contraction<'_>,
    outs: &[Out],
    plan: &mut Plan,
    packed: Option<Arg>,
) -> Eval<Built<'r>> {
    let (mut cx, buffers) = planner.start("contraction", outs);
    if let Some(arg) = packed {
        let extents = contraction.whole_space();
        let dims: Vec<usize> = contraction
            .batch
            .iter()
            .chain(&contraction.rows)
            .copied()
            .chain(contraction.extents.len()..extents.len())
            .collect();
        let shape: Vec<usize> = dims.iter().map(|&dim| extents[dim].1 as usize).collect();
        let buffer = declare(&mut cx, arg, shape.iter().map(|&extent| extent as u64).product(), false);
        cx.set_space(extents);
        let coords: Vec<_> = dims.iter().map(|&dim| cx.coord(dim)).collect();
        let linear = super::super::affine::dot(&coords, &dense_strides(&shape));
        plan.a = Feed::Memory(Memory { buffer, linear });
    }
    for feed in [&plan.a, &plan.b] {
        if let Feed::Memory(memory) | Feed::Turned(memory) = feed {
            cx.trace.scattered.push(memory.buffer);
        }
    }
    let epilogue = Epilogue { outs: outs.iter().map(|out| out.value).zip(buffers).collect() };
    let scratch = |cx: &mut Cx<'_>, name: &str, elements: u64| {
        (elements > 0).then(|| cx.scratch(name, DType::F32, elements as usize, Space::Local))
    };
    let (rows, columns, depth) = (plan.rows.len(), plan.columns.len(), plan.depth.len());
    let (row_len, _) = plan.row_of_sums(contraction, &plan.columns.block_extents());
    let acc = scratch(&mut cx, "acc", rows * row_len).expect("a tile has elements");
    let has_panel =
        |feed: &Feed| !matches!(feed, Feed::Memory(_) | Feed::Patches { arrangement: Arrangement::Stage, .. });
    let a_panel = scratch(&mut cx, "a_panel", if has_panel(&plan.a) { rows * depth } else { 0 });
    let b_panel = scratch(&mut cx, "b_panel", if has_panel(&plan.b) { depth * columns } else { 0 });
    let is_unturned = matches!(&plan.b, Feed::Values(values) if values.along_depth);
    let unturned = scratch(&mut cx, "unturned", if is_unturned { depth * columns } else { 0 });
    let is_patches = |feed: &Feed| matches!(feed, Feed::Patches { .. });
    let stage = plan.stage.as_ref().filter(|_| is_patches(&plan.a) || is_patches(&plan.b));
    let stage = stage.and_then(|stage| scratch(&mut cx, "stage", stage.len()));
    let ranges = contraction.ranges();
    let trace = epilogue.probe(planner, contraction, None)?;
    let row_axes = merge(&trace, &plan.rows.dims, &ranges);
    let column_axes = match plan.is_overlapping() {
        // There are seams between rows of windows.
        true => plan.columns.dims.iter().flat_map(|&dim| merge(&trace, &[dim], &ranges)).collect(),
        false => merge(&trace, &plan.columns.dims, &ranges),
    };
    let lanes = match column_axes.last().map(|axis| epilogue.probe(planner, contraction, Some(axis))) {
        Some(Ok(_)) => LANES,
        Some(Err(Stop::Scalar)) | None => 1,
        Some(Err(other)) => return Err(other),
    };
    let (row_parts, column_parts, depth_parts) = parts(contraction, plan, planner);
    let plan = &*plan;
    let tiles = Tiles {
        contraction,
        epilogue,
        plan,
        acc,
        a_panel,
        b_panel,
        unturned,
        stage,
        depth_parts,
        row_axes,
        column_axes,
        lanes,
    };
    let (split, tasks) = tiles.emit(&mut cx, &row_parts, &column_parts)?;
    let (tile_m, tile_n) = if plan.is_swapped() { (columns, rows) } else { (rows, columns) };
    let schedule = ContractionSchedule { orientation: plan.orientation, tile_m, tile_n, tile_k: depth, tasks };
    Ok(Built { cx, split, schedule: KernelSchedule::Contraction(schedule) })
}

/// Parts of rows, columns and depth. Blocks of windows or taps that reach over the border of the image along its last
/// dimension stand by themselves, so that where they do is known.
fn parts(contraction: &Contraction<'_>, plan: &Plan, planner: &Planner<'_>) -> (Vec<Part>, Vec<Part>, Vec<Part>) {
    let plain = |blocking: &Blocking| blocking.parts(&|_, _| false);
    let Form::Convolution(windows) = &contraction.form else {
        return (plain(&plan.rows), plain(&plan.columns), plain(&plan.depth));
    };
    let phase = windows.phases.last().expect("a spatial dimension");
    let last = *planner.region.shape(contraction.rhs).last().expect("a spatial dimension") as i64 - 1;
    let inside = |windows: (u64, u64), taps: (u64, u64)| {
        let at = |window: u64, tap: u64| phase.origin + window as i64 * phase.by_window + tap as i64 * phase.by_tap;
        at(windows.0, taps.0) >= 0 && at(windows.0 + windows.1 - 1, taps.0 + taps.1 - 1) <= last
    };
    let (all_windows, all_taps) = ((0, phase.windows as u64), (0, phase.taps as u64));
    let free = if plan.is_swapped() { &plan.rows } else { &plan.columns };
    let is_last = |blocking: &Blocking| blocking.cut + 1 == blocking.dims.len();
    let free_parts = free.parts(&|first, size| is_last(free) && !inside((first, size), all_taps));
    let depth_parts = plan.depth.parts(&|first, size| is_last(&plan.depth) && !inside(all_windows, (first, size)));
    if plan.is_swapped() {
        (free_parts, plain(&plan.columns), depth_parts)
    } else {
        (plain(&plan.rows), free_parts, depth_parts)
    }
}

impl Tiles<'_> {
    fn emit<'r>(&self, cx: &mut Cx<'r>, row_parts: &[Part], column_parts: &[Part]) -> Eval<(Split, u64)> {
        let batch_axes: Vec<Axis> = self
            .contraction
            .batch
            .iter()
            .map(|&dim| Axis { dims: vec![dim], first: 0, extent: self.contraction.extents[dim] as u64 })
            .filter(|axis| axis.extent > 1)
            .collect();
        let batches: u64 = batch_axes.iter().map(|axis| axis.extent).product();
        let total: u64 = batches * self.plan.rows.n_blocks() * self.plan.columns.n_blocks();
        let ns = self.plan.cycles / 3.0 / total as f64;
        let mut tasks: Vec<Task<'_, 'r>> = Vec::new();
        for column_part in column_parts {
            for row_part in row_parts {
                let (n_rows, n_columns) =
                    (self.plan.rows.n_outer() * row_part.count, self.plan.columns.n_outer() * column_part.count);
                let batch_axes = &batch_axes;
                let body = move |cx: &mut Cx<'r>, at: Index| {
                    cx.set_space(self.contraction.whole_space());
                    // Tiles that read the same columns follow one another.
                    let (at, row) = split_last_digit(cx, &at, batches * n_columns, n_rows);
                    let (batch, column) = split_last_digit(cx, &at, batches, n_columns);
                    unflatten(cx, batch_axes, &batch);
                    let rows = self.plan.rows.block(cx, row_part, &row);
                    let columns = self.plan.columns.block(cx, column_part, &column);
                    self.tile(cx, &rows, &columns)
                };
                tasks.push(Task { count: batches * n_columns * n_rows, ns, body: Box::new(body) });
            }
        }
        let n_tasks = tasks.iter().map(|task| task.count).sum();
        Ok((dispatch(cx, tasks)?, n_tasks))
    }

    /// One tile: sums, then what follows them.
    fn tile(&self, cx: &mut Cx<'_>, rows: &Block, columns: &Block) -> Eval {
        let depth = &self.plan.depth;
        let is_whole = depth.n_outer() == 1 && self.depth_parts.len() == 1 && self.depth_parts[0].count == 1;
        if !is_whole {
            let (row_len, _) = self.plan.row_of_sums(self.contraction, &columns.extents);
            cx.vector_loop(rows.len() * row_len, LANES, |cx, at| {
                let zero = cx.b.const_i64(Ty::F32, cx.lanes, 0);
                cx.b.store(self.acc, at, 1, cx.active, zero);
                Ok(())
            })?;
        }
        cx.for_loop(depth.n_outer(), LoopKind::Serial, |cx, outer| {
            self.depth_parts.iter().try_for_each(|part| {
                cx.for_loop(part.count, LoopKind::Serial, |cx, at| {
                    let at = Index::default().plus_scaled(&outer, part.count as i64).plus_scaled(&at, 1);
                    let block = depth.block(cx, part, &at);
                    self.product(cx, rows, columns, &block, !is_whole)
                })
            })
        })?;
        self.consume(cx, rows, columns)
    }

    fn product(&self, cx: &mut Cx<'_>, rows: &Block, columns: &Block, depth: &Block, accumulate: bool) -> Eval {
        let (a_side, b_side) = if self.plan.is_swapped() { (Side::Rhs, Side::Lhs) } else { (Side::Lhs, Side::Rhs) };
        let a = self.operand(cx, &self.plan.a, a_side, self.a_panel, rows, depth, false)?;
        let b = self.operand(cx, &self.plan.b, b_side, self.b_panel, columns, depth, true)?;
        debug_assert!(b.free == 1, "columns of the right operand are side by side");
        let (row_len, _) = self.plan.row_of_sums(self.contraction, &columns.extents);
        cx.b.push(Stmt::Matmul(TileMatmul {
            a: a.buffer,
            a_index: a.index,
            a_row_stride: a.free,
            a_k_stride: a.depth,
            b: b.buffer,
            b_index: b.index,
            b_k_stride: b.depth,
            b_taps: b.taps,
            acc: self.acc,
            acc_index: Index::constant(0),
            acc_row_stride: row_len as i64,
            m: rows.len() as u32,
            n: row_len as u32,
            k: depth.len(),
            accumulate,
        }));
        Ok(())
    }

    /// An operand of the tile product at a block of its free index and one of the contracted index.
    #[allow(clippy::too_many_arguments)]
    fn operand(
        &self,
        cx: &mut Cx<'_>,
        feed: &Feed,
        side: Side,
        panel: Option<BufferId>,
        free: &Block,
        depth: &Block,
        is_right: bool,
    ) -> Eval<Operand> {
        let in_panel = || panel.expect("there is a panel for what is not read in place");
        match feed {
            Feed::Memory(memory) => Ok(memory.operand(cx, free, depth)),
            Feed::Turned(memory) => {
                let operand = memory.operand(cx, free, depth);
                Ok(turn(cx, &operand, in_panel(), free.len(), depth.len()))
            }
            Feed::Values(values) if is_right && values.along_depth => {
                let unturned = self.unturned.expect("there is scratch for what is turned");
                let operand = values.pack(cx, self.contraction, side, unturned, free, depth)?;
                Ok(turn(cx, &operand, in_panel(), free.len(), depth.len()))
            }
            Feed::Values(values) => values.pack(cx, self.contraction, side, in_panel(), free, depth),
            &Feed::Patches { arrangement, lanes } => {
                let stage = self.stage.expect("patches have a stage");
                let panel = panel.filter(|_| arrangement != Arrangement::Stage);
                let patches = Patches { contraction: self.contraction, stage, panel, arrangement, lanes };
                let (buffer, stage) = patches.lay_out(cx, free, depth)?;
                let (free, along, taps) = match arrangement {
                    Arrangement::Stage => (1, stage.channel_stride(), stage.taps(&depth.extents)),
                    Arrangement::Windows => (1, free.len() as i64, vec![0]),
                    Arrangement::Taps => (depth.len() as i64, 1, vec![0]),
                };
                Ok(Operand { buffer, index: Index::constant(0), free, depth: along, taps })
            }
        }
    }

    /// Evaluates the consumers on a tile of finished sums.
    fn consume(&self, cx: &mut Cx<'_>, rows: &Block, columns: &Block) -> Eval {
        let dtype = cx.region.dtype(self.contraction.dot);
        let (row_runs, mut column_runs) = (rows.runs(&self.row_axes), columns.runs(&self.column_axes));
        let (width, strides) = self.plan.row_of_sums(self.contraction, &columns.extents);
        let width = width as i64;
        for run in &mut column_runs {
            let innermost = run.axis.dims.last().expect("an axis has a dimension");
            let at = columns.dims.iter().position(|dim| dim == innermost).expect("an axis of the block");
            run.stride = strides[at];
        }
        cx.scoped(|cx| {
            walk(cx, &row_runs, &Index::default(), &mut |cx, row| {
                if column_runs.len() <= 1 {
                    self.epilogue.hoist(cx, self.contraction)?;
                }
                vectors(cx, &column_runs, self.lanes, &mut |cx, column| {
                    let coords = self.contraction.result_coords(cx);
                    let index = Index::default().plus_scaled(row, width).plus_scaled(column, 1);
                    let source = match dtype {
                        DType::F32 => {
                            let along = column_runs.last().map_or(1, |run| run.stride);
                            let lane_stride = if cx.lanes == 1 { 0 } else { along };
                            Source::Place { coords, buffer: self.acc, index, lane_stride }
                        }
                        _ => {
                            let along = column_runs.last().map_or(1, |run| run.stride);
                            let sum = cx.b.load(self.acc, index, along, cx.lanes, cx.active);
                            Source::Reg { coords, reg: cx.b.narrow(dtype, sum) }
                        }
                    };
                    cx.set_source(self.contraction.dot, source);
                    self.epilogue.evaluate(cx, self.contraction)
                })
            })
        })
    }
}
