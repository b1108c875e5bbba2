//! Random regions of views, elementwise work, reductions and contractions, whatever fusion would make of them: any region
//! can be lowered, and gives the bits of the reference order on every target.

// Other tests use the rest of it.
#[allow(dead_code)]
#[path = "lowering/harness.rs"]
mod harness;
mod support;

use harness::{Numbers, check_graph};
use nnc_ir::ops::{DotAttrs, FusionKind, GatherAttrs, PadAttrs, ReduceKind, SliceAttrs};
use nnc_ir::{Builder, DType, Dim, Graph, Location, TensorData, TensorType, Value};

struct Maker {
    numbers: Numbers,
}

impl Maker {
    fn below(&mut self, bound: usize) -> usize {
        self.numbers.below(bound as u64) as usize
    }

    fn extents(&mut self, most_elements: usize) -> Vec<usize> {
        let mut extents = Vec::new();
        for _ in 0..1 + self.below(3) {
            let extent = [1, 2, 3, 5, 7, 16, 17, 20, 33][self.below(9)];
            if extents.iter().product::<usize>() * extent <= most_elements {
                extents.push(extent);
            }
        }
        extents
    }

    fn shape(b: &Builder<'_>, value: Value) -> Vec<usize> {
        b.shape(value).as_fixed().expect("static shapes")
    }

    /// Another view of `x`, or elementwise work on it.
    fn step(&mut self, b: &mut Builder<'_>, x: Value, pool: &[Value]) -> Value {
        let shape = Self::shape(b, x);
        let rank = shape.len();
        let fixed = |extent: usize| Dim::from(extent);
        match self.below(13) {
            0 if rank > 0 => {
                let mut permutation: Vec<usize> = (0..rank).collect();
                permutation.rotate_left(self.below(rank));
                b.transpose(x, &permutation).expect("fits")
            }
            1 => {
                // Merge two dimensions, or split one.
                let mut to = shape.clone();
                if rank >= 2 && self.below(2) == 0 {
                    let at = self.below(rank - 1);
                    let merged = to[at] * to[at + 1];
                    to.splice(at..at + 2, [merged]);
                } else if let Some(at) = (0..rank).find(|&dim| to[dim].is_multiple_of(2) && to[dim] > 0) {
                    let half = to[at] / 2;
                    to.splice(at..=at, [2, half]);
                } else {
                    to.insert(0, 1);
                }
                b.reshape(x, nnc_ir::Shape::fixed(&to)).expect("fits")
            }
            2 if shape.iter().product::<usize>() <= 300 => {
                let mut to = shape.clone();
                let at = self.below(rank + 1);
                to.insert(at, 1 + self.below(4));
                let dims: Vec<usize> = (0..=rank).filter(|&dim| dim != at).collect();
                b.broadcast_in_dim(x, nnc_ir::Shape::fixed(&to), &dims).expect("fits")
            }
            3 if rank > 0 => {
                let dim = self.below(rank);
                b.reverse(x, &[dim]).expect("fits")
            }
            4 if rank > 0 => {
                let dim = self.below(rank);
                let mut attrs = SliceAttrs {
                    start: vec![fixed(0); rank],
                    limit: shape.iter().map(|&extent| fixed(extent)).collect(),
                    stride: vec![1; rank],
                };
                attrs.start[dim] = fixed(self.below(shape[dim]));
                attrs.stride[dim] = 1 + self.below(2);
                b.slice(x, attrs).expect("fits")
            }
            5 if rank > 0 => {
                let dim = self.below(rank);
                let mut attrs = PadAttrs { low: vec![0; rank], high: vec![0; rank], interior: vec![0; rank] };
                attrs.low[dim] = self.below(3) as i64 - i64::from(shape[dim] > 2);
                attrs.high[dim] = self.below(3) as i64;
                attrs.interior[dim] = self.below(2);
                let value = b.scalar(DType::F32, 0.5).expect("a scalar");
                b.pad(x, value, attrs).expect("fits")
            }
            6 if rank > 0 && shape.iter().product::<usize>() <= 600 => {
                let twin = b.negate(x).expect("fits");
                let dim = self.below(rank);
                b.concatenate(&[x, twin], dim).expect("fits")
            }
            7 if rank > 0 => {
                let dim = self.below(rank);
                let kind = [ReduceKind::Sum, ReduceKind::Max, ReduceKind::Min][self.below(3)];
                b.reduce(kind, x, &[dim]).expect("fits")
            }
            8 if rank > 0 => {
                // A softmax-like round trip through a reduction.
                let dim = self.below(rank);
                let sum = b.reduce(ReduceKind::Max, x, &[dim]).expect("fits");
                let wide = b.broadcast_reduced(sum, nnc_ir::Shape::fixed(&shape), &[dim]).expect("fits");
                b.subtract(x, wide).expect("fits")
            }
            9 if rank > 0 && shape[0] > 0 => {
                let indices = b.iota(TensorType::new(DType::I32, [3]), 0).expect("fits");
                let mut slice_sizes = shape.clone();
                slice_sizes[0] = 1;
                let attrs = GatherAttrs {
                    offset_dims: (1..rank).collect(),
                    collapsed_slice_dims: vec![0],
                    start_index_map: vec![0],
                    index_vector_dim: 1,
                    slice_sizes,
                    ..GatherAttrs::default()
                };
                b.gather(x, indices, attrs).expect("fits")
            }
            10 => {
                let twin = pool.iter().copied().find(|&other| other != x && b.shape(other) == b.shape(x));
                b.maximum(x, twin.unwrap_or(x)).expect("fits")
            }
            11 => {
                let ones = b.splat_like(x, 1.25).expect("fits");
                b.multiply(x, ones).expect("fits")
            }
            _ => b.abs(x).expect("fits"),
        }
    }

    fn region(&mut self, types: &[TensorType]) -> Graph {
        let mut region = Graph::new();
        let params: Vec<Value> = types.iter().map(|ty| region.param(ty.clone(), Location::unknown())).collect();
        let mut pool = params;
        let mut b = Builder::new(&mut region, Location::unknown());
        for _ in 0..3 + self.below(8) {
            let from = pool.len() - 1 - self.below(pool.len().min(3));
            let x = pool[from];
            let next = self.step(&mut b, x, &pool);
            pool.push(next);
            if self.below(6) == 0
                && let Some(dot) = self.dot(&mut b, &pool)
            {
                pool.push(dot);
            }
        }
        let last = *pool.last().expect("values");
        let mut results = vec![last];
        if self.below(2) == 0 {
            results.push(pool[pool.len() / 2]);
        }
        region.set_results(results);
        region
    }

    /// A contraction of two values over dimensions of one extent.
    fn dot(&mut self, b: &mut Builder<'_>, pool: &[Value]) -> Option<Value> {
        let (lhs, rhs) = (pool[self.below(pool.len())], pool[self.below(pool.len())]);
        let (lhs_shape, rhs_shape) = (Self::shape(b, lhs), Self::shape(b, rhs));
        if lhs_shape.iter().product::<usize>() * rhs_shape.iter().product::<usize>() > 40_000 {
            return None;
        }
        let at_lhs = |&extent: &usize| Some((lhs_shape.iter().position(|&other| other == extent)?, extent));
        let (lhs_dim, extent) = rhs_shape.iter().find_map(at_lhs)?;
        let rhs_dim = rhs_shape.iter().position(|&other| other == extent)?;
        let attrs = DotAttrs { lhs_contract: vec![lhs_dim], rhs_contract: vec![rhs_dim], ..DotAttrs::default() };
        b.dot(lhs, rhs, attrs).ok()
    }
}

fn check(seed: u64) {
    let mut maker = Maker { numbers: Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1) };
    let types: Vec<TensorType> =
        (0..2).map(|_| TensorType { dtype: DType::F32, shape: nnc_ir::Shape::fixed(&maker.extents(800)) }).collect();
    let region = maker.region(&types);
    let mut graph = Graph::new();
    let params: Vec<Value> = types.iter().map(|ty| graph.param(ty.clone(), Location::unknown())).collect();
    let mut b = Builder::new(&mut graph, Location::unknown());
    let results = b.fusion(FusionKind::Pointwise, &params, region).expect("the region fits");
    graph.set_results(results);
    let inputs: Vec<TensorData> = types.iter().map(|ty| maker.numbers.tensor(ty)).collect();
    let outcome = std::panic::catch_unwind(|| check_graph(&graph, &inputs, Some(2e-3)));
    if let Err(panic) = outcome {
        eprintln!("seed {seed}");
        for (_, data) in graph.node(nnc_ir::Node(2)).regions[0].nodes() {
            let types: Vec<String> =
                data.results().map(|result| graph.node(nnc_ir::Node(2)).regions[0].ty(result).to_string()).collect();
            eprintln!("  {:?} = {:?} {:?} : {types:?}", data.results().collect::<Vec<_>>(), data.op, data.operands);
        }
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn random_regions() {
    let range = std::env::var("NNC_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(150);
    (0..range).for_each(check);
}
