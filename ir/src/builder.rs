//! Convenience for building graphs: one method an op, and the broadcasting helpers that rules are written with.
//!
//! A [`Builder`] borrows the graph under construction and stamps a location on every node it adds. Every method
//! checks the op's rules (through [`crate::ops::infer`]) and gives the one result, or a diagnostic at the location.
//!
//! ```
//! use nnc_ir::{Builder, DType, Graph, Location, TensorType};
//!
//! let mut graph = Graph::new();
//! let x = graph.param(TensorType::new(DType::F32, [4]), Location::unknown());
//! let mut b = Builder::new(&mut graph, Location::unknown());
//! let two = b.splat_like(x, 2.0)?;
//! let y = b.multiply(x, two)?;
//! assert_eq!(graph.ty(y), graph.ty(x));
//! # Ok::<(), nnc_ir::Diagnostic>(())
//! ```

use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Location};
use crate::dim::Dim;
use crate::graph::{Graph, Value};
use crate::literal::{Constant, Scalar, TensorData};
use crate::ops::{
    BroadcastAttrs, CompareDir, ConvolutionAttrs, CumulativeAttrs, DotAttrs, FusionKind, GatherAttrs, IotaAttrs, Op,
    PadAttrs, ReduceAttrs, ReduceKind, ReduceWindowAttrs, ScanAttrs, ScatterAttrs, SliceAttrs, SortAttrs,
};
use crate::types::{DType, Shape, TensorType};

/// What every building method gives: the result, or the rule that was broken, at the builder's location.
pub type Built<T = Value> = Result<T, Diagnostic>;

/// Adds nodes to a graph, all at one location.
#[derive(Debug)]
pub struct Builder<'g> {
    graph: &'g mut Graph,
    location: Location,
}

/// One method for each op without attributes, from its operand names.
macro_rules! plain_ops {
    ($( $name:ident => $op:ident ($($operand:ident),+); )*) => {
        $(
            #[doc = concat!("Appends `", stringify!($name), "`: see [`Op::", stringify!($op), "`].")]
            ///
            /// # Errors
            /// The rule of the op that the operands break.
            pub fn $name(&mut self, $($operand: Value),+) -> Built {
                self.op(Op::$op, &[$($operand),+])
            }
        )*
    };
}

/// One method for each direction of `compare`.
macro_rules! compare_ops {
    ($( $name:ident => $dir:ident; )*) => {
        $(
            #[doc = concat!("Appends `compare` with direction `", stringify!($name), "`; the result is `bool`.")]
            ///
            /// # Errors
            /// If the operands differ in type.
            pub fn $name(&mut self, lhs: Value, rhs: Value) -> Built {
                self.compare(CompareDir::$dir, lhs, rhs)
            }
        )*
    };
}

/// One method for each kind of `reduce`.
macro_rules! reduce_ops {
    ($( $name:ident => $kind:ident; )*) => {
        $(
            #[doc = concat!("Appends `reduce` of kind [`ReduceKind::", stringify!($kind), "`] over `dims` (increasing).")]
            ///
            /// # Errors
            /// If `dims` or the element type do not fit.
            pub fn $name(&mut self, operand: Value, dims: &[usize]) -> Built {
                self.reduce(ReduceKind::$kind, operand, dims)
            }
        )*
    };
}

impl<'g> Builder<'g> {
    /// A builder that adds to `graph` at `location`.
    pub fn new(graph: &'g mut Graph, location: Location) -> Self {
        Self { graph, location }
    }

    /// The graph under construction.
    pub fn graph(&self) -> &Graph {
        self.graph
    }

    /// The graph under construction, for what the builder has no method for.
    pub fn graph_mut(&mut self) -> &mut Graph {
        self.graph
    }

    /// The location that new nodes get.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Moves on to another location.
    pub fn set_location(&mut self, location: Location) {
        self.location = location;
    }

    /// Type of `value`.
    pub fn ty(&self, value: Value) -> &TensorType {
        self.graph.ty(value)
    }

    /// Shape of `value`.
    pub fn shape(&self, value: Value) -> &Shape {
        &self.graph.ty(value).shape
    }

    /// Element type of `value`.
    pub fn dtype(&self, value: Value) -> DType {
        self.graph.ty(value).dtype
    }

    /// A fault at the current location.
    pub fn fault(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(self.location.clone(), message)
    }

    /// Appends a parameter. Parameters come before all other nodes.
    pub fn param(&mut self, ty: TensorType) -> Value {
        self.graph.param(ty, self.location.clone())
    }

    /// Appends any op with one result.
    ///
    /// # Errors
    /// The rule of the op that the operands break.
    pub fn op(&mut self, op: Op, operands: &[Value]) -> Built {
        self.graph.op(op, operands, self.location.clone())
    }

    /// Appends any op with nested graphs and gives all its results.
    ///
    /// # Errors
    /// The rule of the op that the operands or regions break.
    pub fn op_with_regions(&mut self, op: Op, operands: &[Value], regions: Vec<Graph>) -> Built<Vec<Value>> {
        let node = self.graph.push_with_regions(op, operands, regions, self.location.clone())?;
        Ok(self.graph.node(node).results().collect())
    }

    plain_ops! {
        negate => Negate(operand);
        abs => Abs(operand);
        sign => Sign(operand);
        exponential => Exponential(operand);
        exponential_minus_one => ExponentialMinusOne(operand);
        log => Log(operand);
        log_plus_one => LogPlusOne(operand);
        sqrt => Sqrt(operand);
        rsqrt => Rsqrt(operand);
        tanh => Tanh(operand);
        logistic => Logistic(operand);
        erf => Erf(operand);
        sine => Sine(operand);
        cosine => Cosine(operand);
        tan => Tan(operand);
        floor => Floor(operand);
        ceil => Ceil(operand);
        round_nearest_even => RoundNearestEven(operand);
        is_finite => IsFinite(operand);
        not => Not(operand);
        optimization_barrier => OptimizationBarrier(operand);
        stop_gradient => StopGradient(operand);
        add => Add(lhs, rhs);
        subtract => Subtract(lhs, rhs);
        multiply => Multiply(lhs, rhs);
        divide => Divide(lhs, rhs);
        remainder => Remainder(lhs, rhs);
        maximum => Maximum(lhs, rhs);
        minimum => Minimum(lhs, rhs);
        power => Power(lhs, rhs);
        atan2 => Atan2(lhs, rhs);
        and => And(lhs, rhs);
        or => Or(lhs, rhs);
        xor => Xor(lhs, rhs);
        shift_left => ShiftLeft(lhs, rhs);
        shift_right_logical => ShiftRightLogical(lhs, rhs);
        shift_right_arithmetic => ShiftRightArithmetic(lhs, rhs);
        select => Select(pred, on_true, on_false);
        clamp => Clamp(min, operand, max);
    }

    compare_ops! {
        eq => Eq;
        ne => Ne;
        lt => Lt;
        le => Le;
        gt => Gt;
        ge => Ge;
    }

    reduce_ops! {
        reduce_sum => Sum;
        reduce_prod => Prod;
        reduce_min => Min;
        reduce_max => Max;
        reduce_any => Any;
        reduce_all => All;
        argmin => ArgMin;
        argmax => ArgMax;
    }

    /// Appends `compare`.
    ///
    /// # Errors
    /// If the operands differ in type.
    pub fn compare(&mut self, dir: CompareDir, lhs: Value, rhs: Value) -> Built {
        self.op(Op::Compare(dir), &[lhs, rhs])
    }

    /// Appends `convert`, or gives `operand` itself if it has the element type already.
    ///
    /// # Errors
    /// None today; kept for uniformity.
    pub fn convert(&mut self, operand: Value, dtype: DType) -> Built {
        if self.dtype(operand) == dtype {
            return Ok(operand);
        }
        self.op(Op::Convert(dtype), &[operand])
    }

    /// Appends `bitcast_convert`.
    ///
    /// # Errors
    /// If the element types differ in size.
    pub fn bitcast_convert(&mut self, operand: Value, dtype: DType) -> Built {
        self.op(Op::BitcastConvert(dtype), &[operand])
    }

    /// Appends `reduce` over `dims` (increasing).
    ///
    /// # Errors
    /// If `dims` or the element type do not fit.
    pub fn reduce(&mut self, kind: ReduceKind, operand: Value, dims: &[usize]) -> Built {
        self.op(Op::Reduce(ReduceAttrs { kind, dims: dims.to_vec() }), &[operand])
    }

    /// Appends `dot_general`.
    ///
    /// # Errors
    /// The rule of the op that is broken.
    pub fn dot(&mut self, lhs: Value, rhs: Value, attrs: DotAttrs) -> Built {
        self.op(Op::DotGeneral(attrs), &[lhs, rhs])
    }

    /// Appends the `dot_general` of `lhs[..., m, k]` and `rhs[..., k, n]` of equal rank, at least 2; all leading
    /// dimensions are batch dimensions.
    ///
    /// # Errors
    /// If ranks or extents do not fit.
    pub fn matmul(&mut self, lhs: Value, rhs: Value) -> Built {
        let rank = self.shape(lhs).rank();
        if rank < 2 || self.shape(rhs).rank() != rank {
            return Err(self.fault(format!(
                "matmul: operands have types {} and {}, expected two matrices of one rank",
                self.ty(lhs),
                self.ty(rhs)
            )));
        }
        let batch: Vec<usize> = (0..rank - 2).collect();
        let attrs = DotAttrs {
            lhs_batch: batch.clone(),
            rhs_batch: batch,
            lhs_contract: vec![rank - 1],
            rhs_contract: vec![rank - 2],
        };
        self.dot(lhs, rhs, attrs)
    }

    /// Appends `convolution`.
    ///
    /// # Errors
    /// The rule of the op that is broken.
    pub fn convolution(&mut self, lhs: Value, rhs: Value, attrs: ConvolutionAttrs) -> Built {
        self.op(Op::Convolution(attrs), &[lhs, rhs])
    }

    /// Appends `gather`.
    ///
    /// # Errors
    /// The rule of the op that is broken.
    pub fn gather(&mut self, operand: Value, indices: Value, attrs: GatherAttrs) -> Built {
        self.op(Op::Gather(attrs), &[operand, indices])
    }

    /// Appends `scatter`.
    ///
    /// # Errors
    /// The rule of the op that is broken.
    pub fn scatter(&mut self, operand: Value, indices: Value, updates: Value, attrs: ScatterAttrs) -> Built {
        self.op(Op::Scatter(attrs), &[operand, indices, updates])
    }

    /// Appends `cumulative`.
    ///
    /// # Errors
    /// The rule of the op that is broken.
    pub fn cumulative(&mut self, operand: Value, attrs: CumulativeAttrs) -> Built {
        self.op(Op::Cumulative(attrs), &[operand])
    }

    /// Appends `sort` and gives the sorted first input and the other inputs permuted alike.
    ///
    /// # Errors
    /// The rule of the op that is broken.
    pub fn sort(&mut self, inputs: &[Value], attrs: SortAttrs) -> Built<Vec<Value>> {
        self.op_with_regions(Op::Sort(attrs), inputs, Vec::new())
    }

    /// Appends `reduce_window`.
    ///
    /// # Errors
    /// The rule of the op that is broken.
    pub fn reduce_window(&mut self, operand: Value, attrs: ReduceWindowAttrs) -> Built {
        self.op(Op::ReduceWindow(attrs), &[operand])
    }

    /// Appends `select_and_scatter`.
    ///
    /// # Errors
    /// The rule of the op that is broken.
    pub fn select_and_scatter(&mut self, operand: Value, source: Value, attrs: ReduceWindowAttrs) -> Built {
        self.op(Op::SelectAndScatter(attrs), &[operand, source])
    }

    /// Appends a `fusion` of `region` applied to `inputs` and gives its results.
    ///
    /// # Errors
    /// If the inputs do not fit the region's parameters.
    pub fn fusion(&mut self, kind: FusionKind, inputs: &[Value], region: Graph) -> Built<Vec<Value>> {
        self.op_with_regions(Op::Fusion(kind), inputs, vec![region])
    }

    /// Appends a `scan` of `body` over `inputs`, the carried, the scanned, then the invariant ones, and gives the last
    /// carries and the stacked outputs.
    ///
    /// # Errors
    /// The rule of the op that is broken.
    pub fn scan(&mut self, inputs: &[Value], attrs: ScanAttrs, body: Graph) -> Built<Vec<Value>> {
        self.op_with_regions(Op::Scan(attrs), inputs, vec![body])
    }

    /// Appends a `cond`: the first input, `bool[]`, chooses between two graphs of the others.
    ///
    /// # Errors
    /// The rule of the op that is broken.
    pub fn cond(&mut self, inputs: &[Value], on_true: Graph, on_false: Graph) -> Built<Vec<Value>> {
        self.op_with_regions(Op::Cond, inputs, vec![on_true, on_false])
    }

    /// Appends a `while` that repeats `body` on the inputs as long as `condition` holds.
    ///
    /// # Errors
    /// The rule of the op that is broken.
    pub fn while_loop(&mut self, inputs: &[Value], condition: Graph, body: Graph) -> Built<Vec<Value>> {
        self.op_with_regions(Op::While, inputs, vec![condition, body])
    }
}

/// Leaves: constants, counters and random bits.
impl Builder<'_> {
    /// Appends a constant.
    pub fn constant(&mut self, constant: Constant) -> Value {
        self.op(Op::Constant(constant), &[]).expect("a constant has no rule to break")
    }

    /// Appends the constant of type `ty` whose every element is `value` rounded to the element type.
    ///
    /// # Errors
    /// None today; kept for uniformity.
    pub fn splat(&mut self, ty: TensorType, value: f64) -> Built {
        let value = Scalar::from_f64(ty.dtype, value);
        Ok(self.constant(Constant::Splat { ty, value }))
    }

    /// [`Builder::splat`] of the type of `like`.
    ///
    /// # Errors
    /// None today; kept for uniformity.
    pub fn splat_like(&mut self, like: Value, value: f64) -> Built {
        self.splat(self.ty(like).clone(), value)
    }

    /// A scalar constant.
    ///
    /// # Errors
    /// None today; kept for uniformity.
    pub fn scalar(&mut self, dtype: DType, value: f64) -> Built {
        self.splat(TensorType::scalar(dtype), value)
    }

    /// Zeros of the type of `like`.
    ///
    /// # Errors
    /// None today; kept for uniformity.
    pub fn zeros_like(&mut self, like: Value) -> Built {
        self.splat_like(like, 0.0)
    }

    /// Ones of the type of `like`.
    ///
    /// # Errors
    /// None today; kept for uniformity.
    pub fn ones_like(&mut self, like: Value) -> Built {
        self.splat_like(like, 1.0)
    }

    /// Appends a dense constant.
    ///
    /// # Errors
    /// None today; kept for uniformity.
    pub fn tensor(&mut self, data: TensorData) -> Built {
        Ok(self.constant(Constant::Dense { data, name: None }))
    }

    /// Appends a weight: a dense constant that the text format keeps in the `.safetensors` file.
    ///
    /// # Errors
    /// None today; kept for uniformity.
    pub fn weight(&mut self, name: impl Into<Arc<str>>, data: TensorData) -> Built {
        Ok(self.constant(Constant::Dense { data, name: Some(name.into()) }))
    }

    /// Appends `iota`: counts along `dim`.
    ///
    /// # Errors
    /// If `dim` is out of range or the element type is `bool`.
    pub fn iota(&mut self, ty: TensorType, dim: usize) -> Built {
        self.op(Op::Iota(IotaAttrs { ty, dim }), &[])
    }

    /// Appends `rng_bits` of the given shape from a `u32[4]` state.
    ///
    /// # Errors
    /// If the state has another type.
    pub fn rng_bits(&mut self, state: Value, shape: impl Into<Shape>) -> Built {
        self.op(Op::RngBits(shape.into()), &[state])
    }
}

/// Movement and broadcasting.
impl Builder<'_> {
    /// Appends `reshape`, or gives `operand` itself if it has the shape already.
    ///
    /// # Errors
    /// If the number of elements differs.
    pub fn reshape(&mut self, operand: Value, shape: impl Into<Shape>) -> Built {
        let shape = shape.into();
        if *self.shape(operand) == shape {
            return Ok(operand);
        }
        self.op(Op::Reshape(shape), &[operand])
    }

    /// Appends `transpose`, or gives `operand` itself if nothing moves.
    ///
    /// # Errors
    /// If `permutation` does not fit the rank.
    pub fn transpose(&mut self, operand: Value, permutation: &[usize]) -> Built {
        if permutation.len() == self.shape(operand).rank() && permutation.iter().enumerate().all(|(at, &dim)| at == dim)
        {
            return Ok(operand);
        }
        self.op(Op::Transpose(permutation.to_vec()), &[operand])
    }

    /// Appends `broadcast_in_dim`: operand dimension `i` becomes result dimension `dims[i]`. Gives `operand` itself
    /// if nothing changes.
    ///
    /// # Errors
    /// If `dims` or the extents do not fit.
    pub fn broadcast_in_dim(&mut self, operand: Value, shape: impl Into<Shape>, dims: &[usize]) -> Built {
        let shape = shape.into();
        if *self.shape(operand) == shape && dims.iter().copied().eq(0..shape.rank()) {
            return Ok(operand);
        }
        self.op(Op::BroadcastInDim(BroadcastAttrs { shape, dims: dims.to_vec() }), &[operand])
    }

    /// Repeats a scalar over `shape`.
    ///
    /// # Errors
    /// If `scalar` has dimensions.
    pub fn broadcast_scalar(&mut self, scalar: Value, shape: impl Into<Shape>) -> Built {
        self.broadcast_in_dim(scalar, shape, &[])
    }

    /// Broadcasts as NumPy does: dimensions are aligned at the end, and extents of 1 stretch.
    ///
    /// # Errors
    /// If an extent is neither 1 nor that of `shape`, or the rank is larger.
    pub fn broadcast_to(&mut self, operand: Value, shape: impl Into<Shape>) -> Built {
        let shape = shape.into();
        let rank = self.shape(operand).rank();
        let Some(offset) = shape.rank().checked_sub(rank) else {
            return Err(self
                .fault(format!("broadcast: operand has type {}, which has more dimensions than {shape}", {
                    self.ty(operand)
                })));
        };
        let dims: Vec<usize> = (offset..shape.rank()).collect();
        self.broadcast_in_dim(operand, shape, &dims)
    }

    /// Broadcasts two values to their common shape, as NumPy does.
    ///
    /// # Errors
    /// If the shapes have none: see [`broadcast_shapes`].
    pub fn broadcast_pair(&mut self, lhs: Value, rhs: Value) -> Built<(Value, Value)> {
        let shape = broadcast_shapes(self.shape(lhs), self.shape(rhs)).map_err(|message| self.fault(message))?;
        Ok((self.broadcast_to(lhs, shape.clone())?, self.broadcast_to(rhs, shape)?))
    }

    /// Puts back dimensions that a reduction over `dims` (increasing) took from `shape`, repeating `operand` along
    /// them: the adjoint of a sum.
    ///
    /// # Errors
    /// If `operand` has not the shape of the reduction's result.
    pub fn broadcast_reduced(&mut self, operand: Value, shape: impl Into<Shape>, dims: &[usize]) -> Built {
        let shape = shape.into();
        let kept: Vec<usize> = (0..shape.rank()).filter(|dim| !dims.contains(dim)).collect();
        self.broadcast_in_dim(operand, shape, &kept)
    }

    /// Sums `operand` down to `shape`, undoing a broadcast by [`Builder::broadcast_to`]: the adjoint of a broadcast.
    ///
    /// # Errors
    /// If `shape` could not have been broadcast to the operand's.
    pub fn sum_to(&mut self, operand: Value, shape: impl Into<Shape>) -> Built {
        let shape = shape.into();
        let from = self.shape(operand).clone();
        if from == shape {
            return Ok(operand);
        }
        let Some(offset) = from.rank().checked_sub(shape.rank()) else {
            return Err(self.fault(format!("reduce: cannot sum {} down to {shape}", self.ty(operand))));
        };
        let stretched = |dim: usize| dim < offset || (shape[dim - offset] == Dim::from(1) && from[dim] != Dim::from(1));
        let dims: Vec<usize> = (0..from.rank()).filter(|&dim| stretched(dim)).collect();
        let summed = if dims.is_empty() { operand } else { self.reduce_sum(operand, &dims)? };
        self.reshape(summed, shape)
    }

    /// Appends `reduce` and keeps the folded dimensions with extent 1.
    ///
    /// # Errors
    /// As for [`Builder::reduce`].
    pub fn reduce_keep_dims(&mut self, kind: ReduceKind, operand: Value, dims: &[usize]) -> Built {
        let mut shape = self.shape(operand).clone();
        let reduced = self.reduce(kind, operand, dims)?;
        for &dim in dims {
            shape.0[dim] = Dim::from(1);
        }
        self.reshape(reduced, shape)
    }

    /// Appends `slice`, or gives `operand` itself if nothing is cut.
    ///
    /// # Errors
    /// If the bounds do not fit.
    pub fn slice(&mut self, operand: Value, attrs: SliceAttrs) -> Built {
        let whole = attrs.start.iter().all(|start| *start == Dim::from(0))
            && attrs.limit == self.shape(operand).0
            && attrs.stride.iter().all(|&stride| stride == 1)
            && attrs.start.len() == attrs.limit.len()
            && attrs.stride.len() == attrs.limit.len();
        if whole {
            return Ok(operand);
        }
        self.op(Op::Slice(attrs), &[operand])
    }

    /// Slices one dimension, `start..limit` by 1, and keeps the others whole.
    ///
    /// # Errors
    /// If `dim` or the bounds do not fit.
    pub fn slice_dim(&mut self, operand: Value, dim: usize, start: impl Into<Dim>, limit: impl Into<Dim>) -> Built {
        let shape = self.shape(operand).clone();
        if dim >= shape.rank() {
            return Err(self.fault(format!("slice: dim {dim} is out of range for operand type {}", self.ty(operand))));
        }
        let mut attrs =
            SliceAttrs { start: vec![Dim::from(0); shape.rank()], stride: vec![1; shape.rank()], limit: shape.0 };
        attrs.start[dim] = start.into();
        attrs.limit[dim] = limit.into();
        self.slice(operand, attrs)
    }

    /// Appends `pad` with the scalar `value`.
    ///
    /// # Errors
    /// If the amounts do not fit.
    pub fn pad(&mut self, operand: Value, value: Value, attrs: PadAttrs) -> Built {
        self.op(Op::Pad(attrs), &[operand, value])
    }

    /// Appends `concatenate` along `dim`, or gives the input itself if there is only one.
    ///
    /// # Errors
    /// If the inputs differ elsewhere than in `dim`.
    pub fn concatenate(&mut self, inputs: &[Value], dim: usize) -> Built {
        if let &[input] = inputs
            && dim < self.shape(input).rank()
        {
            return Ok(input);
        }
        self.op(Op::Concatenate(dim), inputs)
    }

    /// Appends `reverse` along `dims`.
    ///
    /// # Errors
    /// If `dims` does not fit.
    pub fn reverse(&mut self, operand: Value, dims: &[usize]) -> Built {
        self.op(Op::Reverse(dims.to_vec()), &[operand])
    }

    /// Appends `dynamic_slice` of extents `sizes` at the scalars `starts`, one a dimension.
    ///
    /// # Errors
    /// The rule of the op that is broken.
    pub fn dynamic_slice(&mut self, operand: Value, starts: &[Value], sizes: impl Into<Shape>) -> Built {
        self.op(Op::DynamicSlice(sizes.into()), &[&[operand], starts].concat())
    }

    /// Appends `dynamic_update_slice` of `update` at the scalars `starts`, one a dimension.
    ///
    /// # Errors
    /// The rule of the op that is broken.
    pub fn dynamic_update_slice(&mut self, operand: Value, update: Value, starts: &[Value]) -> Built {
        self.op(Op::DynamicUpdateSlice, &[&[operand, update], starts].concat())
    }
}

/// The shape that two shapes broadcast to, as NumPy does: aligned at the end, extents equal or one of them 1.
///
/// # Errors
/// The first pair of extents that does not fit.
pub fn broadcast_shapes(lhs: &Shape, rhs: &Shape) -> Result<Shape, String> {
    let rank = lhs.rank().max(rhs.rank());
    let extent = |shape: &Shape, from_end: usize| match shape.rank().checked_sub(from_end) {
        Some(dim) => shape[dim].clone(),
        None => Dim::from(1),
    };
    let mut dims = Vec::with_capacity(rank);
    for from_end in (1..=rank).rev() {
        dims.push(match (extent(lhs, from_end), extent(rhs, from_end)) {
            (lhs_extent, rhs_extent) if lhs_extent == rhs_extent => lhs_extent,
            (lhs_extent, Dim::Const(1)) => lhs_extent,
            (Dim::Const(1), rhs_extent) => rhs_extent,
            (lhs_extent, rhs_extent) => {
                return Err(format!(
                    "shapes {lhs} and {rhs} cannot be broadcast together: {lhs_extent} meets {rhs_extent}"
                ));
            }
        });
    }
    Ok(Shape(dims))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(types: &[TensorType]) -> (Graph, Vec<Value>) {
        let mut graph = Graph::new();
        let values = types.iter().map(|ty| graph.param(ty.clone(), Location::unknown())).collect();
        (graph, values)
    }

    fn f32s(extents: &[usize]) -> TensorType {
        TensorType::new(DType::F32, Shape::fixed(extents))
    }

    #[test]
    fn broadcasting_follows_numpy() {
        let shape = |dims: &[&str]| {
            Shape(dims.iter().map(|dim| dim.parse().map_or_else(|_| Dim::symbol(*dim), Dim::Const)).collect())
        };
        let check = |lhs: &[&str], rhs: &[&str], expected: &[&str]| {
            assert_eq!(broadcast_shapes(&shape(lhs), &shape(rhs)), Ok(shape(expected)));
        };
        check(&["N", "1", "3"], &["4", "1"], &["N", "4", "3"]);
        check(&[], &["N"], &["N"]);
        check(&["0"], &["1"], &["0"]);
        assert!(broadcast_shapes(&shape(&["N"]), &shape(&["M"])).is_err());
        assert!(broadcast_shapes(&shape(&["2"]), &shape(&["0"])).is_err());
    }

    #[test]
    fn sum_to_undoes_broadcast_to() {
        let (mut graph, values) = params(&[f32s(&[3, 1])]);
        let mut b = Builder::new(&mut graph, Location::unknown());
        let wide = b.broadcast_to(values[0], [2, 3, 4]).expect("fits");
        let back = b.sum_to(wide, [3, 1]).expect("fits");
        assert_eq!(graph.ty(back), &f32s(&[3, 1]));
        assert_eq!(graph.n_nodes(), 4, "param, broadcast, one reduce, reshape");
    }

    #[test]
    fn no_node_is_made_for_nothing() {
        let (mut graph, values) = params(&[f32s(&[3, 1])]);
        let x = values[0];
        let mut b = Builder::new(&mut graph, Location::unknown());
        assert_eq!(b.reshape(x, [3, 1]), Ok(x));
        assert_eq!(b.transpose(x, &[0, 1]), Ok(x));
        assert_eq!(b.broadcast_to(x, [3, 1]), Ok(x));
        assert_eq!(b.sum_to(x, [3, 1]), Ok(x));
        assert_eq!(b.convert(x, DType::F32), Ok(x));
        assert_eq!(b.slice_dim(x, 0, 0, 3), Ok(x));
        assert_eq!(b.concatenate(&[x], 1), Ok(x));
        assert_eq!(graph.n_nodes(), 1);
    }

    #[test]
    fn faults_name_op_operand_and_types() {
        let (mut graph, values) = params(&[f32s(&[4]), f32s(&[2])]);
        let mut b = Builder::new(&mut graph, Location::at("model.rs", 3, 9));
        let fault = b.add(values[0], values[1]).expect_err("types differ");
        assert_eq!(fault.to_string(), "model.rs:3:9: add: operand `rhs` has type f32[2], expected f32[4] as `lhs`");
    }
}
