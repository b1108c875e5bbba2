//! Gradients of functions with symbolic dimensions: differentiated once, evaluated at several extents, equal to those
//! of the function with fixed dimensions.

use nnc_ir::builder::Built;
use nnc_ir::ops::{
    ConvolutionAttrs, CumulativeAttrs, DotAttrs, GatherAttrs, PadAttrs, ReduceKind, ReduceWindowAttrs, SliceAttrs,
    SortAttrs,
};
use nnc_ir::{Bindings, Builder, DType, Dim, Graph, Location, Shape, TensorData, TensorType, Value};

use crate::table::spread;
use crate::{differentiate, eval};

/// Builds the scalar function of `f64` parameters of the given shapes and differentiates it.
fn gradient_graph(shapes: &[Shape], build: &dyn Fn(&mut Builder<'_>, &[Value]) -> Built) -> Graph {
    let mut graph = Graph::new();
    let params: Vec<Value> = shapes
        .iter()
        .map(|shape| graph.param(TensorType { dtype: DType::F64, shape: shape.clone() }, Location::unknown()))
        .collect();
    let mut b = Builder::new(&mut graph, Location::unknown());
    let result = build(&mut b, &params).expect("the test function is well typed");
    let wave = b.sine(result).expect("floats");
    let dims: Vec<usize> = (0..b.shape(wave).rank()).collect();
    let sum = b.reduce_sum(wave, &dims).expect("a number");
    graph.set_results(vec![sum]);
    differentiate("symbolic", &graph)
}

/// Compares differentiating and binding with binding and differentiating.
fn check(shapes: &[&[Dim]], n: &[usize], build: impl Fn(&mut Builder<'_>, &[Value]) -> Built) {
    let shapes: Vec<Shape> = shapes.iter().map(|dims| Shape(dims.to_vec())).collect();
    let symbolic = gradient_graph(&shapes, &build);
    assert!(!symbolic.is_fixed(), "the case has a symbolic dimension");
    for &extent in n {
        let bindings = Bindings::from([("N".to_string(), extent)]);
        let fixed: Vec<Shape> = shapes.iter().map(|shape| shape.substitute(&bindings)).collect();
        let inputs: Vec<TensorData> = fixed
            .iter()
            .enumerate()
            .map(|(seed, shape)| spread(&shape.as_fixed().expect("bound"), -1.0, 1.0, seed))
            .collect();
        let bound = symbolic.substitute(&bindings).expect("the gradient holds at every extent");
        let found = eval("symbolic", &bound, &inputs);
        let expected = eval("fixed", &gradient_graph(&fixed, &build), &inputs);
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found.shape, expected.shape);
            for (found, expected) in found.to_f64().into_iter().zip(expected.to_f64()) {
                assert!((found - expected).abs() < 1e-12, "N = {extent}: found {found}, expected {expected}");
            }
        }
    }
}

fn n() -> Dim {
    Dim::symbol("N")
}

#[test]
fn contractions_and_broadcasts() {
    check(&[&[n(), Dim::from(3)], &[Dim::from(2), Dim::from(3)], &[Dim::from(2)]], &[1, 5], |b, x| {
        let attrs = DotAttrs { lhs_contract: vec![1], rhs_contract: vec![1], ..DotAttrs::default() };
        let product = b.dot(x[0], x[1], attrs)?;
        let bias = b.broadcast_to(x[2], b.shape(product).clone())?;
        b.add(product, bias)
    });
}

#[test]
fn contraction_over_the_symbol() {
    check(&[&[n(), Dim::from(3)], &[n(), Dim::from(2)]], &[1, 4], |b, x| {
        b.dot(x[0], x[1], DotAttrs { lhs_contract: vec![0], rhs_contract: vec![0], ..DotAttrs::default() })
    });
}

#[test]
fn convolutions_of_a_batch_and_of_images_of_unknown_size() {
    let attrs = |stride: usize, groups: usize| ConvolutionAttrs {
        stride: vec![stride],
        padding: vec![(1, 1)],
        groups,
        ..ConvolutionAttrs::plain(1)
    };
    let fixed = |dims: [usize; 3]| dims.map(Dim::from);
    for groups in [1, 2] {
        let attrs = attrs(2, groups);
        check(&[&[n(), Dim::from(2), Dim::from(5)], &fixed([2, 2 / groups, 3])], &[1, 3], move |b, x| {
            b.convolution(x[0], x[1], attrs.clone())
        });
    }
    for stride in [1, 3] {
        let attrs = attrs(stride, 1);
        check(&[&[Dim::from(2), Dim::from(1), n()], &fixed([2, 1, 2])], &[1, 4, 5, 6], move |b, x| {
            b.convolution(x[0], x[1], attrs.clone())
        });
    }
}

#[test]
fn slices_by_constants_and_by_the_symbol() {
    // All but the first and the last row, every second one.
    check(&[&[n(), Dim::from(2)]], &[3, 6, 7], |b, x| {
        let limit = vec![b.shape(x[0])[0].clone() - Dim::from(1), Dim::from(2)];
        b.slice(x[0], SliceAttrs { start: vec![Dim::from(1), Dim::from(0)], limit, stride: vec![2, 1] })
    });
    // The middle third.
    check(&[&[n() * Dim::from(3)]], &[1, 4], |b, x| {
        let third = b.shape(x[0])[0].exact_div(&Dim::from(3)).expect("a multiple of 3");
        b.slice_dim(x[0], 0, third.clone(), third * Dim::from(2))
    });
}

#[test]
fn concatenation_and_padding() {
    check(&[&[n()], &[n() + Dim::from(2)], &[]], &[1, 3], |b, x| {
        let joined = b.concatenate(&[x[0], x[1], x[0]], 0)?;
        b.pad(joined, x[2], PadAttrs { low: vec![-1], high: vec![2], interior: vec![1] })
    });
}

#[test]
fn reductions() {
    check(&[&[Dim::from(2), n()]], &[1, 4], |b, x| b.reduce_max(x[0], &[1]));
    check(&[&[Dim::from(2), n(), Dim::from(3)]], &[1, 4], |b, x| b.reduce_prod(x[0], &[0, 1]));
}

#[test]
fn lookups_in_a_table_of_unknown_length() {
    check(&[&[n(), Dim::from(2)]], &[1, 3, 5], |b, x| {
        let indices = b.tensor(TensorData::from_i64(vec![4], &[2, 9, 0, -3]))?;
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
    });
    // Index vectors with a symbolic and a fixed bound.
    check(&[&[n(), Dim::from(2)]], &[1, 4], |b, x| {
        let indices = b.tensor(TensorData::from_i64(vec![3, 2], &[2, 0, 9, 5, 0, -1]))?;
        b.gather(
            x[0],
            indices,
            GatherAttrs {
                collapsed_slice_dims: vec![0, 1],
                start_index_map: vec![0, 1],
                index_vector_dim: 1,
                slice_sizes: vec![1, 1],
                ..GatherAttrs::default()
            },
        )
    });
}

#[test]
fn windows_along_the_symbol() {
    let windows = |kind, stride, padding| ReduceWindowAttrs {
        window: vec![3, 2],
        stride: vec![stride, 2],
        dilation: vec![1, 1],
        padding: vec![padding, (0, 0)],
        kind,
    };
    for kind in [ReduceKind::Sum, ReduceKind::Prod, ReduceKind::Max] {
        for (stride, padding) in [(1, (1, 1)), (2, (1, 0)), (3, (0, 0)), (3, (0, 2))] {
            check(&[&[n(), Dim::from(4)]], &[3, 4, 5, 6, 7], |b, x| {
                b.reduce_window(x[0], windows(kind, stride, padding))
            });
        }
    }
}

#[test]
fn running_folds_along_the_symbol() {
    for kind in [ReduceKind::Sum, ReduceKind::Prod, ReduceKind::Max, ReduceKind::Min] {
        for (dim, reverse) in [(0, false), (0, true), (1, true)] {
            check(&[&[n(), Dim::from(3)]], &[1, 4], |b, x| b.cumulative(x[0], CumulativeAttrs { kind, dim, reverse }));
        }
    }
}

#[test]
fn sorting_along_the_symbol() {
    check(&[&[n(), Dim::from(3)]], &[1, 5], |b, x| Ok(b.sort(&[x[0]], SortAttrs { dim: 0, descending: true })?[0]));
}

#[test]
fn loops() {
    let text = "func @f(%h: f64[2], %x: f64[N, 2], %w: f64[2, 2], %b: f64[2]) -> (y: f64[N, 2]) {
  %0, %1 = scan %h, %x, %w, %b {n_carried = 1, n_scanned = 1, length = N} (%p0: f64[2], %p1: f64[2], %p2: f64[2, 2], %p3: f64[2]) {
    %0 = dot_general %p2, %p0 {lhs_contract = [1], rhs_contract = [0]} : f64[2]
    %1 = multiply %p1, %p3 : f64[2]
    %2 = add %0, %1 : f64[2]
    %3 = tanh %2 : f64[2]
    return %3, %2
  } : f64[2], f64[N, 2]
  return %1
}";
    let symbolic = nnc_ir::parse_func(text).expect("sound").graph;
    let two = || Dim::from(2);
    check(&[&[two()], &[n(), two()], &[two(), two()], &[two()]], &[1, 4], move |b, params| {
        let shape = b.shape(params[1]).clone();
        let extent = shape[0].as_const();
        let graph = match extent {
            Some(extent) => symbolic.substitute(&Bindings::from([("N".to_string(), extent)]))?,
            None => symbolic.clone(),
        };
        Ok(nnc_passes::inline::splice(&graph, params, b.graph_mut())[0])
    });
}
