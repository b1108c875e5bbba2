//! Loops and branches, written as text.

use nnc_ir::parse_func;
use nnc_passes::inline::splice;

use crate::table::{Case, spread};

/// A case from the text of a function, whose first result counts.
fn case(name: &'static str, text: &'static str) -> Case {
    let func = parse_func(text).unwrap_or_else(|faults| panic!("{name}: {}", faults[0]));
    func.verify().unwrap_or_else(|faults| panic!("{name}: {}", faults[0]));
    let shapes = func.graph.params().iter().map(|&param| func.graph.ty(param).shape.as_fixed().expect("fixed"));
    let inputs = shapes.enumerate().map(|(seed, shape)| spread(&shape, -1.0, 1.0, seed)).collect();
    Case { name, inputs, build: Box::new(move |b, params| Ok(splice(&func.graph, params, b.graph_mut())[0])) }
}

/// Every case of a loop or branch.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("recurrent layer", RECURRENT),
        case("recurrent layer, its last state", LAST),
        case("long short-term memory", LSTM),
        case("carries change places, from the end", SWAPPING),
        case("integers and stopped gradients inside", COUNTING),
        case("no carry and no invariant", MAPPED),
        case("a loop in a loop", NESTED),
        case("a branch in a loop", BRANCH_IN_LOOP),
        case("a loop in a branch", LOOP_IN_BRANCH),
        case("the other branch", OTHER_BRANCH),
    ]
}

const RECURRENT: &str = "func @f(%h: f64[2, 3], %x: f64[4, 2, 2], %w: f64[3, 2], %u: f64[3, 3], %b: f64[3]) -> (y: f64[4, 2, 3]) {
  %0, %1 = scan %h, %x, %w, %u, %b {n_carried = 1, n_scanned = 1, length = 4} (%p0: f64[2, 3], %p1: f64[2, 2], %p2: f64[3, 2], %p3: f64[3, 3], %p4: f64[3]) {
    %0 = dot_general %p1, %p2 {lhs_contract = [1], rhs_contract = [1]} : f64[2, 3]
    %1 = dot_general %p0, %p3 {lhs_contract = [1], rhs_contract = [1]} : f64[2, 3]
    %2 = broadcast_in_dim %p4 {dims = [1]} : f64[2, 3]
    %3 = add %0, %1 : f64[2, 3]
    %4 = add %3, %2 : f64[2, 3]
    %5 = tanh %4 : f64[2, 3]
    return %5, %5
  } : f64[2, 3], f64[4, 2, 3]
  return %1
}";

const LAST: &str = "func @f(%h: f64[2], %x: f64[3, 2], %s: f64[2], %t: f64[]) -> (y: f64[2]) {
  %0, %1 = scan %h, %x, %s, %t {n_carried = 1, n_scanned = 1, length = 3, reverse = true} (%p0: f64[2], %p1: f64[2], %p2: f64[2], %p3: f64[]) {
    %0 = multiply %p0, %p2 : f64[2]
    %1 = sine %0 : f64[2]
    %2 = broadcast_in_dim %p3 : f64[2]
    %3 = multiply %p1, %2 : f64[2]
    %4 = multiply %3, %1 : f64[2]
    %5 = add %4, %p0 : f64[2]
    return %5, %1
  } : f64[2], f64[3, 2]
  return %0
}";

const LSTM: &str = "func @f(%h: f64[2, 2], %c: f64[2, 2], %x: f64[3, 2, 8], %u: f64[8, 2]) -> (y: f64[4, 2, 2]) {
  %0, %1, %2 = scan %h, %c, %x, %u {n_carried = 2, n_scanned = 1, length = 3} (%p0: f64[2, 2], %p1: f64[2, 2], %p2: f64[2, 8], %p3: f64[8, 2]) {
    %0 = dot_general %p0, %p3 {lhs_contract = [1], rhs_contract = [1]} : f64[2, 8]
    %1 = add %p2, %0 : f64[2, 8]
    %2 = slice %1 {limit = [2, 2]} : f64[2, 2]
    %3 = slice %1 {start = [0, 2], limit = [2, 4]} : f64[2, 2]
    %4 = slice %1 {start = [0, 4], limit = [2, 6]} : f64[2, 2]
    %5 = slice %1 {start = [0, 6], limit = [2, 8]} : f64[2, 2]
    %6 = logistic %2 : f64[2, 2]
    %7 = logistic %3 : f64[2, 2]
    %8 = tanh %4 : f64[2, 2]
    %9 = logistic %5 : f64[2, 2]
    %10 = multiply %7, %p1 : f64[2, 2]
    %11 = multiply %6, %8 : f64[2, 2]
    %12 = add %10, %11 : f64[2, 2]
    %13 = tanh %12 : f64[2, 2]
    %14 = multiply %9, %13 : f64[2, 2]
    return %14, %12, %14
  } : f64[2, 2], f64[2, 2], f64[3, 2, 2]
  %3 = reshape %1 : f64[1, 2, 2]
  %4 = concatenate %2, %3 {dim = 0} : f64[4, 2, 2]
  return %4
}";

const SWAPPING: &str = "func @f(%a: f64[2], %b: f64[2], %k: f64[2]) -> (y: f64[2]) {
  %0, %1, %2, %3 = scan %a, %b, %k, %k {n_carried = 3, length = 5, reverse = true} (%p0: f64[2], %p1: f64[2], %p2: f64[2], %p3: f64[2]) {
    %0 = multiply %p0, %p3 : f64[2]
    %1 = add %0, %p1 : f64[2]
    return %1, %p0, %p2, %p2
  } : f64[2], f64[2], f64[2], f64[5, 2]
  %4 = multiply %0, %1 : f64[2]
  %5 = reduce %3 {kind = sum, dims = [0]} : f64[2]
  %6 = multiply %4, %5 : f64[2]
  %7 = multiply %6, %2 : f64[2]
  return %7
}";

const COUNTING: &str = "func @f(%h: f64[2], %w: f64[2]) -> (y: f64[2]) {
  %0 = constant 0 : i32[]
  %1, %2, %3 = scan %h, %0, %w {n_carried = 2, length = 4} (%p0: f64[2], %p1: i32[], %p2: f64[2]) {
    %0 = constant 1 : i32[]
    %1 = add %p1, %0 : i32[]
    %2 = convert %1 : f64[]
    %3 = broadcast_in_dim %2 : f64[2]
    %4 = multiply %p0, %p2 : f64[2]
    %5 = sine %4 : f64[2]
    %6 = divide %5, %3 : f64[2]
    %7 = constant 2 : i32[]
    %8 = compare %p1, %7 {direction = ge} : bool[]
    %9 = broadcast_in_dim %8 : bool[2]
    %10 = select %9, %4, %6 : f64[2]
    %11 = exponential %p0 : f64[2]
    return %10, %1, %11
  } : f64[2], i32[], f64[4, 2]
  %4 = reduce %3 {kind = sum, dims = [0]} : f64[2]
  %5 = add %1, %4 : f64[2]
  return %5
}";

const MAPPED: &str = "func @f(%x: f64[3, 2, 2], %y: f64[3, 2]) -> (z: f64[3, 2]) {
  %0 = scan %x, %y {n_scanned = 2, length = 3} (%p0: f64[2, 2], %p1: f64[2]) {
    %0 = dot_general %p0, %p1 {lhs_contract = [1], rhs_contract = [0]} : f64[2]
    %1 = exponential %0 : f64[2]
    return %1
  } : f64[3, 2]
  return %0
}";

const NESTED: &str = "func @f(%h: f64[2], %x: f64[2, 3, 2], %w: f64[2, 2]) -> (y: f64[2, 3]) {
  %0, %1 = scan %h, %x, %w {n_carried = 1, n_scanned = 1, length = 2} (%p0: f64[2], %p1: f64[3, 2], %p2: f64[2, 2]) {
    %0, %1 = scan %p0, %p1, %p2 {n_carried = 1, n_scanned = 1, length = 3} (%p0: f64[2], %p1: f64[2], %p2: f64[2, 2]) {
      %0 = dot_general %p2, %p0 {lhs_contract = [1], rhs_contract = [0]} : f64[2]
      %1 = add %0, %p1 : f64[2]
      %2 = sine %1 : f64[2]
      %3 = reduce %2 {kind = sum, dims = [0]} : f64[]
      return %2, %3
    } : f64[2], f64[3]
    %2 = multiply %0, %p0 : f64[2]
    return %2, %1
  } : f64[2], f64[2, 3]
  %2 = reduce %0 {kind = sum, dims = [0]} : f64[]
  %3 = broadcast_in_dim %2 : f64[2, 3]
  %4 = multiply %3, %1 : f64[2, 3]
  return %4
}";

const BRANCH_IN_LOOP: &str = "func @f(%h: f64[2], %x: f64[4, 2], %w: f64[2]) -> (y: f64[2]) {
  %0 = scan %h, %x, %w {n_carried = 1, n_scanned = 1, length = 4} (%p0: f64[2], %p1: f64[2], %p2: f64[2]) {
    %0 = reduce %p1 {kind = sum, dims = [0]} : f64[]
    %1 = constant 0.0 : f64[]
    %2 = compare %0, %1 {direction = gt} : bool[]
    %3 = cond %2, %p0, %p1, %p2 (%p0: f64[2], %p1: f64[2], %p2: f64[2]) {
      %0 = multiply %p0, %p2 : f64[2]
      %1 = add %0, %p1 : f64[2]
      return %1
    } (%p0: f64[2], %p1: f64[2], %p2: f64[2]) {
      %0 = exponential %p0 : f64[2]
      return %0
    } : f64[2]
    return %3
  } : f64[2]
  return %0
}";

const LOOP_IN_BRANCH: &str = "func @f(%h: f64[2], %x: f64[3, 2], %k: f64[]) -> (y: f64[2]) {
  %0 = constant 5.0 : f64[]
  %1 = compare %k, %0 {direction = lt} : bool[]
  %2, %3 = cond %1, %h, %x, %k (%p0: f64[2], %p1: f64[3, 2], %p2: f64[]) {
    %0 = scan %p0, %p1 {n_carried = 1, n_scanned = 1, length = 3} (%p0: f64[2], %p1: f64[2]) {
      %0 = multiply %p0, %p1 : f64[2]
      %1 = sine %0 : f64[2]
      return %1
    } : f64[2]
    return %0, %p0
  } (%p0: f64[2], %p1: f64[3, 2], %p2: f64[]) {
    %0 = broadcast_in_dim %p2 : f64[2]
    return %0, %0
  } : f64[2], f64[2]
  %4 = multiply %2, %3 : f64[2]
  return %4
}";

const OTHER_BRANCH: &str = "func @f(%h: f64[2], %k: f64[]) -> (y: f64[2]) {
  %0 = constant 5.0 : f64[]
  %1 = compare %k, %0 {direction = gt} : bool[]
  %2 = cond %1, %h, %k (%p0: f64[2], %p1: f64[]) {
    %0 = sine %p0 : f64[2]
    return %0
  } (%p0: f64[2], %p1: f64[]) {
    %0 = broadcast_in_dim %p1 : f64[2]
    %1 = exponential %0 : f64[2]
    %2 = multiply %1, %p0 : f64[2]
    return %2
  } : f64[2]
  return %2
}";
