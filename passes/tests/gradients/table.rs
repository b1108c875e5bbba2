//! The cases: for each op with a gradient, functions and points where it is differentiable twice.

use nnc_ir::builder::Built;
use nnc_ir::ops::{
    Combiner, ConvolutionAttrs, CumulativeAttrs, DotAttrs, GatherAttrs, PadAttrs, ReduceKind, ReduceWindowAttrs,
    ScatterAttrs, SliceAttrs, SortAttrs,
};
use nnc_ir::{Builder, DType, Dim, TensorData, Value};

/// A function of `f64` tensors and where to differentiate it.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) inputs: Vec<TensorData>,
    pub(crate) build: Build,
}

/// Builds the function's result from its parameters.
pub(crate) type Build = Box<dyn Fn(&mut Builder<'_>, &[Value]) -> Built>;

/// One input: its shape, and where its elements lie.
type Input<'a> = (&'a [usize], Elements<'a>);

enum Elements<'a> {
    /// Spread over the interval without order, no two alike.
    Within(f64, f64),
    /// As listed.
    Exactly(&'a [f64]),
}
use Elements::{Exactly, Within};

/// A `f64` tensor of elements spread over `low..high`, different for each `seed`.
pub(crate) fn spread(shape: &[usize], low: f64, high: f64, seed: usize) -> TensorData {
    let n_elements = shape.iter().product();
    // Multiples of the golden ratio modulo 1 fill an interval evenly and never repeat.
    let unit = |idx: usize| ((idx + 1) as f64 * 0.618_033_988_749_895 + seed as f64 * 0.377).fract();
    let values: Vec<u8> = (0..n_elements).flat_map(|idx| (low + (high - low) * unit(idx)).to_le_bytes()).collect();
    TensorData::new(DType::F64, shape.to_vec(), values)
}

/// A `f64` tensor of the given elements.
pub(crate) fn f64s(shape: &[usize], values: &[f64]) -> TensorData {
    TensorData::new(DType::F64, shape.to_vec(), values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())
}

fn case(
    name: &'static str,
    inputs: &[Input<'_>],
    build: impl Fn(&mut Builder<'_>, &[Value]) -> Built + 'static,
) -> Case {
    let inputs = inputs.iter().enumerate().map(|(seed, (shape, elements))| match elements {
        Within(low, high) => spread(shape, *low, *high, seed),
        Exactly(values) => f64s(shape, values),
    });
    Case { name, inputs: inputs.collect(), build: Box::new(build) }
}

/// Every case. A test checks that together they use every op that has a gradient.
pub(crate) fn cases() -> Vec<Case> {
    [
        elementwise(),
        movement(),
        reductions(),
        contractions(),
        convolutions(),
        indexing(),
        windows(),
        orders(),
        compositions(),
        crate::control::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn elementwise() -> Vec<Case> {
    vec![
        case("negate", &[(&[3], Within(-2.0, 2.0))], |b, x| b.negate(x[0])),
        case("abs", &[(&[4], Exactly(&[-2.0, -0.1, 0.3, 5.0]))], |b, x| b.abs(x[0])),
        case("exponential", &[(&[2, 3], Within(-2.0, 2.0))], |b, x| b.exponential(x[0])),
        case("exponential_minus_one", &[(&[4], Within(-1.0, 1.0))], |b, x| b.exponential_minus_one(x[0])),
        case("log", &[(&[4], Within(0.3, 3.0))], |b, x| b.log(x[0])),
        case("log_plus_one", &[(&[4], Within(-0.6, 2.0))], |b, x| b.log_plus_one(x[0])),
        case("sqrt", &[(&[4], Within(0.3, 3.0))], |b, x| b.sqrt(x[0])),
        case("rsqrt", &[(&[4], Within(0.3, 3.0))], |b, x| b.rsqrt(x[0])),
        case("tanh", &[(&[5], Within(-2.0, 2.0))], |b, x| b.tanh(x[0])),
        case("logistic", &[(&[5], Within(-4.0, 4.0))], |b, x| b.logistic(x[0])),
        case("erf", &[(&[5], Within(-2.0, 2.0))], |b, x| b.erf(x[0])),
        case("sine", &[(&[5], Within(-4.0, 4.0))], |b, x| b.sine(x[0])),
        case("cosine", &[(&[5], Within(-4.0, 4.0))], |b, x| b.cosine(x[0])),
        case("tan", &[(&[5], Within(-1.2, 1.2))], |b, x| b.tan(x[0])),
        case("add", &[(&[4], Within(-1.0, 1.0)), (&[4], Within(-1.0, 1.0))], |b, x| b.add(x[0], x[1])),
        case("subtract", &[(&[4], Within(-1.0, 1.0)), (&[4], Within(-1.0, 1.0))], |b, x| b.subtract(x[0], x[1])),
        case("multiply", &[(&[4], Within(-1.0, 1.0)), (&[4], Within(-1.0, 1.0))], |b, x| b.multiply(x[0], x[1])),
        case("square of a value used twice", &[(&[4], Within(-1.0, 1.0))], |b, x| b.multiply(x[0], x[0])),
        case("divide", &[(&[4], Within(-1.0, 1.0)), (&[4], Within(0.5, 2.0))], |b, x| b.divide(x[0], x[1])),
        case(
            "remainder",
            &[(&[4], Exactly(&[7.3, -7.3, 1.1, 5.9])), (&[4], Exactly(&[2.0, 2.5, 3.0, -1.7]))],
            |b, x| b.remainder(x[0], x[1]),
        ),
        case("maximum", &[(&[4], Within(-1.0, 1.0)), (&[4], Within(-1.0, 1.0))], |b, x| b.maximum(x[0], x[1])),
        case("minimum", &[(&[4], Within(-1.0, 1.0)), (&[4], Within(-1.0, 1.0))], |b, x| b.minimum(x[0], x[1])),
        case("relu", &[(&[6], Within(-1.0, 1.0))], |b, x| {
            let zero = b.zeros_like(x[0])?;
            b.maximum(x[0], zero)
        }),
        case("power", &[(&[4], Within(0.4, 2.0)), (&[4], Within(-1.5, 2.5))], |b, x| b.power(x[0], x[1])),
        case("power with a literal exponent", &[(&[4], Within(-2.0, 2.0))], |b, x| {
            let three = b.splat_like(x[0], 3.0)?;
            b.power(x[0], three)
        }),
        case("square as a power", &[(&[4], Within(-2.0, 2.0))], |b, x| {
            let two = b.splat_like(x[0], 2.0)?;
            b.power(x[0], two)
        }),
        case("atan2", &[(&[4], Within(-2.0, 2.0)), (&[4], Within(-2.0, 2.0))], |b, x| b.atan2(x[0], x[1])),
        case("select", &[(&[6], Within(-1.0, 1.0)), (&[6], Within(-1.0, 1.0))], |b, x| {
            let pred = b.lt(x[0], x[1])?;
            let square = b.multiply(x[0], x[0])?;
            b.select(pred, square, x[1])
        }),
        case(
            "clamp",
            &[
                (&[5], Exactly(&[-1.0, -1.0, -1.0, 1.0, 2.0])),
                (&[5], Exactly(&[-2.0, 0.0, 2.0, 0.0, 3.0])),
                (&[5], Exactly(&[1.0, 1.0, 1.0, -1.0, -1.0])),
            ],
            |b, x| b.clamp(x[0], x[1], x[2]),
        ),
        // These elements and the finite differences' steps from them are exact in f32.
        case("convert", &[(&[4], Exactly(&[0.5, -0.25, 0.75, -1.0]))], |b, x| {
            let narrow = b.convert(x[0], DType::F32)?;
            let wide = b.convert(narrow, DType::F64)?;
            b.multiply(wide, x[0])
        }),
        case("optimization_barrier", &[(&[4], Within(-1.0, 1.0))], |b, x| {
            let barrier = b.optimization_barrier(x[0])?;
            b.multiply(barrier, x[0])
        }),
    ]
}

fn movement() -> Vec<Case> {
    vec![
        case("reshape", &[(&[2, 6], Within(-1.0, 1.0))], |b, x| b.reshape(x[0], [3, 4])),
        case("transpose", &[(&[2, 3, 4], Within(-1.0, 1.0))], |b, x| b.transpose(x[0], &[2, 0, 1])),
        case("broadcast_in_dim", &[(&[3, 1], Within(-1.0, 1.0))], |b, x| b.broadcast_in_dim(x[0], [2, 3, 4], &[1, 2])),
        case("broadcast of a scalar", &[(&[], Within(-1.0, 1.0))], |b, x| b.broadcast_scalar(x[0], [2, 3])),
        case("slice", &[(&[7, 6], Within(-1.0, 1.0))], |b, x| {
            let dims = |extents: [usize; 2]| extents.map(Dim::from).to_vec();
            b.slice(x[0], SliceAttrs { start: dims([1, 2]), limit: dims([7, 5]), stride: vec![2, 1] })
        }),
        case("slice of nothing", &[(&[3], Within(-1.0, 1.0))], |b, x| {
            let empty = b.slice_dim(x[0], 0, 2, 2)?;
            b.concatenate(&[empty, x[0]], 0)
        }),
        case("pad", &[(&[3, 4], Within(-1.0, 1.0)), (&[], Within(-1.0, 1.0))], |b, x| {
            b.pad(x[0], x[1], PadAttrs { low: vec![2, 0], high: vec![1, 3], interior: vec![0, 2] })
        }),
        case("pad that crops", &[(&[4, 5], Within(-1.0, 1.0)), (&[], Within(-1.0, 1.0))], |b, x| {
            b.pad(x[0], x[1], PadAttrs { low: vec![-1, 2], high: vec![1, -3], interior: vec![1, 1] })
        }),
        case("concatenate", &[(&[2, 3], Within(-1.0, 1.0)), (&[2, 1], Within(-1.0, 1.0))], |b, x| {
            b.concatenate(&[x[0], x[1], x[0]], 1)
        }),
        case("reverse", &[(&[2, 3, 2], Within(-1.0, 1.0))], |b, x| b.reverse(x[0], &[0, 2])),
    ]
}

fn reductions() -> Vec<Case> {
    vec![
        case("reduce sum", &[(&[2, 3, 4], Within(-1.0, 1.0))], |b, x| b.reduce_sum(x[0], &[0, 2])),
        case("reduce sum over nothing", &[(&[2, 3], Within(-1.0, 1.0))], |b, x| b.reduce_sum(x[0], &[])),
        case("reduce prod", &[(&[2, 3, 2], Within(-1.5, 1.5))], |b, x| b.reduce_prod(x[0], &[0, 2])),
        case("reduce prod of one", &[(&[3, 1], Within(-1.5, 1.5))], |b, x| b.reduce_prod(x[0], &[1])),
        case(
            "reduce prod with zeros",
            &[(&[3, 4], Exactly(&[0.0, 2.0, 3.0, -1.0, 0.0, 0.0, 1.5, 2.0, 0.5, 3.0, 2.0, 0.0]))],
            |b, x| b.reduce_prod(x[0], &[1]),
        ),
        case("reduce min", &[(&[4, 3], Within(-1.0, 1.0))], |b, x| b.reduce_min(x[0], &[0])),
        case("reduce max", &[(&[4, 3], Within(-1.0, 1.0))], |b, x| b.reduce_max(x[0], &[1])),
    ]
}

fn contractions() -> Vec<Case> {
    let dot = |name,
               lhs: &[usize],
               rhs: &[usize],
               lhs_batch: &[usize],
               rhs_batch: &[usize],
               lhs_k: &[usize],
               rhs_k: &[usize]| {
        let attrs = DotAttrs {
            lhs_batch: lhs_batch.to_vec(),
            rhs_batch: rhs_batch.to_vec(),
            lhs_contract: lhs_k.to_vec(),
            rhs_contract: rhs_k.to_vec(),
        };
        case(name, &[(lhs, Within(-1.0, 1.0)), (rhs, Within(-1.0, 1.0))], move |b, x| b.dot(x[0], x[1], attrs.clone()))
    };
    vec![
        dot("matrix product", &[2, 3], &[3, 4], &[], &[], &[1], &[0]),
        dot("product with a transposed matrix", &[2, 3], &[4, 3], &[], &[], &[1], &[1]),
        dot("product of a transposed matrix", &[3, 2], &[3, 4], &[], &[], &[0], &[0]),
        dot("inner product", &[5], &[5], &[], &[], &[0], &[0]),
        dot("outer product", &[2], &[3], &[], &[], &[], &[]),
        dot("matrix by vector", &[2, 3], &[3], &[], &[], &[1], &[0]),
        dot("batched", &[2, 3, 4], &[2, 4, 5], &[0], &[0], &[2], &[1]),
        dot("batch in the middle", &[3, 2, 4], &[4, 5, 2], &[1], &[2], &[2], &[0]),
        dot(
            "two batches, two contracted, crossed",
            &[2, 3, 4, 5, 2],
            &[5, 3, 2, 4, 3],
            &[1, 0],
            &[1, 2],
            &[3, 2],
            &[0, 3],
        ),
        case("square of a matrix", &[(&[3, 3], Within(-1.0, 1.0))], |b, x| b.matmul(x[0], x[0])),
    ]
}

fn convolutions() -> Vec<Case> {
    let plain = ConvolutionAttrs::plain;
    let conv = |name: &'static str, image: &[usize], kernel: &[usize], attrs: ConvolutionAttrs| {
        case(name, &[(image, Within(-1.0, 1.0)), (kernel, Within(-1.0, 1.0))], move |b, x| {
            b.convolution(x[0], x[1], attrs.clone())
        })
    };
    vec![
        conv("convolution", &[2, 2, 4, 3], &[3, 2, 2, 2], plain(2)),
        conv(
            "convolution in steps over padding",
            &[1, 2, 6, 5],
            &[2, 2, 3, 2],
            ConvolutionAttrs { stride: vec![2, 3], padding: vec![(1, 1), (2, 0)], ..plain(2) },
        ),
        conv(
            "convolution that leaves elements out",
            &[1, 1, 8],
            &[2, 1, 2],
            ConvolutionAttrs { stride: vec![4], padding: vec![(0, 1)], ..plain(1) },
        ),
        conv(
            "convolution of a cropped image",
            &[1, 1, 7],
            &[1, 1, 2],
            ConvolutionAttrs { padding: vec![(-2, -1)], stride: vec![2], ..plain(1) },
        ),
        conv(
            "convolution of groups",
            &[2, 4, 4],
            &[6, 2, 2],
            ConvolutionAttrs { groups: 2, padding: vec![(1, 0)], ..plain(1) },
        ),
        conv(
            "depthwise convolution",
            &[1, 3, 3, 3],
            &[3, 1, 2, 2],
            ConvolutionAttrs { groups: 3, stride: vec![1, 2], ..plain(2) },
        ),
        conv(
            "convolution with a spread kernel",
            &[1, 2, 7],
            &[2, 2, 3],
            ConvolutionAttrs { rhs_dilation: vec![2], padding: vec![(2, 1)], stride: vec![2], ..plain(1) },
        ),
        conv(
            "convolution of a spread image",
            &[1, 2, 3, 2],
            &[2, 2, 3, 2],
            ConvolutionAttrs { lhs_dilation: vec![2, 3], padding: vec![(2, 1), (0, 1)], ..plain(2) },
        ),
        conv(
            "convolution of all at once",
            &[2, 4, 5],
            &[4, 2, 2],
            ConvolutionAttrs {
                stride: vec![3],
                padding: vec![(3, -1)],
                lhs_dilation: vec![2],
                rhs_dilation: vec![3],
                groups: 2,
            },
        ),
        conv(
            "convolution in three dimensions",
            &[1, 1, 2, 3, 2],
            &[2, 1, 2, 2, 1],
            ConvolutionAttrs { padding: vec![(0, 1), (0, 0), (1, 0)], ..plain(3) },
        ),
    ]
}

fn windows() -> Vec<Case> {
    let attrs = |kind, window: [usize; 2], stride: [usize; 2], dilation: [usize; 2], padding: [(i64, i64); 2]| {
        let (window, stride) = (window.to_vec(), stride.to_vec());
        ReduceWindowAttrs { kind, window, stride, dilation: dilation.to_vec(), padding: padding.to_vec() }
    };
    let fold = |name, shape: &[usize], attrs: ReduceWindowAttrs| {
        case(name, &[(shape, Within(-1.5, 1.5))], move |b, x| b.reduce_window(x[0], attrs.clone()))
    };
    let none = [(0, 0), (0, 0)];
    let (sum, prod, min, max) = (ReduceKind::Sum, ReduceKind::Prod, ReduceKind::Min, ReduceKind::Max);
    vec![
        fold("window sum", &[4, 5], attrs(sum, [2, 3], [1, 1], [1, 1], none)),
        fold("window sum in tiles", &[5, 6], attrs(sum, [2, 3], [2, 3], [1, 1], none)),
        fold("window sum in padded tiles", &[5, 7], attrs(sum, [2, 3], [2, 3], [1, 1], [(0, 1), (0, 2)])),
        fold("window sum, padded, strided, dilated", &[6, 7], attrs(sum, [2, 3], [2, 3], [3, 2], [(2, 1), (0, 3)])),
        fold("window sum, cropped", &[5, 7], attrs(sum, [2, 2], [1, 2], [1, 1], [(-1, 0), (-2, -1)])),
        fold("window sum with gaps between windows", &[7, 1], attrs(sum, [2, 1], [4, 2], [1, 1], none)),
        fold("window product", &[3, 4], attrs(prod, [2, 2], [1, 1], [1, 1], [(1, 0), (0, 1)])),
        fold("window product, strided, dilated", &[5, 6], attrs(prod, [2, 2], [2, 3], [2, 1], [(0, 1), (-1, 0)])),
        fold("window max", &[4, 5], attrs(max, [2, 3], [1, 2], [1, 1], [(1, 0), (1, 1)])),
        fold("window min, dilated", &[5, 5], attrs(min, [2, 2], [1, 1], [2, 3], none)),
        case("select_and_scatter", &[(&[4, 5], Within(-1.0, 1.0)), (&[4, 3], Within(-1.0, 1.0))], move |b, x| {
            b.select_and_scatter(x[0], x[1], attrs(max, [2, 3], [1, 2], [1, 1], [(1, 0), (1, 1)]))
        }),
        case(
            "select_and_scatter with windows in the padding",
            &[(&[2, 3], Within(-1.0, 1.0)), (&[4, 4], Within(-1.0, 1.0))],
            move |b, x| b.select_and_scatter(x[0], x[1], attrs(min, [2, 2], [1, 1], [1, 1], [(2, 1), (1, 1)])),
        ),
        case("dynamic_slice", &[(&[4, 5], Within(-1.0, 1.0))], |b, x| {
            let (row, column) = (b.scalar(DType::I64, 1.0)?, b.scalar(DType::I32, 9.0)?);
            b.dynamic_slice(x[0], &[row, column], [2, 3])
        }),
        case("dynamic_update_slice", &[(&[4, 5], Within(-1.0, 1.0)), (&[2, 3], Within(-1.0, 1.0))], |b, x| {
            let (row, column) = (b.scalar(DType::I64, 1.0)?, b.scalar(DType::I32, 9.0)?);
            b.dynamic_update_slice(x[0], x[1], &[row, column])
        }),
    ]
}

fn orders() -> Vec<Case> {
    let fold = |name, shape: &[usize], kind, dim, reverse| {
        let attrs = CumulativeAttrs { kind, dim, reverse };
        case(name, &[(shape, Within(-1.5, 1.5))], move |b, x| b.cumulative(x[0], attrs.clone()))
    };
    vec![
        fold("running sum", &[2, 4], ReduceKind::Sum, 1, false),
        fold("running sum from the end", &[3, 2], ReduceKind::Sum, 0, true),
        fold("running product", &[2, 5], ReduceKind::Prod, 1, false),
        fold("running product from the end", &[6, 2], ReduceKind::Prod, 0, true),
        fold("running product of one", &[2, 1], ReduceKind::Prod, 1, false),
        case("running product with zeros", &[(&[2, 4], Exactly(&[0.5, 0.0, 2.0, 3.0, 2.0, 0.0, 0.0, 1.5]))], |b, x| {
            b.cumulative(x[0], CumulativeAttrs { kind: ReduceKind::Prod, dim: 1, reverse: false })
        }),
        fold("running max", &[2, 6], ReduceKind::Max, 1, false),
        fold("running max from the end", &[2, 6], ReduceKind::Max, 1, true),
        fold("running min", &[6, 2], ReduceKind::Min, 0, false),
        case("sort", &[(&[2, 5], Within(-1.0, 1.0)), (&[2, 5], Within(-1.0, 1.0))], |b, x| {
            let sorted = b.sort(&[x[0], x[1]], SortAttrs { dim: 1, descending: false })?;
            let sine = b.sine(sorted[0])?;
            b.multiply(sine, sorted[1])
        }),
        case("sort with positions", &[(&[4, 2], Within(-1.0, 1.0))], |b, x| {
            let position = b.ty(x[0]).with_dtype(DType::I64);
            let position = b.iota(position, 0)?;
            let sorted = b.sort(&[x[0], position], SortAttrs { dim: 0, descending: true })?;
            b.sine(sorted[0])
        }),
    ]
}

fn indexing() -> Vec<Case> {
    // Rows of a table: the second index is out of range, and clamped or dropped; two are alike.
    let rows = |b: &mut Builder<'_>| b.tensor(TensorData::from_i64(vec![4], &[2, 9, 0, 2]));
    let scatter_rows = |combiner| ScatterAttrs {
        update_window_dims: vec![1],
        inserted_window_dims: vec![0],
        input_batching_dims: vec![],
        scatter_indices_batching_dims: vec![],
        scatter_dims_to_operand_dims: vec![0],
        index_vector_dim: 1,
        combiner,
    };
    let scatter = |name, combiner, operand: Elements<'static>| {
        case(name, &[(&[3, 2], operand), (&[4, 2], Within(0.5, 2.0))], move |b, x| {
            let indices = rows(b)?;
            b.scatter(x[0], indices, x[1], scatter_rows(combiner))
        })
    };
    vec![
        case("gather of rows", &[(&[3, 2], Within(-1.0, 1.0))], move |b, x| {
            let indices = rows(b)?;
            b.gather(
                x[0],
                indices,
                GatherAttrs {
                    offset_dims: vec![1],
                    collapsed_slice_dims: vec![0],
                    start_index_map: vec![0],
                    index_vector_dim: 1,
                    slice_sizes: vec![1, 2],
                    ..GatherAttrs::default()
                },
            )
        }),
        case("gather of windows", &[(&[4, 5], Within(-1.0, 1.0))], |b, x| {
            // Index vectors (row, column) as columns; the second and third windows are clamped.
            let indices = b.tensor(TensorData::from_i64(vec![2, 3], &[1, 3, -4, 0, 1, 9]))?;
            b.gather(
                x[0],
                indices,
                GatherAttrs {
                    offset_dims: vec![0, 2],
                    start_index_map: vec![0, 1],
                    index_vector_dim: 0,
                    slice_sizes: vec![2, 3],
                    ..GatherAttrs::default()
                },
            )
        }),
        case("gather along a dimension", &[(&[3, 4], Within(-1.0, 1.0))], |b, x| {
            let indices = b.tensor(TensorData::from_i64(vec![3, 2], &[0, 3, 1, 1, 7, 2]))?;
            b.gather(
                x[0],
                indices,
                GatherAttrs {
                    collapsed_slice_dims: vec![1],
                    operand_batching_dims: vec![0],
                    start_indices_batching_dims: vec![0],
                    start_index_map: vec![1],
                    index_vector_dim: 2,
                    slice_sizes: vec![1, 1],
                    ..GatherAttrs::default()
                },
            )
        }),
        case("gather of one element a row", &[(&[3, 2, 4], Within(-1.0, 1.0))], |b, x| {
            // Batch dimensions crossed, and one of extent 1 between them.
            let indices = b.tensor(TensorData::from_i64(vec![4, 1, 3], &[0, 1, 1, 1, 7, 0, -3, 0, 1, 0, 1, 0]))?;
            b.gather(
                x[0],
                indices,
                GatherAttrs {
                    collapsed_slice_dims: vec![1],
                    operand_batching_dims: vec![2, 0],
                    start_indices_batching_dims: vec![0, 2],
                    start_index_map: vec![1],
                    index_vector_dim: 3,
                    slice_sizes: vec![1, 1, 1],
                    ..GatherAttrs::default()
                },
            )
        }),
        case("gather of a window of one element", &[(&[2, 3], Within(-1.0, 1.0))], |b, x| {
            let indices = b.tensor(TensorData::from_i64(vec![1, 2], &[2, 0]))?;
            b.gather(
                x[0],
                indices,
                GatherAttrs {
                    offset_dims: vec![0],
                    operand_batching_dims: vec![0],
                    start_indices_batching_dims: vec![1],
                    start_index_map: vec![1],
                    index_vector_dim: 0,
                    slice_sizes: vec![1, 1],
                    ..GatherAttrs::default()
                },
            )
        }),
        scatter("scatter add", Combiner::Add, Within(-1.0, 1.0)),
        scatter("scatter assign", Combiner::Assign, Within(-1.0, 1.0)),
        scatter("scatter multiply", Combiner::Multiply, Within(-1.0, 1.0)),
        scatter("scatter minimum", Combiner::Minimum, Within(-1.0, 4.0)),
        scatter("scatter maximum", Combiner::Maximum, Within(-1.0, 4.0)),
        case("scatter of windows", &[(&[4, 5], Within(-1.0, 1.0)), (&[2, 3, 2], Within(-1.0, 1.0))], |b, x| {
            // The third window does not fit and is dropped.
            let indices = b.tensor(TensorData::from_i64(vec![3, 2], &[0, 1, 1, 2, 3, 0]))?;
            b.scatter(
                x[0],
                indices,
                x[1],
                ScatterAttrs {
                    update_window_dims: vec![0, 2],
                    inserted_window_dims: vec![],
                    input_batching_dims: vec![],
                    scatter_indices_batching_dims: vec![],
                    scatter_dims_to_operand_dims: vec![0, 1],
                    index_vector_dim: 1,
                    combiner: Combiner::Assign,
                },
            )
        }),
    ]
}

fn compositions() -> Vec<Case> {
    vec![
        case("log-softmax", &[(&[3, 4], Within(-2.0, 2.0))], |b, x| {
            let shape = b.shape(x[0]).clone();
            let largest = b.reduce_max(x[0], &[1])?;
            let largest = b.broadcast_reduced(largest, shape.clone(), &[1])?;
            let shifted = b.subtract(x[0], largest)?;
            let exp = b.exponential(shifted)?;
            let sum = b.reduce_sum(exp, &[1])?;
            let log = b.log(sum)?;
            let log = b.broadcast_reduced(log, shape, &[1])?;
            b.subtract(shifted, log)
        }),
        case(
            "two layers",
            &[
                (&[2, 3], Within(-1.0, 1.0)),
                (&[4, 3], Within(-1.0, 1.0)),
                (&[4], Within(-1.0, 1.0)),
                (&[1, 4], Within(-1.0, 1.0)),
            ],
            |b, x| {
                let hidden = b.dot(
                    x[0],
                    x[1],
                    DotAttrs { lhs_contract: vec![1], rhs_contract: vec![1], ..DotAttrs::default() },
                )?;
                let bias = b.broadcast_to(x[2], [2, 4])?;
                let hidden = b.add(hidden, bias)?;
                let hidden = b.tanh(hidden)?;
                b.dot(hidden, x[3], DotAttrs { lhs_contract: vec![1], rhs_contract: vec![1], ..DotAttrs::default() })
            },
        ),
    ]
}
