//! Programs with what the other cases lack.

use libtest_mimic::Failed;
use nnc_ir::{Bindings, DType, Scalar, TensorData};
use nnc_tests::execute::{Tensors, Weights};

use crate::cases::{Case, parse};

/// A name, extents of symbolic dimensions, and the text of a function.
type Program = (&'static str, &'static [(&'static str, usize)], &'static str);

/// Programs with what the golden files lack.
const PROGRAMS: &[Program] = &[
    (
        "symbolic_shapes",
        &[("N", 3), ("S", 4)],
        "func @f(%x: f32[N, S, 6]) -> (y: f32[N*S + 1, 6], z: f32[N, S, 6], c: i64[S], h: f32[N, S - 1, 6]) {
  %0 = reshape %x : f32[N*S, 6]
  %1 = constant 2.5 : f32[1, 6]
  %2 = concatenate %0, %1 {dim = 0} : f32[N*S + 1, 6]
  %3 = constant 0.5 : f32[N, S, 6]
  %4 = iota {dim = 0} : i64[S]
  %5 = slice %x {start = [0, 1, 0], limit = [N, S, 6]} : f32[N, S - 1, 6]
  return %2, %3, %4, %5
}",
    ),
    (
        "scan",
        &[],
        "func @f(%h: f32[2], %x: f32[5, 2], %w: f32[2]) -> (last: f32[2], all: f32[5, 2]) {
  %0, %1 = scan %h, %x, %w {n_carried = 1, n_scanned = 1, length = 5, reverse = true} (%p0: f32[2], %p1: f32[2], %p2: f32[2]) {
    %0 = multiply %p0, %p2 : f32[2]
    %1 = add %0, %p1 : f32[2]
    return %1, %0
  } : f32[2], f32[5, 2]
  return %0, %1
}",
    ),
    (
        "scan_of_nothing",
        &[],
        "func @f(%h: i64[]) -> (last: i64[], all: i64[4]) {
  %0, %1 = scan %h {n_carried = 1, length = 4} (%p0: i64[]) {
    %0 = constant 3 : i64[]
    %1 = add %p0, %0 : i64[]
    return %1, %p0
  } : i64[], i64[4]
  return %0, %1
}",
    ),
    (
        "cond",
        &[],
        "func @f(%p: bool[], %x: f32[3], %y: f32[3]) -> (a: f32[3], b: f32[3]) {
  %0, %1 = cond %p, %x, %y (%p0: f32[3], %p1: f32[3]) {
    return %p1, %p1
  } (%p0: f32[3], %p1: f32[3]) {
    %0 = add %p0, %p1 : f32[3]
    %1 = constant 1.0 : f32[3]
    return %0, %1
  } : f32[3], f32[3]
  return %0, %1
}",
    ),
    (
        "while",
        &[],
        "func @f(%n: i32[], %x: f32[2]) -> (last: i32[], y: f32[2]) {
  %0, %1 = while %n, %x (%p0: i32[], %p1: f32[2]) {
    %0 = constant 20 : i32[]
    %1 = compare %p0, %0 {direction = lt} : bool[]
    return %1
  } (%p0: i32[], %p1: f32[2]) {
    %0 = constant 7 : i32[]
    %1 = add %p0, %0 : i32[]
    %2 = negate %p1 : f32[2]
    return %1, %2
  } : i32[], f32[2]
  return %0, %1
}",
    ),
    (
        "gather_windows",
        &[],
        "func @f(%x: f32[4, 5, 3], %i: i32[2, 2]) -> (y: f32[2, 2, 2, 3]) {
  %0 = gather %x, %i {offset_dims = [1, 2, 3], start_index_map = [0, 1], index_vector_dim = 1, slice_sizes = [2, 2, 3]} : f32[2, 2, 2, 3]
  return %0
}",
    ),
    (
        "scatter_beyond",
        &[],
        "func @f(%x: f32[4, 3], %i: i64[3, 1], %u: f32[3, 3]) -> (y: f32[4, 3], z: f32[4, 3]) {
  %0 = scatter %x, %i, %u {update_window_dims = [1], inserted_window_dims = [0], scatter_dims_to_operand_dims = [0], index_vector_dim = 1, combiner = add} : f32[4, 3]
  %1 = scatter %x, %i, %u {update_window_dims = [1], inserted_window_dims = [0], scatter_dims_to_operand_dims = [0], index_vector_dim = 1, combiner = maximum} : f32[4, 3]
  return %0, %1
}",
    ),
    (
        "windows",
        &[],
        "func @f(%x: f32[1, 2, 6, 5], %n: i32[6, 5]) -> (a: f32[1, 2, 3, 5], b: i64[1, 2, 3, 2], c: f32[1, 2, 6, 5], d: i32[5, 3]) {
  %0 = reduce_window %x {kind = sum, window = [1, 1, 3, 1], stride = [1, 1, 2, 1], padding = [[0, 0], [0, 0], [1, 0], [0, 0]]} : f32[1, 2, 3, 5]
  %1 = reduce_window %x {kind = argmax, window = [1, 1, 2, 2], stride = [1, 1, 2, 2]} : i64[1, 2, 3, 2]
  %2 = slice %0 {limit = [1, 2, 3, 2]} : f32[1, 2, 3, 2]
  %3 = select_and_scatter %x, %2 {kind = max, window = [1, 1, 2, 2], stride = [1, 1, 2, 2]} : f32[1, 2, 6, 5]
  %4 = reduce_window %n {kind = min, window = [2, 2], stride = [1, 2], padding = [[0, 0], [0, 1]]} : i32[5, 3]
  return %0, %1, %3, %4
}",
    ),
    (
        "dilated_convolution",
        &[],
        "func @f(%x: f32[1, 2, 4, 4], %k: f32[4, 1, 2, 2]) -> (y: f32[1, 4, 5, 6]) {
  %0 = convolution %x, %k {padding = [[-1, 0], [0, 0]], lhs_dilation = [2, 2], groups = 2} : f32[1, 4, 5, 6]
  return %0
}",
    ),
    (
        "bits",
        &[],
        "func @f(%x: i32[6], %s: i32[6], %u: u32[6], %t: u32[6]) -> (a: i32[6], b: i32[6], c: i32[6], d: u32[6], e: i32[6]) {
  %0 = shift_left %x, %s : i32[6]
  %1 = shift_right_logical %x, %s : i32[6]
  %2 = shift_right_arithmetic %x, %s : i32[6]
  %3 = shift_right_arithmetic %u, %t : u32[6]
  %4 = remainder %x, %s : i32[6]
  return %0, %1, %2, %3, %4
}",
    ),
    (
        "orders",
        &[],
        "func @f(%x: f32[3, 4], %k: i32[3, 4]) -> (a: f32[3, 4], b: f32[3, 4], c: f32[3, 4], d: i32[3, 4], e: f32[3, 4]) {
  %0 = cumulative %x {kind = max, dim = 1, reverse = true} : f32[3, 4]
  %1 = cumulative %x {kind = prod, dim = 0} : f32[3, 4]
  %2 = cumulative %x {kind = sum, dim = 1, reverse = true} : f32[3, 4]
  %3, %4 = sort %k, %x {dim = 1, descending = true} : i32[3, 4], f32[3, 4]
  return %0, %1, %2, %3, %4
}",
    ),
    (
        "positions",
        &[],
        "func @f(%x: f32[4, 5], %u: f32[2, 2], %i: i32[], %j: i32[]) -> (a: f32[2, 2], b: f32[4, 5]) {
  %0 = dynamic_slice %x, %i, %j : f32[2, 2]
  %1 = dynamic_update_slice %x, %u, %i, %j : f32[4, 5]
  return %0, %1
}",
    ),
];

/// The programs, on numbers that suit them.
pub(crate) fn programs() -> Result<Vec<Case>, Failed> {
    let mut cases = Vec::new();
    for (name, dims, text) in PROGRAMS {
        let func = parse(text, Weights::new()).map_err(|why| format!("{name}: {:?}", why.message()))?;
        let dims: Bindings = dims.iter().map(|&(symbol, extent)| (symbol.to_string(), extent)).collect();
        let mut inputs = Tensors::new();
        for (salt, (param, &value)) in func.params.iter().zip(func.graph.params()).enumerate() {
            let ty = func.graph.ty(value).substitute(&dims);
            let shape = ty.shape.as_fixed().ok_or("extents are given")?;
            let element = |idx: usize| {
                let number = ((idx * 37 + salt * 11) % 13) as i64 - 3;
                match ty.dtype {
                    DType::Bool => Scalar::from_i64(DType::Bool, number & 1),
                    dtype if dtype.is_float() => Scalar::from_f64(dtype, number as f64 / 4.0 + 0.1),
                    // Shifts, positions, divisors: small, few below zero, none zero.
                    dtype if dtype.is_signed() => Scalar::from_i64(dtype, if number == 0 { 5 } else { number }),
                    dtype => Scalar::from_i64(dtype, number.abs() << (idx % 3 * 14)),
                }
            };
            let n_elements = shape.iter().product();
            inputs.insert(param.name.clone(), TensorData::from_scalars(ty.dtype, shape, (0..n_elements).map(element)));
        }
        cases.push(Case { name: name.to_string(), func, weights: Weights::new(), inputs, dims, is_open: false });
    }
    Ok(cases)
}
