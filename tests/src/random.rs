//! Random graphs over all element types: elementwise ops, movement, reductions, contractions, convolutions, gather,
//! scatter, windows, sorts, random bits; and, where they are asked for, loops and branches around them ([`control`]).

mod control;
mod windows;

use nnc_ir::ops::{
    Combiner, CompareDir, ConvolutionAttrs, DotAttrs, GatherAttrs, IotaAttrs, PadAttrs, ReduceAttrs, ReduceKind,
    ScatterAttrs, SliceAttrs,
};
use nnc_ir::{
    Builder, DType, Func, FuncParam, FuncResult, Graph, Location, Op, ParamKind, Scalar, Shape, TensorData, TensorType,
    Value,
};

use crate::execute::Tensors;

/// A linear congruential generator (Knuth's MMIX): the same graphs on every run.
pub struct Random(pub u64);

impl Random {
    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit
    }

    /// One of a list.
    pub fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }

    /// A tensor whose floats are eighths: zeros and ties are frequent.
    pub fn tensor(&mut self, ty: &TensorType) -> TensorData {
        let shape = ty.shape.as_fixed().expect("shapes are fixed");
        let n_elements = shape.iter().product();
        let scalars: Vec<Scalar> = (0..n_elements)
            .map(|_| match ty.dtype {
                DType::Bool => Scalar::from_i64(DType::Bool, self.below(2) as i64),
                dtype if dtype.is_float() => Scalar::from_f64(dtype, (self.below(33) as f64 - 16.0) / 8.0),
                dtype => Scalar::from_i64(dtype, self.below(9) as i64 - 3),
            })
            .collect();
        TensorData::from_scalars(ty.dtype, shape, scalars)
    }
}

/// Few shapes, so that values meet; some longer than a vector, none a multiple of one alone.
const SHAPES: [&[usize]; 9] = [&[], &[4], &[6], &[4, 6], &[6, 4], &[4, 4], &[2, 4, 6], &[3, 21], &[21]];

/// `f32` most often.
const TYPES: [DType; 14] = [
    DType::F32,
    DType::F32,
    DType::F32,
    DType::F32,
    DType::F64,
    DType::BF16,
    DType::F16,
    DType::I32,
    DType::I64,
    DType::U32,
    DType::I16,
    DType::U16,
    DType::U64,
    DType::Bool,
];

/// What a random function is made of.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    types: &'static [DType],
    /// Levels of loops and branches.
    control: usize,
}

impl Mix {
    /// All types, no loops or branches.
    pub const PLAIN: Self = Self { types: &TYPES, control: 0 };
    /// All types, loops and branches.
    pub const CONTROL: Self = Self { types: &TYPES, control: 2 };
    /// The same without floating-point numbers: every result is exact.
    pub const EXACT_CONTROL: Self =
        Self { types: &[DType::I32, DType::I64, DType::U32, DType::U64, DType::I16, DType::Bool], control: 2 };

    /// Whether nothing is rounded.
    pub fn is_exact(&self) -> bool {
        !self.types.iter().any(|dtype| dtype.is_float())
    }
}

/// A function of `n_nodes` random nodes of all types, without loops and branches: [`random_func_of`].
pub fn random_func(seed: u64, n_nodes: usize) -> Func {
    random_func_of(seed, n_nodes, Mix::PLAIN)
}

/// A function of `n_nodes` random nodes. With more nodes, a seed's function starts alike, so that shrinking the number
/// shrinks the function. The last values are the results; some donate into parameters.
pub fn random_func_of(seed: u64, n_nodes: usize, mix: Mix) -> Func {
    let random = &mut Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d);
    let mut graph = Graph::new();
    graph.param(TensorType::new(DType::U32, [4]), Location::unknown());
    for _ in 0..2 + random.below(4) {
        let ty = TensorType::new(random.pick(mix.types), Shape::fixed(random.pick(&SHAPES)));
        graph.param(ty, Location::unknown());
    }
    let params = graph.params().to_vec();
    let mut values: Vec<Value> = params.clone();
    add_nodes(random, &mut graph, &mut values, n_nodes, mix);
    // From the seed alone, so that the nodes before do not matter.
    let random = &mut Random(seed ^ 0x1234_5678_9abc_def1);
    let n_results = (1 + random.below(3)).min(values.len());
    let results = values[values.len() - n_results..].to_vec();
    let mut donated = Vec::new();
    let mut described = Vec::new();
    for (idx, &result) in results.iter().enumerate() {
        let fits = |param: &usize| graph.ty(params[*param]) == graph.ty(result) && !donated.contains(param);
        let donates = (0..params.len()).find(fits).filter(|_| random.below(2) > 0);
        donated.extend(donates);
        described.push(FuncResult { name: format!("r{idx}"), donates: donates.map(|param| param as u32) });
    }
    graph.set_results(results);
    let params =
        (0..params.len()).map(|idx| FuncParam { name: format!("p{idx}"), kind: ParamKind::State, weight: None });
    Func { name: "random".to_string(), params: params.collect(), results: described, graph }
}

/// Adds `n_nodes` nodes, or a few more where the last has several results.
fn add_nodes(random: &mut Random, graph: &mut Graph, values: &mut Vec<Value>, n_nodes: usize, mix: Mix) {
    let n_wanted = values.len() + n_nodes;
    // A try that does not fit adds nothing; enough of them do.
    for _ in 0..40 * n_nodes {
        if values.len() >= n_wanted {
            break;
        }
        let mut b = Builder::new(graph, Location::unknown());
        if mix.control > 0 && random.below(6) == 0 {
            values.extend(control::random_control(random, &mut b, values, mix).into_iter().flatten());
        } else {
            values.extend(random_node(random, &mut b, values, mix.types));
        }
    }
}

/// Inputs of a random function.
pub fn random_inputs(func: &Func, seed: u64) -> Tensors {
    let random = &mut Random(seed);
    let params = func.params.iter().zip(func.graph.params());
    params.map(|(param, &value)| (param.name.clone(), random.tensor(func.graph.ty(value)))).collect()
}

/// The function with every node's first value as a result, none of which donates.
pub fn expose_all(func: &Func) -> Func {
    let mut all = func.clone();
    let values: Vec<Value> = func.graph.nodes().flat_map(|(_, data)| data.results()).collect();
    all.results = (0..values.len()).map(|idx| FuncResult { name: format!("v{idx}"), donates: None }).collect();
    all.graph.set_results(values);
    all
}

const UNARY: [Op; 22] = [
    Op::Negate,
    Op::Abs,
    Op::Sign,
    Op::Exponential,
    Op::ExponentialMinusOne,
    Op::Log,
    Op::LogPlusOne,
    Op::Sqrt,
    Op::Rsqrt,
    Op::Tanh,
    Op::Logistic,
    Op::Erf,
    Op::Sine,
    Op::Cosine,
    Op::Tan,
    Op::Floor,
    Op::Ceil,
    Op::RoundNearestEven,
    Op::IsFinite,
    Op::Not,
    Op::StopGradient,
    Op::OptimizationBarrier,
];

const BINARY: [Op; 18] = [
    Op::Add,
    Op::Add,
    Op::Subtract,
    Op::Multiply,
    Op::Multiply,
    Op::Divide,
    Op::Remainder,
    Op::Maximum,
    Op::Minimum,
    Op::Maximum,
    Op::Power,
    Op::Atan2,
    Op::And,
    Op::Or,
    Op::Xor,
    Op::ShiftLeft,
    Op::ShiftRightLogical,
    Op::ShiftRightArithmetic,
];

/// One more node on values of the graph, if the try fits.
fn random_node(random: &mut Random, b: &mut Builder<'_>, values: &[Value], types: &[DType]) -> Option<Value> {
    // Recent values are picked more often, so that chains grow long.
    let x = match random.below(2) {
        0 => values[values.len() - 1 - random.below(values.len().min(4))],
        _ => random.pick(values),
    };
    let ty = b.ty(x).clone();
    let (rank, shape) = (ty.rank(), ty.shape.as_fixed()?);
    let like = |random: &mut Random, b: &Builder<'_>, ty: &TensorType| {
        let fitting: Vec<Value> = values.iter().copied().filter(|&value| b.ty(value) == ty).collect();
        (!fitting.is_empty()).then(|| random.pick(&fitting))
    };
    match random.below(27) {
        0..=3 => b.op(random.pick(&UNARY), &[x]).ok(),
        4..=8 => {
            let y = like(random, b, &ty)?;
            b.op(random.pick(&BINARY), &[x, y]).ok()
        }
        9 => {
            let constant = b.splat_like(x, random.pick(&[0.0, 1.0, 2.0, 3.0])).ok()?;
            b.op(random.pick(&BINARY), &[x, constant]).ok()
        }
        10 => {
            let y = like(random, b, &ty)?;
            b.compare(random.pick(&CompareDir::ALL), x, y).ok()
        }
        11 => {
            let pred = like(random, b, &TensorType { dtype: DType::Bool, shape: ty.shape.clone() })?;
            let y = like(random, b, &ty)?;
            b.select(pred, x, y).ok()
        }
        12 => {
            let (low, high) = (like(random, b, &ty)?, like(random, b, &ty)?);
            b.op(Op::Clamp, &[low, x, high]).ok()
        }
        13 => b.convert(x, random.pick(types)).ok(),
        14 | 15 if rank > 0 => {
            let dims = match random.below(3) {
                0 => (0..rank).collect(),
                1 => vec![0],
                _ => vec![rank - 1],
            };
            b.op(Op::Reduce(ReduceAttrs { kind: random.pick(&ReduceKind::ALL), dims }), &[x]).ok()
        }
        16 => {
            let target = random.pick(&SHAPES);
            let offset = target.len().checked_sub(rank)?;
            let dims: Vec<usize> =
                if random.below(2) == 0 { (0..rank).collect() } else { (offset..target.len()).collect() };
            b.broadcast_in_dim(x, Shape::fixed(target), &dims).ok()
        }
        17 => match random.below(2) {
            0 => b.transpose(x, &(0..rank).rev().collect::<Vec<usize>>()).ok(),
            _ => {
                let n_elements = ty.n_elements()?;
                let fits = |shape: &&[usize]| shape.iter().product::<usize>() == n_elements;
                let fitting: Vec<&[usize]> = SHAPES.iter().copied().filter(fits).collect();
                let shape = (!fitting.is_empty()).then(|| random.pick(&fitting))?;
                b.reshape(x, Shape::fixed(shape)).ok()
            }
        },
        18 if rank > 0 => match random.below(4) {
            0 => b.reverse(x, &[random.below(rank)]).ok(),
            1 => {
                let start: Vec<usize> = shape.iter().map(|&extent| random.below(extent.max(1))).collect();
                let attrs = SliceAttrs {
                    start: start.iter().map(|&start| start.into()).collect(),
                    limit: shape.iter().map(|&extent| extent.into()).collect(),
                    stride: vec![1 + random.below(2); rank],
                };
                b.slice(x, attrs).ok()
            }
            2 => {
                let value = b.scalar(ty.dtype, 1.0).ok()?;
                let attrs = PadAttrs {
                    low: (0..rank).map(|_| random.below(3) as i64 - 1).collect(),
                    high: (0..rank).map(|_| random.below(3) as i64 - 1).collect(),
                    interior: (0..rank).map(|_| random.below(2)).collect(),
                };
                b.pad(x, value, attrs).ok()
            }
            _ => {
                let y = like(random, b, &ty)?;
                b.concatenate(&[x, y], random.below(rank)).ok()
            }
        },
        19 => {
            let ty = TensorType { dtype: random.pick(&[DType::F32, DType::I32, DType::I64]), shape: ty.shape };
            if rank == 0 || !types.contains(&ty.dtype) {
                return None;
            }
            b.op(Op::Iota(IotaAttrs { ty, dim: random.below(rank) }), &[]).ok()
        }
        20 | 21 if rank > 0 => {
            let y = random.pick(values);
            let y_rank = b.ty(y).rank();
            if y_rank == 0 {
                return None;
            }
            let batch = rank == 3 && y_rank == 3;
            let attrs = DotAttrs {
                lhs_batch: if batch { vec![0] } else { vec![] },
                rhs_batch: if batch { vec![0] } else { vec![] },
                lhs_contract: vec![rank - 1 - random.below(rank.min(2))],
                rhs_contract: vec![y_rank - 1 - random.below(y_rank.min(2))],
            };
            b.dot(x, y, attrs).ok()
        }
        25 | 26 => {
            let y = like(random, b, &ty);
            windows::random_node(random, b, x, y)
        }
        22 if rank > 0 => {
            let indices = random_indices(random, b, values)?;
            let index_rank = b.ty(indices).rank();
            let attrs = GatherAttrs {
                offset_dims: (index_rank..index_rank + rank - 1).collect(),
                collapsed_slice_dims: vec![0],
                start_index_map: vec![0],
                index_vector_dim: index_rank,
                slice_sizes: std::iter::once(1).chain(shape[1..].iter().copied()).collect(),
                ..GatherAttrs::default()
            };
            if random.below(2) == 0 {
                return b.gather(x, indices, attrs).ok();
            }
            let mut wanted = b.ty(indices).shape.as_fixed()?;
            wanted.extend(&shape[1..]);
            let wanted = TensorType { dtype: ty.dtype, shape: Shape::fixed(&wanted) };
            let updates = match like(random, b, &wanted) {
                Some(updates) => updates,
                None => b.splat(wanted, 1.0).ok()?,
            };
            let attrs = ScatterAttrs {
                update_window_dims: attrs.offset_dims,
                inserted_window_dims: vec![0],
                input_batching_dims: Vec::new(),
                scatter_indices_batching_dims: Vec::new(),
                scatter_dims_to_operand_dims: vec![0],
                index_vector_dim: index_rank,
                combiner: random.pick(&Combiner::ALL),
            };
            b.scatter(x, indices, updates, attrs).ok()
        }
        24 => random_convolution(random, b, x, values),
        23 => b.rng_bits(values[0], Shape::fixed(random.pick(&SHAPES))).ok(),
        _ => None,
    }
}

/// A convolution of `x` with another value, both under shapes of images and kernels that have as many elements.
fn random_convolution(random: &mut Random, b: &mut Builder<'_>, x: Value, values: &[Value]) -> Option<Value> {
    const IMAGES: [&[usize]; 6] = [&[1, 2, 2], &[1, 1, 6], &[2, 3, 4], &[1, 4, 6], &[2, 2, 2, 6], &[3, 1, 3, 7]];
    const KERNELS: [&[usize]; 6] = [&[2, 1, 2], &[2, 3, 4], &[3, 4, 2], &[4, 2, 3], &[4, 2, 1, 3], &[3, 1, 1, 7]];
    let under = |random: &mut Random, b: &mut Builder<'_>, value: Value, shapes: &[&[usize]]| {
        let n_elements = b.ty(value).n_elements()?;
        let fits = |shape: &&&[usize]| shape.iter().product::<usize>() == n_elements;
        let fitting: Vec<&[usize]> = shapes.iter().filter(fits).copied().collect();
        let shape = (!fitting.is_empty()).then(|| random.pick(&fitting))?;
        b.reshape(value, Shape::fixed(shape)).ok()
    };
    let dtype = b.dtype(x);
    let others: Vec<Value> = values.iter().copied().filter(|&value| b.dtype(value) == dtype).collect();
    let kernel = random.pick(&others);
    let (image, kernel) = (under(random, b, x, &IMAGES)?, under(random, b, kernel, &KERNELS)?);
    let n_spatial = b.ty(image).rank().saturating_sub(2);
    let mut steps = |limit: usize| (0..n_spatial).map(|_| 1 + random.below(limit)).collect();
    let (stride, lhs_dilation, rhs_dilation) = (steps(2), steps(2), steps(2));
    let padding = (0..n_spatial).map(|_| (random.below(4) as i64 - 1, random.below(3) as i64)).collect();
    let groups = 1 + random.below(2);
    b.convolution(image, kernel, ConvolutionAttrs { stride, padding, lhs_dilation, rhs_dilation, groups }).ok()
}

/// Integers to index with, some of them out of range.
fn random_indices(random: &mut Random, b: &mut Builder<'_>, values: &[Value]) -> Option<Value> {
    let is_index = |value: &Value| matches!(b.dtype(*value), DType::I32 | DType::I64) && b.ty(*value).rank() <= 2;
    let fitting: Vec<Value> = values.iter().copied().filter(is_index).collect();
    if !fitting.is_empty() {
        return Some(random.pick(&fitting));
    }
    let ty = TensorType::new(DType::I32, Shape::fixed(&[4]));
    b.op(Op::Iota(IotaAttrs { ty, dim: 0 }), &[]).ok()
}
