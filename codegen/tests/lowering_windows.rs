//! Windows, running folds, sorts and dynamic slices with random shapes and attributes, lowered for every target and
//! held to the interpreter.

// Other tests use the rest of it.
#[allow(dead_code)]
#[path = "lowering/harness.rs"]
mod harness;
mod support;

use harness::{Numbers, check, check_graph, lowered};
use nnc_ir::ops::{CumulativeAttrs, ReduceKind, ReduceWindowAttrs, SortAttrs};
use nnc_ir::{Builder, DType, Graph, Location, Scalar, Shape, TensorData, TensorType, Value};

const DTYPES: [DType; 7] = [DType::F32, DType::F32, DType::F64, DType::BF16, DType::I32, DType::U8, DType::I64];

/// What the cases draw from.
struct Draw(Numbers);

impl Draw {
    fn new(seed: u64) -> Self {
        Self(Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1))
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound as u64) as usize
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Windows that fit into a tensor of these extents.
    fn windows(&mut self, extents: &[usize], kind: ReduceKind) -> ReduceWindowAttrs {
        let mut attrs = ReduceWindowAttrs::plain(kind, extents.len());
        for (dim, &extent) in extents.iter().enumerate() {
            if self.below(3) == 0 {
                continue;
            }
            attrs.dilation[dim] = self.pick(&[1, 1, 1, 2, 3]);
            attrs.stride[dim] = self.pick(&[1, 1, 2, 2, 3, 5]);
            attrs.window[dim] = self.pick(&[1, 2, 2, 3, 3, 4, 7]);
            let low = self.pick(&[0, 0, 1, 2, -1]);
            let high = self.pick(&[0, 0, 1, 3, -1]);
            attrs.padding[dim] = (low, high);
            while attrs.spread(dim) > extent as i64 + low + high && attrs.window[dim] > 1 {
                attrs.window[dim] -= 1;
            }
            if extent as i64 + low + high < 1 {
                attrs.padding[dim] = (0, 0);
            }
        }
        attrs
    }

    fn extents(&mut self) -> Vec<usize> {
        let mut extents = Vec::new();
        for _ in 0..1 + self.below(4) {
            let extent = self.pick(&[1, 2, 3, 5, 8, 17, 20, 33]);
            if extents.iter().product::<usize>() * extent <= 1500 {
                extents.push(extent);
            }
        }
        if extents.is_empty() { vec![7] } else { extents }
    }
}

/// A graph from parameters of the given types.
fn graph_of(types: &[TensorType], build: impl FnOnce(&mut Builder<'_>, &[Value]) -> Vec<Value>) -> Graph {
    let mut graph = Graph::new();
    let params: Vec<Value> = types.iter().map(|ty| graph.param(ty.clone(), Location::unknown())).collect();
    let results = build(&mut Builder::new(&mut graph, Location::unknown()), &params);
    graph.set_results(results);
    graph
}

fn run(draw: &mut Draw, types: &[TensorType], build: impl FnOnce(&mut Builder<'_>, &[Value]) -> Vec<Value>) {
    let graph = graph_of(types, build);
    let inputs: Vec<TensorData> = types.iter().map(|ty| draw.0.tensor(ty)).collect();
    check_graph(&graph, &inputs, None);
}

fn ty(dtype: DType, extents: &[usize]) -> TensorType {
    TensorType { dtype, shape: Shape::fixed(extents) }
}

#[test]
fn folds_of_windows() {
    for seed in 0..60 {
        let mut draw = Draw::new(seed);
        let extents = draw.extents();
        let dtype = draw.pick(&DTYPES);
        let kinds = [ReduceKind::Sum, ReduceKind::Min, ReduceKind::Max, ReduceKind::ArgMin, ReduceKind::ArgMax];
        let kind = draw.pick(&kinds);
        let attrs = draw.windows(&extents, kind);
        run(&mut draw, &[ty(dtype, &extents)], |b, x| vec![b.reduce_window(x[0], attrs).expect("fits")]);
    }
}

#[test]
fn scattering_what_windows_picked() {
    for seed in 0..60 {
        let mut draw = Draw::new(seed + 1000);
        let extents = draw.extents();
        let dtype = draw.pick(&DTYPES);
        let kind = draw.pick(&[ReduceKind::Min, ReduceKind::Max]);
        let attrs = draw.windows(&extents, kind);
        let operand = ty(dtype, &extents);
        let graph =
            graph_of(std::slice::from_ref(&operand), |b, x| vec![b.reduce_window(x[0], attrs.clone()).expect("fits")]);
        let source = graph.ty(graph.results()[0]).clone();
        run(&mut draw, &[operand, source], |b, x| vec![b.select_and_scatter(x[0], x[1], attrs).expect("fits")]);
    }
}

#[test]
fn large_windows_are_loops() {
    check(
        "func @f(%x: f32[2, 40, 33], %s: f32[2, 5, 4]) -> (r: f32[2, 5, 4]) {
  %0 = reduce_window %x {kind = sum, window = [1, 8, 8], stride = [1, 8, 8]} : f32[2, 5, 4]
  %1 = reduce_window %x {kind = argmax, window = [1, 8, 8], stride = [1, 8, 8]} : i64[2, 5, 4]
  %2 = select_and_scatter %x, %s {kind = max, window = [1, 8, 8], stride = [1, 8, 8]} : f32[2, 40, 33]
  %3 = reduce_window %x {kind = max, window = [1, 40, 1]} : f32[2, 1, 33]
  %4 = reduce_window %x {kind = argmin, window = [1, 1, 40], padding = [[0, 0], [0, 0], [3, 20]]} : i64[2, 40, 17]
  %5 = reduce_window %x {kind = min, window = [1, 20, 3], dilation = [1, 2, 5], padding = [[0, 0], [7, 7], [4, 4]]} : f32[2, 16, 31]
  %6 = select_and_scatter %x, %5 {kind = min, window = [1, 20, 3], dilation = [1, 2, 5], padding = [[0, 0], [7, 7], [4, 4]]} : f32[2, 40, 33]
  return %0
}",
    );
}

#[test]
fn windows_of_numbers_that_are_none() {
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let x = [1.0, nan, 3.0, 3.0, nan, nan, -inf, -inf, -inf, inf, 0.0, -0.0, -0.0, 0.0, 5.0, inf, nan, 2.0];
    let types = [ty(DType::F32, &[18]), ty(DType::F32, &[9])];
    for (stride, kind) in [(1, ReduceKind::Max), (2, ReduceKind::Min), (2, ReduceKind::Max), (3, ReduceKind::Min)] {
        let attrs = ReduceWindowAttrs {
            window: vec![3],
            stride: vec![stride],
            padding: vec![(1, 1)],
            ..ReduceWindowAttrs::plain(kind, 1)
        };
        let graph = graph_of(&types[..1], |b, x| {
            let folded = b.reduce_window(x[0], attrs.clone()).expect("fits");
            let arg = if kind == ReduceKind::Max { ReduceKind::ArgMax } else { ReduceKind::ArgMin };
            let picks = b.reduce_window(x[0], attrs.with_kind(arg)).expect("fits");
            let given = b.convert(picks, DType::F32).expect("numbers");
            vec![folded, picks, b.select_and_scatter(x[0], given, attrs.clone()).expect("fits")]
        });
        check_graph(&graph, &[TensorData::from_f32(vec![18], &x)], None);
    }
}

#[test]
fn running_folds() {
    for seed in 0..60 {
        let mut draw = Draw::new(seed + 2000);
        let extents = draw.extents();
        let dtype = draw.pick(&DTYPES);
        let kind = draw.pick(&[ReduceKind::Sum, ReduceKind::Sum, ReduceKind::Min, ReduceKind::Max]);
        let attrs = CumulativeAttrs { kind, dim: draw.below(extents.len()), reverse: draw.below(2) == 1 };
        run(&mut draw, &[ty(dtype, &extents)], |b, x| vec![b.cumulative(x[0], attrs).expect("fits")]);
    }
    check(
        "func @f(%x: f32[3, 4]) -> (r: f32[3, 4]) {
  %0 = cumulative %x {kind = prod, dim = 1} : f32[3, 4]
  return %0
}",
    );
}

#[test]
fn sorts() {
    for seed in 0..40 {
        let mut draw = Draw::new(seed + 3000);
        let extents = draw.extents();
        let key = draw.pick(&[DType::F32, DType::F64, DType::F16, DType::I8, DType::U8, DType::I64, DType::Bool]);
        let other = draw.pick(&DTYPES);
        let attrs = SortAttrs { dim: draw.below(extents.len()), descending: draw.below(2) == 1 };
        run(&mut draw, &[ty(key, &extents), ty(other, &extents)], |b, x| {
            let position = b.iota(ty(DType::I64, &extents), attrs.dim).expect("fits");
            b.sort(&[x[0], x[1], position], attrs).expect("fits")
        });
    }
}

#[test]
fn sorts_of_special_numbers() {
    let x = [2.0, f32::NAN, 0.0, f32::INFINITY, -0.0, -f32::INFINITY, f32::NAN, -1.5, 1e-40, -1e-40];
    let u = [0u32, u32::MAX, 1 << 31, (1 << 31) - 1, 5];
    let u = TensorData::from_scalars(DType::U32, vec![5], u.map(|u| Scalar::from_i64(DType::U32, i64::from(u))));
    let i = [0, i64::MAX, i64::MIN, -1, 5].map(|i| Scalar::from_i64(DType::I64, i));
    let i = TensorData::from_scalars(DType::I64, vec![5], i);
    let types = [ty(DType::F32, &[10]), ty(DType::U32, &[5]), ty(DType::I64, &[5])];
    for descending in [false, true] {
        let attrs = SortAttrs { dim: 0, descending };
        let graph = graph_of(&types, |b, x| {
            let position = b.iota(ty(DType::I64, &[10]), 0).expect("fits");
            let mut results = b.sort(&[x[0], position], attrs.clone()).expect("fits");
            results.extend(b.sort(&[x[1]], attrs.clone()).expect("fits"));
            results.extend(b.sort(&[x[2]], attrs.clone()).expect("fits"));
            results
        });
        check_graph(&graph, &[TensorData::from_f32(vec![10], &x), u.clone(), i.clone()], None);
    }
}

#[test]
fn long_rows_are_sorted_in_memory() {
    check(
        "func @f(%x: f32[2, 5000], %d: f64[2, 2100]) -> (r: f32[2, 5000]) {
  %0 = sort %x {dim = 1} : f32[2, 5000]
  %1 = sort %d {dim = 1, descending = true} : f64[2, 2100]
  return %0
}",
    );
}

#[test]
fn slices_at_a_run_time_start() {
    for seed in 0..30 {
        let mut draw = Draw::new(seed + 4000);
        let extents = draw.extents();
        let sizes: Vec<usize> = extents.iter().map(|&extent| 1 + draw.below(extent)).collect();
        let starts: Vec<i64> = extents.iter().map(|&extent| draw.below(extent + 4) as i64 - 2).collect();
        let dtype = draw.pick(&DTYPES);
        run(&mut draw, &[ty(dtype, &extents), ty(dtype, &sizes)], |b, x| {
            let starts: Vec<Value> =
                starts.iter().map(|&start| b.scalar(DType::I64, start as f64).expect("a scalar")).collect();
            let slice = b.dynamic_slice(x[0], &starts, Shape::fixed(&sizes)).expect("fits");
            vec![slice, b.dynamic_update_slice(x[0], x[1], &starts).expect("fits")]
        });
    }
}

/// The schedule of the last kernel that the function's nodes are lowered to.
fn schedule(text: &str) -> String {
    lowered(text).last().expect("a node").schedule.to_string()
}

#[test]
fn windows_are_vectors() {
    // Pooling, and its gradient: four elements of each window together.
    let pool = "window = [1, 2, 2], stride = [1, 2, 2]} : f32[6, 14, 14]";
    let text = format!(
        "func @f(%x: f32[6, 28, 28]) -> (r: f32[6, 14, 14]) {{\n  %0 = reduce_window %x {{kind = max, {pool}\n  return %0\n}}"
    );
    assert!(schedule(&text).starts_with("pointwise 84x14 by 16"), "{}", schedule(&text));
    let pool = "window = [1, 2, 2], stride = [1, 2, 2]} : f32[6, 28, 28]";
    let text = format!(
        "func @f(%x: f32[6, 28, 28], %s: f32[6, 14, 14]) -> (r: f32[6, 28, 28]) {{\n  %0 = select_and_scatter %x, %s {{kind = max, {pool}\n  return %0\n}}"
    );
    assert!(schedule(&text).starts_with("pointwise 6x14x14 by 16"), "{}", schedule(&text));
}

#[test]
fn gaps_between_elements_are_known() {
    check(
        "func @f(%x: f32[5, 9], %v: f32[]) -> (r: f32[13, 26]) {
  %0 = pad %x, %v {low = [2, 1], high = [-2, 0], interior = [2, 2]} : f32[13, 26]
  %1 = reduce_window %0 {kind = sum, window = [3, 3], padding = [[1, 1], [1, 1]]} : f32[13, 26]
  %2 = fusion %x, %v {kind = pointwise} (%x: f32[5, 9], %v: f32[]) {
    %0 = pad %x, %v {low = [0, 0], high = [1, 1], interior = [1, 1]} : f32[10, 18]
    %1 = reverse %0 {dims = [1]} : f32[10, 18]
    %2 = negate %1 : f32[10, 18]
    return %2
  } : f32[10, 18]
  return %0
}",
    );
}
