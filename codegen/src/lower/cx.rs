//! The context a kernel is written in: the iteration space, how loops realize it, and *the value of an IR value at an
//! index*.
//!
//! [`Cx::eval`] gives the register that holds a value at an index, computing it from its operands at the indices they
//! are needed at, down to memory. Views, broadcasts and gathers only change the index, so they never copy. Registers
//! are memoized for as long as they are in scope.
//!
//! An index that does not vary with the vector lane is evaluated once, in a scalar register, and repeated in every lane
//! where a vector meets it. What cannot be had that way says why ([`Stop`]), and the caller takes another way: scalar
//! loops, or a buffer for the value in question.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use nnc_ir::ops::Op;
use nnc_ir::{DType, Scalar, Value};

use super::affine::{Affine, Range, Var, dense_strides, dot};
use super::region::Region;
use super::{Arg, dynamic, elementwise, random, view, window};
use crate::kernel::{BinOp, BufferId, Index, Inst, KernelBuilder, LoopKind, Reg, RegType, Space, Ty};

/// Why a value cannot be evaluated in this kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Each lane would need an address of its own: scalar loops can do it.
    Scalar,
    /// The value must be in memory first.
    Materialize(Value),
    /// There is no code for it.
    Unsupported(String),
}

pub(super) type Eval<T = ()> = Result<T, Stop>;

/// Where the elements of a value are.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// A dense row-major tensor.
    Memory(BufferId),
    /// In scratch, at one index only.
    Place { coords: Vec<Affine>, buffer: BufferId, index: Index, lane_stride: i64 },
    /// In scratch, at one index only, which a later loop walks again: element `position * scale`, contiguous lanes.
    Kept { coords: Vec<Affine>, buffer: BufferId, position: Affine, scale: i64 },
    /// In a register, at one index only.
    Reg { coords: Vec<Affine>, reg: Reg },
}

/// How loops realize a dimension: its index is `index + lane * lane_stride`.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    pub(super) index: Index,
    pub(super) lane: i64,
}

/// One access to a tensor.
#[derive(Clone, Debug)]
pub(super) struct Access {
    /// Row-major position of the element.
    pub(super) linear: Affine,
    /// Which iteration space the position is over.
    pub(super) space: u32,
    /// Accesses of one phase may overlap in time; phases follow one another.
    pub(super) phase: u32,
}

/// What evaluation touched, for the choice of a schedule and for reuse of operand buffers.
#[derive(Clone, Debug, Default)]
pub(super) struct Trace {
    /// Elements of tensors loaded.
    pub(super) loads: Vec<(BufferId, Access)>,
    /// Elements of tensors stored.
    pub(super) stores: Vec<(BufferId, Access)>,
    /// Tensors that the template reads in an order of its own.
    pub(super) scattered: Vec<BufferId>,
    /// Dimensions whose index itself is computed with; they cannot be merged with their neighbors.
    pub(super) opaque: BTreeSet<usize>,
    /// Where the iteration space is best cut: pads and concatenations change their source there.
    pub(super) breaks: BTreeSet<(usize, i64)>,
    /// For each dimension, how many elements must be walked together so that quotients of their indices are known.
    pub(super) steps: BTreeMap<usize, i64>,
    /// Expensive values computed, with their index.
    pub(super) expensive: Vec<(Value, Vec<Affine>)>,
    /// Instructions that loops inside an evaluation repeat, beyond the first time.
    pub(super) repeated: usize,
}

/// One dimension of the iteration space. Its index is `origin + step * number`, where the number is what loops count.
#[derive(Clone, Debug)]
struct Dim {
    /// Range of the number.
    range: Range,
    place: Option<Place>,
    step: i64,
    origin: i64,
}

/// Where the elements of a result lie in its buffer: from `starts` on in a dense tensor of `extents`.
#[derive(Clone, Debug)]
pub(super) struct Placement {
    /// Scalars, one a dimension.
    pub(super) starts: Vec<Value>,
    pub(super) extents: Vec<usize>,
}

/// The kernel under construction.
pub(super) struct Cx<'r> {
    pub(super) region: &'r Region<'r>,
    pub(super) b: KernelBuilder,
    /// What the arguments are bound to.
    pub(super) args: Vec<Arg>,
    sources: HashMap<Value, Source>,
    dims: Vec<Dim>,
    /// Lanes of varying values, and how many of them exist in the current body.
    pub(super) lanes: u16,
    pub(super) active: u16,
    /// Registers in scope, innermost scope last.
    memo: Vec<HashMap<(Value, Vec<Affine>), Reg>>,
    loads: Vec<HashMap<(BufferId, Index, i64, u16), Reg>>,
    /// Known ranges of run-time integers.
    ranges: HashMap<Reg, Range>,
    /// Bits of scalar constants, so that vectors of them are constants too.
    constants: HashMap<Reg, u64>,
    space: u32,
    pub(super) phase: u32,
    pub(super) trace: Trace,
    /// Where results are stored, if not as in a dense tensor of their own.
    pub(super) placement: Option<Placement>,
}

impl<'r> Cx<'r> {
    pub(super) fn new(
        region: &'r Region<'r>,
        b: KernelBuilder,
        args: Vec<Arg>,
        sources: HashMap<Value, Source>,
    ) -> Self {
        Self {
            region,
            b,
            args,
            sources,
            dims: Vec::new(),
            lanes: 1,
            active: 1,
            memo: vec![HashMap::new()],
            loads: vec![HashMap::new()],
            ranges: HashMap::new(),
            constants: HashMap::new(),
            space: 0,
            phase: 0,
            trace: Trace::default(),
            placement: None,
        }
    }

    // The iteration space.

    /// Starts an iteration space of the given ranges (first, one past the last); all dimensions are unbound. Registers
    /// memoized for another space must be out of scope.
    pub(super) fn set_space(&mut self, ranges: impl IntoIterator<Item = (i64, i64)>) {
        self.dims = ranges
            .into_iter()
            .map(|(first, end)| Dim {
                range: (first, end - 1),
                place: (end - first == 1).then(|| Place { index: Index::constant(first), lane: 0 }),
                step: 1,
                origin: 0,
            })
            .collect();
        self.space += 1;
    }

    pub(super) fn access(&self, linear: Affine) -> Access {
        Access { linear, space: self.space, phase: self.phase }
    }

    /// The index along a dimension.
    pub(super) fn coord(&self, dim: usize) -> Affine {
        let Dim { range: (first, last), step, origin, .. } = self.dims[dim];
        let number = if first == last { Affine::constant(first) } else { Affine::dim(dim) };
        number.scaled(step).plus_const(origin)
    }

    /// Makes the current element of each dimension number `step * number + origin`.
    pub(super) fn set_phase(&mut self, phase: &[(i64, i64)]) {
        for (dim, &(step, origin)) in self.dims.iter_mut().zip(phase) {
            (dim.step, dim.origin) = (step, origin);
        }
    }

    /// The index along each dimension.
    pub(super) fn coords(&self) -> Vec<Affine> {
        (0..self.dims.len()).map(|dim| self.coord(dim)).collect()
    }

    /// Says how the current loops realize a dimension. A dimension of extent 1 needs no saying.
    pub(super) fn bind(&mut self, dim: usize, index: Index, lane: i64) {
        if self.dims[dim].range.0 != self.dims[dim].range.1 {
            self.dims[dim].place = Some(Place { index, lane });
        }
    }

    fn is_bound(&self, coord: &Affine) -> bool {
        coord.dims().all(|dim| self.dims[dim].place.is_some())
    }

    fn range_of(&self, var: Var) -> Range {
        match var {
            Var::Dim(dim) => self.dims[dim as usize].range,
            Var::Reg(reg) => self.ranges.get(&reg).copied().unwrap_or((i64::MIN / 4, i64::MAX / 4)),
        }
    }

    pub(super) fn range(&self, coord: &Affine) -> Range {
        coord.range(&|var| self.range_of(var))
    }

    /// The index in loop registers, and its distance between lanes.
    pub(super) fn resolve(&self, coord: &Affine) -> (Index, i64) {
        let mut index = Index::constant(coord.offset);
        let mut lane = 0;
        for &(var, coefficient) in &coord.terms {
            match var {
                Var::Dim(dim) => {
                    let place = self.dims[dim as usize].place.as_ref().expect("the dimension has a loop");
                    index = index.plus_scaled(&place.index, coefficient);
                    lane += place.lane * coefficient;
                }
                Var::Reg(reg) => index = index.plus(reg, coefficient),
            }
        }
        (index, lane)
    }

    /// Whether the index differs between lanes.
    pub(super) fn varies(&self, coord: &Affine) -> bool {
        self.resolve(coord).1 != 0
    }

    // Scopes and loops.

    /// Runs `body` in a scope of its own: bindings, sources and registers end with it.
    pub(super) fn scoped<T>(&mut self, body: impl FnOnce(&mut Self) -> T) -> T {
        let (dims, sources) = (self.dims.clone(), self.sources.clone());
        let lanes = (self.lanes, self.active);
        self.memo.push(HashMap::new());
        self.loads.push(HashMap::new());
        let result = body(self);
        self.memo.pop();
        self.loads.pop();
        (self.dims, self.sources) = (dims, sources);
        (self.lanes, self.active) = lanes;
        result
    }

    /// A loop. A serial or unrolled loop of one iteration is its body.
    pub(super) fn for_loop(
        &mut self,
        extent: u64,
        kind: LoopKind,
        body: impl FnOnce(&mut Self, Index) -> Eval,
    ) -> Eval {
        if extent == 0 {
            return Ok(());
        }
        if extent == 1 && matches!(kind, LoopKind::Serial | LoopKind::Unrolled) {
            return self.scoped(|cx| body(cx, Index::constant(0)));
        }
        let mut outcome = Ok(());
        let mut b = std::mem::replace(&mut self.b, KernelBuilder::new(String::new()));
        b.for_loop(extent, kind, |b, var| {
            std::mem::swap(b, &mut self.b);
            self.ranges.insert(var, (0, extent as i64 - 1));
            outcome = self.scoped(|cx| body(cx, Index::term(var, 1)));
            std::mem::swap(b, &mut self.b);
        });
        self.b = b;
        outcome
    }

    /// A conditional block.
    pub(super) fn if_then(&mut self, cond: Reg, body: impl FnOnce(&mut Self) -> Eval) -> Eval {
        let mut outcome = Ok(());
        let mut b = std::mem::replace(&mut self.b, KernelBuilder::new(String::new()));
        b.if_then(cond, |b| {
            std::mem::swap(b, &mut self.b);
            outcome = self.scoped(body);
            std::mem::swap(b, &mut self.b);
        });
        self.b = b;
        outcome
    }

    /// Runs `body` over `0..extent` by vectors of `lanes`: its argument is the position of lane 0.
    pub(super) fn vector_loop(
        &mut self,
        extent: u64,
        lanes: u16,
        mut body: impl FnMut(&mut Self, Index) -> Eval,
    ) -> Eval {
        let (whole, rest) = (extent / u64::from(lanes), (extent % u64::from(lanes)) as u16);
        self.for_loop(whole, LoopKind::Serial, |cx, at| {
            (cx.lanes, cx.active) = (lanes, lanes);
            body(cx, Index::default().plus_scaled(&at, i64::from(lanes)))
        })?;
        if rest == 0 {
            return Ok(());
        }
        self.scoped(|cx| {
            (cx.lanes, cx.active) = (lanes, rest);
            body(cx, Index::constant((whole * u64::from(lanes)) as i64))
        })
    }

    /// A loop inside the evaluation of one element.
    pub(super) fn inner_loop(&mut self, extent: u64, body: impl FnOnce(&mut Self, Index) -> Eval) -> Eval {
        let before = self.n_insts();
        let outcome = self.for_loop(extent, LoopKind::Serial, body);
        self.trace.repeated += (self.n_insts() - before) * (extent as usize).saturating_sub(1);
        outcome
    }

    /// Instructions run so far, outside of loops over the iteration space.
    pub(super) fn n_insts(&self) -> usize {
        self.b.kernel().regs.len() + self.trace.repeated
    }

    // Registers.

    /// The register as a vector of `lanes`.
    pub(super) fn promote(&mut self, reg: Reg, lanes: u16) -> Reg {
        let ty = self.b.reg_type(reg);
        match self.constants.get(&reg) {
            _ if ty.lanes == lanes => reg,
            Some(&bits) => self.b.inst(ty.ty, lanes, Inst::Const(bits)),
            None => self.b.splat(reg, lanes),
        }
    }

    /// Registers with the lanes of the widest.
    pub(super) fn promote_all(&mut self, regs: &mut [Reg]) {
        let lanes = regs.iter().map(|&reg| self.b.reg_type(reg).lanes).max().unwrap_or(1);
        for reg in regs {
            *reg = self.promote(*reg, lanes);
        }
    }

    /// The offset as a scalar register.
    pub(super) fn index_reg(&mut self, index: &Index) -> Reg {
        let mut terms = Vec::new();
        for &(reg, stride) in &index.terms {
            let stride_reg = self.b.const_i64(Ty::I64, 1, stride);
            terms.push(if stride == 1 { reg } else { self.b.mul(reg, stride_reg) });
        }
        if index.offset != 0 || terms.is_empty() {
            terms.push(self.b.const_i64(Ty::I64, 1, index.offset));
        }
        let first = terms[0];
        terms[1..].iter().fold(first, |sum, &term| self.b.add(sum, term))
    }

    /// A scalar register as an index of known range.
    pub(super) fn reg_coord(&mut self, reg: Reg, range: Range) -> Affine {
        if range.0 == range.1 {
            return Affine::constant(range.0);
        }
        self.ranges.insert(reg, range);
        Affine::var(Var::Reg(reg))
    }

    /// The index as an integer in a register of type `ty`: a vector if it varies. The dimensions it is made of become
    /// opaque.
    pub(super) fn coord_reg(&mut self, coord: &Affine, ty: Ty) -> Reg {
        self.trace.opaque.extend(coord.dims());
        let (index, lane) = self.resolve(coord);
        let base = self.index_reg(&index);
        let base = self.b.cast(ty, base);
        if lane == 0 {
            return base;
        }
        let lanes = self.lanes;
        let base = self.b.splat(base, lanes);
        let number = self.b.inst(ty, lanes, Inst::LaneIota);
        let step = self.b.const_i64(ty, lanes, lane);
        let offset = if lane == 1 { number } else { self.b.mul(number, step) };
        self.b.add(base, offset)
    }

    /// Notes that the quotient of an index by a small divisor is known among every so many elements of a dimension.
    pub(super) fn note_step(&mut self, coord: &Affine, divisor: i64) {
        let mut rest = coord.terms.iter().filter(|(_, coefficient)| coefficient % divisor != 0);
        if let (Some(&(Var::Dim(dim), coefficient)), None) = (rest.next(), rest.next()) {
            let step = divisor / gcd(coefficient, divisor);
            let known = self.trace.steps.entry(dim as usize).or_insert(1);
            *known = *known / gcd(*known, step) * step;
        }
    }

    /// Quotient and remainder of an index. Where they are not affine this computes them, in scalar registers only.
    pub(super) fn split(&mut self, coord: &Affine, divisor: i64) -> Eval<(Affine, Affine)> {
        if let Some(parts) = coord.split(divisor, &|var| self.range_of(var)) {
            return Ok(parts);
        }
        self.note_step(coord, divisor);
        if !self.is_bound(coord) || self.varies(coord) {
            self.trace.opaque.extend(coord.dims());
            return Err(Stop::Scalar);
        }
        let (low, high) = self.range(coord);
        debug_assert!(low >= 0, "indices are not negative");
        let reg = self.coord_reg(coord, Ty::I64);
        let divisor_reg = self.b.const_i64(Ty::I64, 1, divisor);
        let quotient = self.b.div(reg, divisor_reg);
        let remainder = self.b.binary(BinOp::Rem, reg, divisor_reg);
        Ok((self.reg_coord(quotient, (low / divisor, high / divisor)), self.reg_coord(remainder, (0, divisor - 1))))
    }

    /// The index in each dimension of a dense tensor of `extents` of the element at row-major position `linear`.
    pub(super) fn unflatten(&mut self, linear: Affine, extents: &[usize]) -> Eval<Vec<Affine>> {
        let mut coords = vec![Affine::constant(0); extents.len()];
        let mut rest = linear;
        let wide: Vec<usize> = (0..extents.len()).filter(|&dim| extents[dim] != 1).collect();
        for (position, &dim) in wide.iter().enumerate().rev() {
            if position == 0 {
                coords[dim] = std::mem::take(&mut rest);
            } else {
                let (outer, inner) = self.split(&rest, extents[dim] as i64)?;
                coords[dim] = inner;
                rest = outer;
            }
        }
        Ok(coords)
    }

    /// The index in a tensor of shape `to` of the element at `coords` in one of shape `from` with as many elements.
    pub(super) fn reshape(&mut self, coords: &[Affine], from: &[usize], to: &[usize]) -> Eval<Vec<Affine>> {
        match self.reshape_affine(coords, from, to) {
            Some(moved) => Ok(moved),
            None => self.unflatten(dot(coords, &dense_strides(from)), to),
        }
    }

    /// [`Cx::reshape`] where no quotient has to be computed.
    pub(super) fn reshape_affine(&self, coords: &[Affine], from: &[usize], to: &[usize]) -> Option<Vec<Affine>> {
        // Extents of 1 put in or taken out are by far the most common reshape.
        let wide = |extents: &[usize]| extents.iter().copied().filter(|&extent| extent != 1).collect::<Vec<_>>();
        if wide(from) == wide(to) {
            let mut moved = coords.iter().zip(from).filter(|(_, extent)| **extent != 1).map(|(coord, _)| coord.clone());
            let pick = |&extent: &usize| if extent == 1 { Affine::constant(0) } else { moved.next().expect("as many") };
            return Some(to.iter().map(pick).collect());
        }
        let mut moved = vec![Affine::constant(0); to.len()];
        let mut rest = dot(coords, &dense_strides(from));
        let wide: Vec<usize> = (0..to.len()).filter(|&dim| to[dim] != 1).collect();
        for &dim in wide.iter().skip(1).rev() {
            let (outer, inner) = rest.split(to[dim] as i64, &|var| self.range_of(var))?;
            moved[dim] = inner;
            rest = outer;
        }
        if let Some(&first) = wide.first() {
            moved[first] = rest;
        }
        Some(moved)
    }

    /// Scratch of a thread. Several bodies of one kernel that ask for the same name share the buffer.
    pub(super) fn scratch(&mut self, name: &str, dtype: DType, len: usize, space: Space) -> BufferId {
        let known = self.b.kernel().buffers.iter().position(|buffer| buffer.name == name);
        match known {
            Some(idx) => {
                debug_assert_eq!(self.b.kernel().buffers[idx].len, len, "one name, one size");
                BufferId(idx as u32)
            }
            None => self.b.scratch(name, dtype, len, space),
        }
    }

    // Values.

    /// Says where the elements of a value are, until the scope ends.
    pub(super) fn set_source(&mut self, value: Value, source: Source) {
        self.sources.insert(value, source);
    }

    /// Where the elements of a value are, if they are anywhere.
    pub(super) fn source(&self, value: Value) -> Option<&Source> {
        self.sources.get(&value)
    }

    /// Computes the element of each of `outs` that lies at the row-major position of `coords` in `extents`, then stores
    /// them all: an operand may lie in a result's buffer.
    pub(super) fn evaluate(&mut self, outs: &[(Value, BufferId)], coords: &[Affine], extents: &[usize]) -> Eval {
        let linear = dot(coords, &dense_strides(extents));
        let mut regs = Vec::with_capacity(outs.len());
        for &(value, _) in outs {
            regs.push(match self.reshape_affine(coords, extents, self.region.shape(value)) {
                Some(moved) => self.eval(value, &moved)?,
                None => self.eval_linear(value, &linear)?,
            });
        }
        let place = match self.placement.clone() {
            Some(placement) => self.placed(coords, extents, &placement)?,
            None => linear,
        };
        for (&(_, buffer), reg) in outs.iter().zip(regs) {
            self.store(buffer, place.clone(), reg);
        }
        Ok(())
    }

    /// Row-major position of the element at `coords` of a slice of extents `sizes`.
    fn placed(&mut self, coords: &[Affine], sizes: &[usize], placement: &Placement) -> Eval<Affine> {
        let mut at = Vec::with_capacity(coords.len());
        for (dim, coord) in coords.iter().enumerate() {
            at.push(coord.plus(&dynamic::start(self, placement.starts[dim], placement.extents[dim], sizes[dim])?));
        }
        Ok(dot(&at, &dense_strides(&placement.extents)))
    }

    /// What [`Cx::evaluate`] is about to evaluate, for [`Cx::hoist`].
    pub(super) fn roots(
        &self,
        outs: &[(Value, BufferId)],
        coords: &[Affine],
        extents: &[usize],
    ) -> Vec<(Value, Vec<Affine>)> {
        let root = |&(value, _): &(Value, BufferId)| {
            Some((value, self.reshape_affine(coords, extents, self.region.shape(value))?))
        };
        outs.iter().filter_map(root).collect()
    }

    /// Stores the current element (a scalar, or a vector where `linear` varies).
    pub(super) fn store(&mut self, buffer: BufferId, linear: Affine, reg: Reg) {
        let (index, lane) = self.resolve(&linear);
        let access = self.access(linear);
        self.trace.stores.push((buffer, access));
        if lane == 0 {
            self.b.store_scalar(buffer, index, reg);
        } else {
            let reg = self.promote(reg, self.lanes);
            self.b.store(buffer, index, lane, self.active, reg);
        }
    }

    /// Computes ahead of a loop what `roots` need that does not depend on the dimensions the loop will bind.
    pub(super) fn hoist(&mut self, roots: &[(Value, Vec<Affine>)]) -> Eval {
        let mut seen = HashSet::new();
        let mut pending = roots.to_vec();
        while let Some((value, coords)) = pending.pop() {
            if !seen.insert((value, coords.clone())) {
                continue;
            }
            let op = self.region.op(value);
            if coords.iter().all(|coord| self.is_bound(coord)) {
                // Constants and counters are better made where they are used.
                if !matches!(op, Op::Constant(_) | Op::Iota(_)) && self.is_steady(value) {
                    self.eval(value, &coords)?;
                }
            } else if self.sources.contains_key(&value) {
                // Memory is read inside the loop.
            } else if let Op::DynamicSlice(_) = op {
                pending.extend(self.region.operands(value)[1..].iter().map(|&start| (start, Vec::new())));
            } else if view::is_view(op) {
                // What cannot be hoisted is computed in place, where the fault is reported if it is one.
                pending.extend(view::source_of(self, value, &coords).ok().flatten());
            } else if elementwise::is_elementwise(op) {
                let operands = self.region.operands(value);
                pending.extend(operands.iter().map(|&operand| (operand, coords.clone())));
            }
        }
        Ok(())
    }

    /// Whether all that a value is computed from can be had here: reductions of later levels cannot.
    fn is_steady(&self, value: Value) -> bool {
        let leaf = |value: Value| self.sources.contains_key(&value);
        let slice = self.region.slice(&[value], &leaf);
        slice.iter().all(|&value| leaf(value) || !has_own_kernel(self.region.op(value)))
    }

    /// The register that holds `value` at `coords`: a scalar if the index does not vary with the lane.
    pub(super) fn eval(&mut self, value: Value, coords: &[Affine]) -> Eval<Reg> {
        let key = (value, coords.to_vec());
        if let Some(&reg) = self.memo.iter().rev().find_map(|scope| scope.get(&key)) {
            return Ok(reg);
        }
        let reg = self.compute(value, coords)?;
        self.memo.last_mut().expect("a scope is open").insert(key, reg);
        Ok(reg)
    }

    /// The register that holds the element of `value` at row-major position `linear`. Elementwise values of any shape
    /// are one row to this, so that a reshape costs no arithmetic on indices unless a view lies behind it.
    pub(super) fn eval_linear(&mut self, value: Value, linear: &Affine) -> Eval<Reg> {
        let region = self.region;
        let extents = region.shape(value);
        if extents.len() <= 1 {
            let coords: Vec<Affine> = extents.iter().map(|_| linear.clone()).collect();
            return self.eval(value, &coords);
        }
        let key = (value, vec![linear.clone()]);
        if let Some(&reg) = self.memo.iter().rev().find_map(|scope| scope.get(&key)) {
            return Ok(reg);
        }
        let reg = match (self.sources.get(&value).cloned(), region.op(value)) {
            (Some(Source::Memory(buffer)), _) => self.load_memory(buffer, linear.clone()),
            (None, Op::Reshape(_) | Op::OptimizationBarrier | Op::StopGradient) => {
                self.eval_linear(region.operands(value)[0], linear)?
            }
            (None, Op::Constant(constant)) if constant.splat_value().is_some() => self.compute(value, &[])?,
            (None, op) if elementwise::is_elementwise(op) => {
                self.compute_elementwise(value, |cx, operand| cx.eval_linear(operand, linear))?
            }
            _ => {
                let coords = self.unflatten(linear.clone(), extents)?;
                return self.eval(value, &coords);
            }
        };
        self.memo.last_mut().expect("a scope is open").insert(key, reg);
        Ok(reg)
    }

    fn compute(&mut self, value: Value, coords: &[Affine]) -> Eval<Reg> {
        if let Some(source) = self.sources.get(&value).cloned() {
            return self.load_source(value, coords, &source);
        }
        let region = self.region;
        let op = region.op(value);
        let dtype = region.dtype(value);
        match op {
            Op::Param(_) => Err(Stop::Unsupported("an operand without a buffer".to_string())),
            Op::Constant(constant) => match constant.splat_value() {
                Some(scalar) => Ok(self.scalar_constant(scalar)),
                None => Err(Stop::Unsupported("a dense constant inside a fusion; it must be an operand".to_string())),
            },
            Op::Iota(attrs) => Ok(self.iota(&coords[attrs.dim].clone(), dtype)),
            Op::RngBits(_) => random::eval(self, value, coords),
            Op::ReduceWindow(_) => window::reduce(self, value, coords),
            Op::SelectAndScatter(_) => window::select_and_scatter(self, value, coords),
            op if has_own_kernel(op) => Err(Stop::Materialize(value)),
            _ if view::is_view(op) => view::eval(self, value, coords),
            _ if elementwise::is_elementwise(op) => {
                if elementwise::is_expensive(op) {
                    self.trace.expensive.push((value, coords.to_vec()));
                }
                self.compute_elementwise(value, |cx, operand| cx.eval(operand, coords))
            }
            _ => Err(Stop::Unsupported(format!("{} has no lowering", op.mnemonic()))),
        }
    }

    /// Applies an elementwise op to its operands at the current element.
    fn compute_elementwise(
        &mut self,
        value: Value,
        mut operand_at: impl FnMut(&mut Self, Value) -> Eval<Reg>,
    ) -> Eval<Reg> {
        let region = self.region;
        let operands = region.operands(value);
        let mut regs = Vec::with_capacity(operands.len());
        for &operand in operands {
            regs.push(operand_at(self, operand)?);
        }
        self.promote_all(&mut regs);
        let (op, from, dtype) = (region.op(value), region.dtype(operands[0]), region.dtype(value));
        elementwise::emit(&mut self.b, op, from, dtype, &regs).map_err(Stop::Unsupported)
    }

    pub(super) fn scalar_constant(&mut self, scalar: Scalar) -> Reg {
        let reg = self.b.constant(scalar, 1);
        let bits = match self.b.reg_type(reg).ty {
            Ty::Bool | Ty::U64 | Ty::F64 => scalar.bits,
            Ty::I32 | Ty::U32 => u64::from(scalar.to_i64() as u32),
            Ty::I64 => scalar.to_i64() as u64,
            Ty::F32 => u64::from((scalar.to_f64() as f32).to_bits()),
        };
        self.constants.insert(reg, bits);
        reg
    }

    fn load_source(&mut self, value: Value, coords: &[Affine], source: &Source) -> Eval<Reg> {
        match source {
            Source::Memory(buffer) => {
                Ok(self.load_memory(*buffer, dot(coords, &dense_strides(self.region.shape(value)))))
            }
            Source::Place { coords: at, buffer, index, lane_stride } if at == coords => {
                Ok(self.load(*buffer, index.clone(), *lane_stride))
            }
            Source::Kept { coords: at, buffer, position, scale } if at == coords => {
                let (index, lane) = self.resolve(position);
                let lane = if *scale == 1 { lane } else { 1 };
                Ok(self.load(*buffer, Index::default().plus_scaled(&index, *scale), lane))
            }
            Source::Reg { coords: at, reg } if at == coords => Ok(*reg),
            Source::Place { .. } | Source::Kept { .. } | Source::Reg { .. } => Err(Stop::Materialize(value)),
        }
    }

    fn load_memory(&mut self, buffer: BufferId, linear: Affine) -> Reg {
        let (index, lane) = self.resolve(&linear);
        let access = self.access(linear);
        self.trace.loads.push((buffer, access));
        self.load(buffer, index, lane)
    }

    fn load(&mut self, buffer: BufferId, index: Index, lane_stride: i64) -> Reg {
        let (lanes, active) = if lane_stride == 0 { (1, 1) } else { (self.lanes, self.active) };
        let key = (buffer, index.clone(), lane_stride, active);
        if let Some(&reg) = self.loads.iter().rev().find_map(|scope| scope.get(&key)) {
            return reg;
        }
        let reg = self.b.load(buffer, index, if lanes == 1 { 1 } else { lane_stride }, lanes, active);
        self.loads.last_mut().expect("a scope is open").insert(key, reg);
        reg
    }

    fn iota(&mut self, coord: &Affine, dtype: DType) -> Reg {
        let (_, high) = self.range(coord);
        let counter =
            if high < 1 << 31 && !matches!(Ty::of(dtype), Ty::I64 | Ty::U64) { DType::I32 } else { DType::I64 };
        let number = self.coord_reg(coord, Ty::of(counter));
        elementwise::convert(&mut self.b, number, counter, dtype)
    }

    /// An integer as a position: `i64`, where what is beyond its range saturates.
    pub(super) fn position(&mut self, reg: Reg) -> Reg {
        let RegType { ty, lanes } = self.b.reg_type(reg);
        let reg = if ty == Ty::U64 {
            let most = self.b.const_i64(ty, lanes, i64::MAX);
            self.b.binary(BinOp::Min, reg, most)
        } else {
            reg
        };
        self.b.cast(Ty::I64, reg)
    }

    /// A scalar `i64` register, clamped into a range, as an index.
    pub(super) fn clamp_index(&mut self, reg: Reg, low: i64, high: i64) -> Affine {
        let low_reg = self.b.const_i64(Ty::I64, 1, low);
        let high_reg = self.b.const_i64(Ty::I64, 1, high);
        let raised = self.b.binary(BinOp::Max, reg, low_reg);
        let clamped = self.b.binary(BinOp::Min, raised, high_reg);
        self.reg_coord(clamped, (low, high))
    }
}

/// Whether elements of the op's result are had from memory only, where a kernel of its own has put them.
fn has_own_kernel(op: &Op) -> bool {
    matches!(
        op,
        Op::Reduce(_)
            | Op::DotGeneral(_)
            | Op::Convolution(_)
            | Op::Scatter(_)
            | Op::Cumulative(_)
            | Op::Sort(_)
            | Op::DynamicUpdateSlice
            | Op::Fusion(_)
    )
}

/// Greatest common divisor of two numbers other than 0.
fn gcd(lhs: i64, rhs: i64) -> i64 {
    let (mut lhs, mut rhs) = (lhs.abs(), rhs.abs());
    while rhs != 0 {
        (lhs, rhs) = (rhs, lhs % rhs);
    }
    lhs
}
