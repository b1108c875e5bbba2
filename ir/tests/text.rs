//! The text format: what is read, what is printed, and what faults look like.

use nnc_ir::{Module, WeightSource, parse_module};
use pretty_assertions::assert_eq;

fn parse(text: &str) -> Result<Module, Vec<String>> {
    parse_module(text, "t.ir", WeightSource::none())
        .map_err(|faults| faults.iter().map(|fault| fault.to_string()).collect())
}

/// `text` is canonical.
fn check_canonical(text: &str) {
    let module = parse(text).unwrap_or_else(|faults| panic!("{}\n{text}", faults.join("\n")));
    assert_eq!(module.to_string(), text);
}

/// `text` means `canonical`.
fn check_prints(text: &str, canonical: &str) {
    let module = parse(text).unwrap_or_else(|faults| panic!("{}\n{text}", faults.join("\n")));
    assert_eq!(module.to_string(), canonical);
    check_canonical(canonical);
}

/// `text` has exactly these faults.
fn check_faults(text: &str, expected: &[&str]) {
    let faults = parse(text).expect_err("the text is faulty");
    assert_eq!(faults, expected);
}

/// A function of these statements on `%x: f32[N, 4]`.
fn body(statements: &str) -> String {
    format!("func @f(%x: f32[N, 4]) -> (r: f32[N, 4]) {{\n{statements}}}\n")
}

#[test]
fn the_example_of_the_architecture_page() {
    check_canonical(
        "func @forward(
  %x: f32[N, 784],
  param %linear.weight: f32[10, 784] = @linear.weight,
  state %m: f32[10] = @m,
) -> (
  logits: f32[N, 10],
  m: f32[10] into %m,
) {
  %0 = dot_general %x, %linear.weight {lhs_contract = [1], rhs_contract = [1]} : f32[N, 10]
  %1 = constant 0.0 : f32[N, 10]
  %2 = maximum %0, %1 : f32[N, 10]
  %3 = reduce %2 {kind = sum, dims = [0]} : f32[10]
  return %2, %3
}
",
    );
}

#[test]
fn a_long_signature_has_one_parameter_a_line() {
    check_canonical(
        r#"func @"the long one"(
  %input: f32[(N // 2), 2*N*"batch-size" + 1],
  param %0.weight: f32[512, 784] = @0.weight,
  param %"0": f32[512] = @"odd \"name\"",
) -> (
  loss: f32[],
  0.weight: f32[512, 784] into %0.weight,
  "a b": f32[512] into %"0",
) {
  %0 = constant 1.0 : f32[]
  return %0, %0.weight, %"0"
}
"#,
    );
}

#[test]
fn functions_stand_apart_and_may_be_empty() {
    check_canonical("func @f() -> () {\n  return\n}\n\nfunc @g(%x: bool[]) -> (x: bool[]) {\n  return %x\n}\n");
}

#[test]
fn regions_nest_and_number_from_0() {
    check_canonical(
        "func @f(%x: f32[4]) -> (a: f32[4], b: f32[4]) {
  %0 = negate %x : f32[4]
  %1, %2 = fusion %0, %x {kind = pointwise} (%p0: f32[4], %p1: f32[4]) {
    %0 = add %p0, %p1 : f32[4]
    %1 = fusion %0 {kind = row} (%p0: f32[4]) {
      return %p0
    } : f32[4]
    return %0, %1
  } : f32[4], f32[4]
  %3 = add %1, %2 : f32[4]
  return %3, %2
}
",
    );
}

#[test]
fn constants_of_every_kind() {
    check_canonical(
        "func @f() -> () {
  %0 = constant -1.5e-7 : f32[N]
  %1 = constant [[1, 2], [-3, 4]] : i8[2, 2]
  %2 = constant [] : f32[0, 3]
  %3 = constant [[], []] : f32[2, 0]
  %4 = constant [nan, inf, -inf, nan(0x7fc00001), nan(0xffc00000), -0.0] : f32[6]
  %5 = constant [true, false] : bool[2]
  %6 = constant [65504.0, 5.9604645e-8] : f16[2]
  %7 = constant 9223372036854775807 : i64[]
  %8 = constant -9223372036854775808 : i64[]
  %9 = constant 4294967295 : u32[]
  %10 = constant 1e300 : f64[]
  return
}
",
    );
    check_prints(
        "func @f() -> () {\n  %0 = constant 2 : f64[]\n  %1 = constant 3. : bf16[1]\n  return\n}",
        "func @f() -> () {\n  %0 = constant 2.0 : f64[]\n  %1 = constant 3.0 : bf16[1]\n  return\n}\n",
    );
}

#[test]
fn every_op_with_attributes() {
    check_canonical(
        "func @f(%x: f32[8, 6], %i: i32[5, 1], %s: u32[4], %img: f32[1, 3, 8, 8], %k: f32[4, 3, 3, 3], %pred: bool[]) -> () {
  %0 = iota {dim = 1} : i32[8, 6]
  %1 = rng_bits %s : u32[8, N]
  %2 = convert %x : bf16[8, 6]
  %3 = bitcast_convert %x : u32[8, 6]
  %4 = compare %x, %x {direction = le} : bool[8, 6]
  %5 = reshape %x : f32[48]
  %6 = transpose %x {permutation = [1, 0]} : f32[6, 8]
  %7 = broadcast_in_dim %x {dims = [1, 2]} : f32[N, 8, 6]
  %8 = slice %x {start = [1, 0], limit = [7, 6], stride = [2, 1]} : f32[3, 6]
  %9 = constant 0.0 : f32[]
  %10 = pad %x, %9 {low = [1, -1], high = [0, 2], interior = [1, 0]} : f32[16, 7]
  %11 = concatenate %x, %x, %x {dim = 0} : f32[24, 6]
  %12 = reverse %x {dims = [1]} : f32[8, 6]
  %13 = gather %x, %i {offset_dims = [1], collapsed_slice_dims = [0], start_index_map = [0], index_vector_dim = 1, slice_sizes = [1, 6]} : f32[5, 6]
  %14 = scatter %x, %i, %13 {update_window_dims = [1], inserted_window_dims = [0], scatter_dims_to_operand_dims = [0], index_vector_dim = 1, combiner = add} : f32[8, 6]
  %15 = reduce %x {kind = argmax, dims = [0, 1]} : i64[]
  %16 = cumulative %x {kind = sum, dim = 1, reverse = true} : f32[8, 6]
  %17 = sort %x {dim = 0, descending = true} : f32[8, 6]
  %18 = reduce_window %img {kind = max, window = [1, 1, 2, 2], stride = [1, 1, 2, 2], padding = [[0, 0], [0, 0], [1, 1], [1, 1]]} : f32[1, 3, 5, 5]
  %19 = select_and_scatter %img, %18 {kind = max, window = [1, 1, 2, 2], stride = [1, 1, 2, 2]} : f32[1, 3, 8, 8]
  %20 = convolution %img, %k {stride = [2, 2], padding = [[1, 1], [1, 1]], groups = 3} : f32[1, 4, 4, 4]
  %21 = convolution %img, %k : f32[1, 4, 6, 6]
  %22, %23 = scan %x, %x {n_carried = 1, n_scanned = 1, length = 8, reverse = true} (%p0: f32[8, 6], %p1: f32[6]) {
    return %p0, %p1
  } : f32[8, 6], f32[8, 6]
  %24 = cond %pred, %x (%p0: f32[8, 6]) {
    return %p0
  } (%p0: f32[8, 6]) {
    %0 = negate %p0 : f32[8, 6]
    return %0
  } : f32[8, 6]
  %25 = optimization_barrier %x : f32[8, 6]
  %26 = dynamic_slice %x, %15, %15 : f32[2, 2]
  return
}
",
    );
}

#[test]
fn types_and_results_may_be_left_out() {
    check_prints(
        "
        // A comment.
        func @f(%x: f32[N, 4], %w: f32[4, 2],) {   // another
          %h = dot_general %x, %w {lhs_contract = [1], rhs_contract = [0]}

          %best = reduce %h {kind = argmax, dims = [1]}  // of each row
          return %best, %h }",
        "func @f(%x: f32[N, 4], %w: f32[4, 2]) -> (r0: i64[N], r1: f32[N, 2]) {
  %0 = dot_general %x, %w {lhs_contract = [1], rhs_contract = [0]} : f32[N, 2]
  %1 = reduce %0 {kind = argmax, dims = [1]} : i64[N]
  return %1, %0
}
",
    );
    check_prints(
        "func @f(%x: f32[4]) -> f32[4] {\n  return %x\n}",
        "func @f(%x: f32[4]) -> (r0: f32[4]) {\n  return %x\n}\n",
    );
    check_prints(
        "func @f(state %x: f32[4]) -> (x into %x) {\n  return %x\n}",
        "func @f(state %x: f32[4]) -> (x: f32[4] into %x) {\n  return %x\n}\n",
    );
}

#[test]
fn dimensions_have_one_form() {
    check_prints(
        "func @f(%x: f32[N + N - 1, (2*N + 4) // 2, N // (M * 2), 3 - 1, M*(N + 1)], %y: f32[-1 + N, 2 * (N // 3)]) {
           return
         }",
        "func @f(%x: f32[2*N - 1, N + 2, (N // (2*M)), 2, M + M*N], %y: f32[N - 1, 2*(N // 3)]) -> () {\n  return\n}\n",
    );
}

#[test]
fn all_faults_are_reported_at_their_places() {
    check_faults(
        "func @f(%x: f33[4], %y: f32[4]) -> (r: f32[4]) {
  %0 = ad %y, %y : f32[4]
  %1 = add %y, %z : f32[4]
  %2 = add %0, %1 : f32[4]
  %3 = add %y, %x : f32[4]
  %4 = reduce %y {kind = sun, dims = [0]} : f32[]
  %5 = reduce %y {kind = sum, dim = [0]} : f32[]
  %6 = negate %y, : f32[4]
  %6 = negate %y : f32[4]
  %7 = $
  return %7
}
func @g() {
",
        &[
            "t.ir:1:13: unknown element type `f33`\n  note: expected one of bool, u8, i8, i16, u16, i32, u32, i64, u64, f16, bf16, f32, f64",
            "t.ir:2:8: unknown op `ad`\n  note: did you mean `add`?",
            "t.ir:6:19: reduce: attribute `kind` is sun, expected one of sum, prod, min, max, any, all, argmin, argmax",
            "t.ir:7:31: reduce: unknown attribute `dim`, expected `kind`, `dims`",
            "t.ir:8:19: found `:`, expected a value",
            "t.ir:9:3: value `%6` is defined twice\n  note: t.ir:8:3: first defined here",
            "t.ir:10:8: unexpected character '$', expected an op",
            "t.ir:14:1: found the end of the text, expected `}`",
        ],
    );
}

#[test]
fn a_faulty_line_that_opens_a_block_takes_the_block_along() {
    check_faults(
        &body(
            "  %0 = fusio %x {kind = pointwise} (%p0: f32[N, 4]) {
    %0 = negat %p0
    return %0
  } : f32[N, 4]
  %1 = add %x, %y
  return %0
",
        ),
        &["t.ir:2:8: unknown op `fusio`\n  note: did you mean `fusion`?", "t.ir:6:16: undefined value `%y`"],
    );
    check_faults(
        &body(
            "  %0 = fusion %x {kind = pointwise} (%p0: f32[N, 4]) {
    %0 = negate %x
    return %0
  }
  %1 = add %0, %x : f32[N, 4
  return %1
",
        ),
        &["t.ir:3:17: undefined value `%x`", "t.ir:6:29: found the end of the line, expected `,` or `]`"],
    );
}

#[test]
fn near_misses_are_named() {
    check_faults(
        "func @f(%linear.weight: f32[4]) {\n  %0 = negate %linear.wieght\n  %1 = negate %far\n  return %1\n}",
        &[
            "t.ir:2:15: undefined value `%linear.wieght`\n  note: did you mean `%linear.weight`?",
            "t.ir:3:15: undefined value `%far`",
        ],
    );
}

#[test]
fn weights_of_a_file_are_looked_up_at_once() {
    let text = "func @f(param %w: f32[1] = @w) {\n  %0 = constant @v\n  return\n}";
    let faults = |weights| -> Vec<String> {
        parse_module(text, "t.ir", weights).expect_err("missing").iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        faults(WeightSource::missing_file("t.safetensors")),
        [
            "t.ir:1:28: there is no weight @w: t.safetensors does not exist",
            "t.ir:2:17: constant: there is no weight @v: t.safetensors does not exist",
        ]
    );
    assert_eq!(faults(WeightSource::none()), ["t.ir:2:17: constant: there is no weight @v"]);
}

#[test]
fn the_signature_is_met() {
    check_faults(
        "func @f(%x: f32[4]) -> (a: f32[4], b: f32[2], c: f32[4] into %0) {\n  %0 = negate %x\n  return %x, %0, %0\n}",
        &[
            "t.ir:3:3: return: result `b` has type f32[4], expected f32[2]\n  note: t.ir:1:36: declared here",
            "t.ir:1:62: result `c` donates into %0, which is no parameter",
        ],
    );
    check_faults(
        "func @f(%x: f32[4]) -> (a: f32[4]) {\n  return\n}",
        &["t.ir:2:3: return: 0 values, expected 1 as the signature has"],
    );
    check_faults("func @f(%x: f32[4]) -> (a: f32[4]) {\n}", &["t.ir:2:1: the block ends without `return`"]);
    check_faults("func @f(%x: f32[4]) {\n  return %x\n  %0 = negate %x\n}", &["t.ir:3:3: statement after `return`"]);
}

#[test]
fn constants_meet_their_types() {
    let fault = |constant: &str| {
        let faults = parse(&format!("func @f() {{\n  %0 = constant {constant}\n  return\n}}")).expect_err("faulty");
        faults.join("; ").replace("t.ir:2:", "")
    };
    assert_eq!(fault("300 : u8[]"), "17: constant: 300 is out of range for u8");
    assert_eq!(fault("-1 : u32[]"), "17: constant: -1 is out of range for u32");
    assert_eq!(fault("1.5 : i32[]"), "17: constant: 1.5 is no i32");
    assert_eq!(fault("1e39 : f32[]"), "17: constant: 1e39 is out of range for f32");
    assert_eq!(fault("70000.0 : f16[]"), "17: constant: 70000.0 is out of range for f16");
    assert_eq!(fault("1 : bool[]"), "17: constant: 1 is no bool");
    assert_eq!(fault("nan(0x7f800000) : f32[]"), "17: constant: nan(0x7f800000) is no NaN of type f32");
    assert_eq!(fault("nan(0x17fc00001) : f32[]"), "17: constant: nan(0x17fc00001) is no NaN of type f32");
    assert_eq!(fault("[1.0, 2.0] : f32[3]"), "17: constant: the list has extents [2], expected those of f32[3]");
    assert_eq!(fault("[1.0] : f32[N]"), "17: constant: a list cannot have the symbolic type f32[N]");
    assert_eq!(
        fault("[[1.0], [1.0, 2.0]] : f32[2, 2]"),
        "26: the list has 2 items, but an earlier one beside it has 1"
    );
    assert_eq!(fault("[[1.0], 2.0] : f32[2, 1]"), "25: elements stand at different depths");
    assert_eq!(
        fault("[1.0] : f32[99999999999, 99999999999]"),
        "25: a tensor of type f32[99999999999, 99999999999] does not fit into memory"
    );
    assert_eq!(fault("1.0"), "8: constant: the result type must be written");
    assert_eq!(fault("@w : f32[1]"), "17: constant: there is no weight @w");
}

#[test]
fn depth_and_size_are_bounded() {
    let nested = |open: &str, close: &str| format!("{}N{}", open.repeat(100_000), close.repeat(100_000));
    let dims = parse(&format!("func @f(%x: f32[{}]) {{\n  return\n}}", nested("(", ")"))).expect_err("too deep");
    assert_eq!(dims[0], "t.ir:1:82: parentheses are nested more than 64 deep");
    let lists =
        parse(&format!("func @f() {{\n  %0 = constant {}\n  return\n}}", nested("[", "]"))).expect_err("too deep");
    assert_eq!(lists[0], "t.ir:2:50: lists are nested more than 32 deep");
    let regions = "%0 = fusion {kind = row} () {\n".repeat(100_000);
    let regions = parse(&format!("func @f() {{\n{regions}")).expect_err("too deep");
    assert_eq!(regions[0], "t.ir:34:27: regions are nested more than 32 deep");
    let ranks = parse(&format!("func @f(%x: f32[{}]) {{\n  return\n}}", "1, ".repeat(100_000))).expect_err("too many");
    assert_eq!(ranks[0], "t.ir:1:13: the type has more than 32 dimensions");
    let attrs: String = (0..100_000).map(|idx| format!("a{idx} = 1, ")).collect();
    let attrs = parse(&format!("func @f() {{\n  %0 = iota {{{attrs}}}\n  return\n}}")).expect_err("too many");
    assert_eq!(attrs, ["t.ir:2:148: more than 16 attributes"]);
    let twice = parse(&format!("func @f({}) {{\n  return\n}}", "%x: f32[1], ".repeat(100_000))).expect_err("twice");
    assert_eq!(twice.len(), 101);
    assert_eq!(twice[100], "t.ir:1:1219: too many faults: the rest of the text is not read");
    let product = ["(A + B + C + D + E + F + G + H)"; 100].join("*");
    let product = parse(&format!("func @f(%x: f32[{product}]) {{\n  return\n}}")).expect_err("too large");
    assert_eq!(product[0], "t.ir:1:80: the dimension has more than 1024 terms and factors");
    let quotients =
        parse(&format!("func @f(%x: f32[N{}]) {{\n  return\n}}", " // 3".repeat(40))).expect_err("too deep");
    assert_eq!(quotients[0], "t.ir:1:13: an extent has quotients nested 40 deep, expected at most 32");
}

#[test]
fn locations_are_lines_of_the_text() {
    let module = parse(&body("  %0 = negate %x\n  return %0\n")).expect("sound");
    let graph = &module.funcs[0].graph;
    let places: Vec<String> = graph.nodes().map(|(_, data)| data.location.to_string()).collect();
    assert_eq!(places, ["t.ir:1:9", "t.ir:2:3"]);
}

#[test]
fn lengths_of_scans_may_be_symbolic() {
    for length in ["0", "N", "2*N + 1", "N*\"batch size\""] {
        check_canonical(&counted(length, length));
    }
    // Outside brackets `//` would begin a comment.
    check_canonical(&counted("[(N // 2)]", "(N // 2)"));
    check_prints(&counted("[7]", "7"), &counted("7", "7"));
    check_faults(&counted("[1, 2]", "1"), &["t.ir:2:36: scan: attribute `length` is [1, 2], expected a dimension"]);
}

/// A function that scans nothing.
fn counted(length: &str, extent: &str) -> String {
    format!(
        "func @f(%x: f32[]) -> (last: f32[], all: f32[{extent}]) {{
  %0, %1 = scan %x {{n_carried = 1, length = {length}}} (%p0: f32[]) {{
    return %p0, %p0
  }} : f32[], f32[{extent}]
  return %0, %1
}}
"
    )
}
