//! Lowered graphs against the reference interpreter: every node of a function is lowered, its kernels run in the
//! kernel interpreter, and the results must agree within the op's tolerance.

#[path = "lowering/harness.rs"]
mod harness;
mod support;

use harness::{check, check_close, lowered};

#[test]
fn pointwise_with_views() {
    check(
        "func @f(%x: f32[5, 7], %b: f32[7], %s: f32[]) -> (r: f32[5, 7], t: f32[7, 5]) {
  %0 = fusion %x, %b, %s {kind = pointwise} (%x: f32[5, 7], %b: f32[7], %s: f32[]) {
    %0 = broadcast_in_dim %b {dims = [1]} : f32[5, 7]
    %1 = add %x, %0 : f32[5, 7]
    %2 = broadcast_in_dim %s : f32[5, 7]
    %3 = multiply %1, %2 : f32[5, 7]
    return %3
  } : f32[5, 7]
  %1 = transpose %0 {permutation = [1, 0]} : f32[7, 5]
  return %0, %1
}",
    );
}

#[test]
fn movement_ops() {
    check(
        "func @f(%x: f32[6, 8], %y: f32[6, 3], %v: f32[]) -> (r: f32[6, 8]) {
  %0 = concatenate %x, %y {dim = 1} : f32[6, 11]
  %1 = pad %x, %v {low = [1, -2], high = [0, 3], interior = [0, 0]} : f32[7, 9]
  %2 = pad %x, %v {low = [1, 2], high = [-1, 3], interior = [2, 1]} : f32[16, 20]
  %3 = reverse %x {dims = [1]} : f32[6, 8]
  %4 = slice %x {start = [1, 0], limit = [6, 8], stride = [2, 3]} : f32[3, 3]
  %5 = reshape %x : f32[3, 16]
  %6 = reshape %x : f32[4, 12]
  %7 = transpose %6 {permutation = [1, 0]} : f32[12, 4]
  %8 = reshape %7 : f32[2, 2, 12]
  %9, %10 = fusion %x, %y {kind = pointwise} (%x: f32[6, 8], %y: f32[6, 3]) {
    %0 = concatenate %x, %y {dim = 1} : f32[6, 11]
    %1 = reshape %0 : f32[66]
    %2 = reverse %1 {dims = [0]} : f32[66]
    return %2, %0
  } : f32[66], f32[6, 11]
  return %3
}",
    );
}

#[test]
fn reductions_in_every_direction() {
    for dims in ["[0]", "[1]", "[2]", "[0, 1]", "[1, 2]", "[0, 2]", "[0, 1, 2]"] {
        for (extents, shape) in [([3, 5, 37], "[3, 5, 37]"), ([40, 2, 16], "[40, 2, 16]"), ([1, 20, 1], "[1, 20, 1]")] {
            let listed: Vec<usize> =
                dims.trim_matches(['[', ']']).split(", ").map(|dim| dim.parse().expect("a dim")).collect();
            let kept: Vec<String> =
                (0..3).filter(|dim| !listed.contains(dim)).map(|dim: usize| extents[dim].to_string()).collect();
            let kept = format!("[{}]", kept.join(", "));
            let mut text = format!(
                "func @f(%x: f32{shape}, %i: i32{shape}, %b: bool{shape}, %h: bf16{shape}, %d: f64{shape}, %u: u8{shape})"
            );
            text.push_str(&format!(" -> (r: f32{kept}) {{\n"));
            let mut number = 0;
            for (operand, dtype) in [("x", "f32"), ("i", "i32"), ("h", "bf16"), ("d", "f64"), ("u", "u8")] {
                for kind in ["sum", "prod", "min", "max"] {
                    text.push_str(&format!(
                        "  %{number} = reduce %{operand} {{kind = {kind}, dims = {dims}}} : {dtype}{kept}\n"
                    ));
                    number += 1;
                }
                for kind in ["argmin", "argmax"] {
                    text.push_str(&format!(
                        "  %{number} = reduce %{operand} {{kind = {kind}, dims = {dims}}} : i64{kept}\n"
                    ));
                    number += 1;
                }
            }
            for kind in ["any", "all"] {
                text.push_str(&format!("  %{number} = reduce %b {{kind = {kind}, dims = {dims}}} : bool{kept}\n"));
                number += 1;
            }
            text.push_str("  return %0\n}");
            check(&text);
        }
    }
}

#[test]
fn positions_in_rows_shorter_than_a_fold() {
    // All elements are on one side of 0, which must not stand in for the elements a short row lacks.
    for len in [1, 3, 8, 9, 15] {
        check(&format!(
            "func @f(%x: f32[5, {len}]) -> (low: i64[5], high: i64[5]) {{
  %0 = exponential %x : f32[5, {len}]
  %1 = reduce %0 {{kind = argmin, dims = [1]}} : i64[5]
  %2 = negate %0 : f32[5, {len}]
  %3 = reduce %2 {{kind = argmax, dims = [1]}} : i64[5]
  return %1, %3
}}"
        ));
    }
}

#[test]
fn softmax_is_one_kernel() {
    let text = "func @f(%x: f32[9, 21]) -> (r: f32[9, 21]) {
  %0 = fusion %x {kind = row} (%x: f32[9, 21]) {
    %0 = reduce %x {kind = max, dims = [1]} : f32[9]
    %1 = broadcast_in_dim %0 {dims = [0]} : f32[9, 21]
    %2 = subtract %x, %1 : f32[9, 21]
    %3 = exponential %2 : f32[9, 21]
    %4 = reduce %3 {kind = sum, dims = [1]} : f32[9]
    %5 = broadcast_in_dim %4 {dims = [0]} : f32[9, 21]
    %6 = divide %3, %5 : f32[9, 21]
    return %6
  } : f32[9, 21]
  return %0
}";
    check_close(text, 1e-6);
    let nodes = lowered(text);
    assert_eq!(nodes[0].kernels.len(), 1);
    assert_eq!(nodes[0].schedule.to_string(), "row lanes 9x21, 3 passes, 1 kept, in 9");
    assert_eq!(nodes[0].inplace, [(0, 0)], "the row is read before it is written");
}

#[test]
fn column_sums_keep_the_mask() {
    let text = "func @f(%y: f32[37, 50], %dy: f32[37, 50]) -> (dz: f32[37, 50], db: f32[50]) {
  %0, %1 = fusion %y, %dy {kind = row} (%y: f32[37, 50], %dy: f32[37, 50]) {
    %0 = constant 0.0 : f32[37, 50]
    %1 = compare %y, %0 {direction = gt} : bool[37, 50]
    %2 = select %1, %dy, %0 : f32[37, 50]
    %3 = reduce %2 {kind = sum, dims = [0]} : f32[50]
    return %2, %3
  } : f32[37, 50], f32[50]
  return %0, %1
}";
    check_close(text, 1e-5);
    let nodes = lowered(text);
    assert_eq!(nodes[0].kernels.len(), 1);
    assert_eq!(nodes[0].inplace, [(0, 0), (1, 0)]);
}

#[test]
fn contractions_in_every_layout() {
    for (m, n, k) in [(1, 1, 1), (5, 7, 3), (64, 10, 33), (1, 40, 50), (33, 1, 20), (20, 100, 17), (70, 70, 20)] {
        let text = format!(
            "func @f(%a: f32[{m}, {k}], %at: f32[{k}, {m}], %b: f32[{k}, {n}], %bt: f32[{n}, {k}]) -> (r: f32[{m}, {n}]) {{
  %0 = dot_general %a, %b {{lhs_contract = [1], rhs_contract = [0]}} : f32[{m}, {n}]
  %1 = dot_general %a, %bt {{lhs_contract = [1], rhs_contract = [1]}} : f32[{m}, {n}]
  %2 = dot_general %at, %b {{lhs_contract = [0], rhs_contract = [0]}} : f32[{m}, {n}]
  %3 = dot_general %at, %bt {{lhs_contract = [0], rhs_contract = [1]}} : f32[{m}, {n}]
  return %0
}}"
        );
        check(&text);
    }
}

#[test]
fn contractions_with_batches_and_types() {
    check(
        "func @f(%a: f32[2, 3, 5, 4], %b: f32[2, 3, 7, 4], %c: f64[2, 5, 4], %d: f64[2, 4, 18], %e: i32[3, 20], %g: i32[20, 2], %h: bf16[3, 20], %j: bf16[17, 20]) -> (r: i32[3, 2]) {
  %0 = dot_general %a, %b {lhs_batch = [0, 1], rhs_batch = [0, 1], lhs_contract = [3], rhs_contract = [3]} : f32[2, 3, 5, 7]
  %1 = dot_general %a, %b {lhs_batch = [1], rhs_batch = [1], lhs_contract = [0, 3], rhs_contract = [0, 3]} : f32[3, 5, 7]
  %2 = dot_general %a, %b {lhs_contract = [0, 1, 3], rhs_contract = [0, 1, 3]} : f32[5, 7]
  %3 = dot_general %a, %b {lhs_contract = [3], rhs_contract = [3]} : f32[2, 3, 5, 2, 3, 7]
  %4 = dot_general %c, %d {lhs_batch = [0], rhs_batch = [0], lhs_contract = [2], rhs_contract = [1]} : f64[2, 5, 18]
  %5 = dot_general %e, %g {lhs_contract = [1], rhs_contract = [0]} : i32[3, 2]
  %6 = dot_general %h, %j {lhs_contract = [1], rhs_contract = [1]} : bf16[3, 17]
  return %5
}",
    );
}

#[test]
fn linear_layer_and_its_update() {
    let text = "func @f(%x: f32[64, 50], %w: f32[40, 50], %b: f32[40], %dy: f32[64, 40], %lr: f32[]) -> (y: f32[64, 40], w: f32[40, 50]) {
  %0 = fusion %x, %w, %b {kind = contraction} (%x: f32[64, 50], %w: f32[40, 50], %b: f32[40]) {
    %0 = dot_general %x, %w {lhs_contract = [1], rhs_contract = [1]} : f32[64, 40]
    %1 = broadcast_in_dim %b {dims = [1]} : f32[64, 40]
    %2 = add %0, %1 : f32[64, 40]
    %3 = constant 0.0 : f32[64, 40]
    %4 = maximum %2, %3 : f32[64, 40]
    return %4
  } : f32[64, 40]
  %1 = fusion %dy, %x, %w, %lr {kind = contraction} (%dy: f32[64, 40], %x: f32[64, 50], %w: f32[40, 50], %lr: f32[]) {
    %0 = dot_general %dy, %x {lhs_contract = [0], rhs_contract = [0]} : f32[40, 50]
    %1 = broadcast_in_dim %lr : f32[40, 50]
    %2 = multiply %0, %1 : f32[40, 50]
    %3 = subtract %w, %2 : f32[40, 50]
    return %3
  } : f32[40, 50]
  return %0, %1
}";
    check_close(text, 1e-5);
    let nodes = lowered(text);
    assert_eq!(nodes[1].kernels.len(), 1);
    assert_eq!(nodes[1].inplace, [(2, 0)], "the weights are updated in place");
}

#[test]
fn columns_in_panels() {
    check_close(
        "func @f(%x: f32[20, 33], %w: f32[3, 33, 96], %b: f32[288], %y: f32[20, 288]) -> (z: f32[20, 288]) {
  %0 = fusion %x, %w, %b, %y {kind = contraction} (%x: f32[20, 33], %w: f32[3, 33, 96], %b: f32[288], %y: f32[20, 288]) {
    %0 = dot_general %x, %w {lhs_contract = [1], rhs_contract = [1]} : f32[20, 3, 96]
    %1 = reshape %0 : f32[20, 288]
    %2 = broadcast_in_dim %b {dims = [1]} : f32[20, 288]
    %3 = add %1, %2 : f32[20, 288]
    %4 = multiply %3, %y : f32[20, 288]
    return %4
  } : f32[20, 288]
  return %0
}",
        1e-4,
    );
}

#[test]
fn elementwise_ops_on_every_type() {
    let floats = ["f16", "bf16", "f32", "f64"];
    let ints = ["u8", "i8", "i32", "u32", "i64"];
    let mut text = String::from("func @f(");
    let types: Vec<&str> = floats.iter().chain(&ints).copied().chain(["bool"]).collect();
    let params: Vec<String> =
        types.iter().flat_map(|ty| [format!("%{ty}x: {ty}[3, 19]"), format!("%{ty}y: {ty}[3, 19]")]).collect();
    text.push_str(&params.join(", "));
    text.push_str(") -> (r: f32[3, 19]) {\n");
    let mut number = 0;
    let mut add = |statement: String| {
        text.push_str(&format!("  %{number} = {statement}\n"));
        number += 1;
    };
    for ty in floats {
        for op in [
            "negate",
            "abs",
            "sign",
            "exponential",
            "exponential_minus_one",
            "log",
            "log_plus_one",
            "sqrt",
            "rsqrt",
            "tanh",
            "logistic",
            "erf",
            "sine",
            "cosine",
            "tan",
            "floor",
            "ceil",
            "round_nearest_even",
        ] {
            add(format!("{op} %{ty}x : {ty}[3, 19]"));
        }
        add(format!("is_finite %{ty}x : bool[3, 19]"));
        add(format!("atan2 %{ty}x, %{ty}y : {ty}[3, 19]"));
    }
    for ty in ints {
        add(format!("not %{ty}x : {ty}[3, 19]"));
        for op in ["shift_left", "shift_right_logical", "shift_right_arithmetic", "and", "or", "xor"] {
            add(format!("{op} %{ty}x, %{ty}y : {ty}[3, 19]"));
        }
    }
    for ty in floats.iter().chain(&ints) {
        for op in ["add", "subtract", "multiply", "divide", "remainder", "maximum", "minimum", "power"] {
            add(format!("{op} %{ty}x, %{ty}y : {ty}[3, 19]"));
        }
        add(format!("clamp %{ty}x, %{ty}y, %{ty}y : {ty}[3, 19]"));
    }
    for ty in &types {
        add(format!("select %boolx, %{ty}x, %{ty}y : {ty}[3, 19]"));
        for dir in ["eq", "ne", "lt", "le", "gt", "ge"] {
            add(format!("compare %{ty}x, %{ty}y {{direction = {dir}}} : bool[3, 19]"));
        }
        for to in &types {
            if to != ty {
                add(format!("convert %{ty}x : {to}[3, 19]"));
            }
        }
    }
    for op in ["and", "or", "xor", "maximum", "minimum"] {
        add(format!("{op} %boolx, %booly : bool[3, 19]"));
    }
    add("not %boolx : bool[3, 19]".to_string());
    for (from, to) in
        [("f32", "i32"), ("u32", "f32"), ("i64", "f64"), ("f64", "i64"), ("u8", "i8"), ("i8", "u8"), ("i32", "u32")]
    {
        add(format!("bitcast_convert %{from}x : {to}[3, 19]"));
    }
    text.push_str("  return %f32x\n}");
    check(&text);
}

#[test]
fn leaves_and_random_bits() {
    check(
        "func @f(%s: u32[4]) -> (r: u32[5, 7]) {
  %0 = rng_bits %s : u32[5, 7]
  %1 = rng_bits %s : u32[2, 2, 33]
  %2 = iota {dim = 0} : f32[3, 17]
  %3 = iota {dim = 1} : i64[3, 17]
  %4 = iota {dim = 1} : u8[3, 300]
  %5 = iota {dim = 0} : f16[70]
  %6 = iota {dim = 1} : bf16[2, 300]
  return %0
}",
    );
}

#[test]
fn gather_and_scatter() {
    check(
        "func @f(%t: f32[11, 20], %i: i64[6], %j: i32[3, 2], %u: f32[6, 20], %v: f32[3], %w: f32[3, 4, 5]) -> (r: f32[6, 20]) {
  %0 = gather %t, %i {offset_dims = [1], collapsed_slice_dims = [0], start_index_map = [0], index_vector_dim = 1, slice_sizes = [1, 20]} : f32[6, 20]
  %1 = gather %t, %j {collapsed_slice_dims = [0, 1], start_index_map = [0, 1], index_vector_dim = 1, slice_sizes = [1, 1]} : f32[3]
  %2 = gather %t, %j {offset_dims = [0, 2], start_index_map = [1, 0], index_vector_dim = 1, slice_sizes = [4, 5]} : f32[4, 3, 5]
  %3 = scatter %t, %i, %u {update_window_dims = [1], inserted_window_dims = [0], scatter_dims_to_operand_dims = [0], index_vector_dim = 1, combiner = add} : f32[11, 20]
  %4 = scatter %t, %j, %v {inserted_window_dims = [0, 1], scatter_dims_to_operand_dims = [0, 1], index_vector_dim = 1, combiner = assign} : f32[11, 20]
  %5 = scatter %t, %j, %w {update_window_dims = [1, 2], scatter_dims_to_operand_dims = [0, 1], index_vector_dim = 1, combiner = maximum} : f32[11, 20]
  return %0
}",
    );
}

#[test]
fn empty_tensors_and_scalars() {
    check(
        "func @f(%e: f32[0, 5], %x: f32[4, 5], %s: f32[], %t: f32[], %k: f32[3, 0], %l: f32[0, 6]) -> (r: f32[0, 5]) {
  %0 = add %e, %e : f32[0, 5]
  %1 = reduce %e {kind = sum, dims = [0]} : f32[5]
  %2 = reduce %e {kind = max, dims = [0, 1]} : f32[]
  %3 = reduce %e {kind = prod, dims = [1]} : f32[0]
  %4 = concatenate %e, %x {dim = 0} : f32[4, 5]
  %5 = dot_general %k, %l {lhs_contract = [1], rhs_contract = [0]} : f32[3, 6]
  %6 = multiply %s, %t : f32[]
  %7 = reduce %s {kind = sum, dims = []} : f32[]
  %8 = pad %e, %s {low = [2, 0], high = [1, 0], interior = [3, 0]} : f32[3, 5]
  %9 = dot_general %s, %t : f32[]
  %10 = reduce %x {kind = sum, dims = []} : f32[4, 5]
  return %0
}",
    );
}

#[test]
fn transposed_copies() {
    check(
        "func @f(%x: f32[70, 90], %y: f32[3, 40, 20], %z: f64[20, 30]) -> (r: f32[90, 70]) {
  %0 = transpose %x {permutation = [1, 0]} : f32[90, 70]
  %1 = transpose %y {permutation = [2, 0, 1]} : f32[20, 3, 40]
  %2 = transpose %y {permutation = [0, 2, 1]} : f32[3, 20, 40]
  %3 = transpose %z {permutation = [1, 0]} : f64[30, 20]
  %4 = fusion %y {kind = pointwise} (%y: f32[3, 40, 20]) {
    %0 = slice %y {start = [0, 3, 2], limit = [3, 39, 18], stride = [1, 1, 1]} : f32[3, 36, 16]
    %1 = transpose %0 {permutation = [2, 1, 0]} : f32[16, 36, 3]
    %2 = reshape %1 : f32[16, 108]
    return %2
  } : f32[16, 108]
  return %0
}",
    );
    assert_eq!(
        lowered(
            "func @f(%x: f32[70, 90]) -> (r: f32[90, 70]) {
  %0 = transpose %x {permutation = [1, 0]} : f32[90, 70]
  return %0
}"
        )[0]
        .schedule
        .to_string(),
        "pack 64 in 2"
    );
}

#[test]
fn work_is_shared_out() {
    let text = "func @f(%x: f32[301, 215], %b: f32[215], %w: f32[215, 100], %long: f32[70003]) -> (r: f32[301, 215]) {
  %0 = fusion %x, %b {kind = pointwise} (%x: f32[301, 215], %b: f32[215]) {
    %0 = broadcast_in_dim %b {dims = [1]} : f32[301, 215]
    %1 = multiply %x, %0 : f32[301, 215]
    %2 = divide %1, %x : f32[301, 215]
    %3 = subtract %2, %0 : f32[301, 215]
    %4 = maximum %3, %x : f32[301, 215]
    return %4
  } : f32[301, 215]
  %1 = tanh %long : f32[70003]
  %2 = reduce %x {kind = sum, dims = [1]} : f32[301]
  %3 = reduce %x {kind = argmax, dims = [0]} : i64[215]
  %4 = dot_general %x, %w {lhs_contract = [1], rhs_contract = [0]} : f32[301, 100]
  return %0
}";
    check_close(text, 1e-4);
    let nodes = lowered(text);
    for (idx, node) in nodes.iter().enumerate() {
        let extent = node.kernels.last().expect("a kernel").kernel.parallel_extent();
        assert!(extent > 1, "node {idx} runs on one thread: {}", node.schedule);
    }
}
