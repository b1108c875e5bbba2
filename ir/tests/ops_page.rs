//! `docs/ops.md` is generated from the op table and the examples here. Every op has an example, which is canonical
//! text and, unless the op is reserved, sound. With `NNC_BLESS=1` the page is written instead of compared.

use std::fmt::Write;
use std::path::Path;

use nnc_ir::ops::{TABLE, Tolerance, Trait};
use nnc_ir::parse_func;
use pretty_assertions::assert_eq;

/// Parameters of the examples: everything before the statement.
const PARAMS: &str = "%x: f32[8, 6], %y: f32[8, 6], %w: f32[4, 6], %b: bool[8, 6], %i: i32[8, 6]";

/// One statement for each op, after those it needs.
const EXAMPLES: &[(&str, &[&str])] = &[
    ("constant", &["constant [1.0, 2.0] : f32[2]"]),
    ("iota", &["iota {dim = 1} : i32[8, 6]"]),
    ("rng_bits", &["constant [1, 2, 0, 0] : u32[4]", "rng_bits %0 : u32[8, 6]"]),
    ("negate", &["negate %x : f32[8, 6]"]),
    ("abs", &["abs %x : f32[8, 6]"]),
    ("sign", &["sign %x : f32[8, 6]"]),
    ("exponential", &["exponential %x : f32[8, 6]"]),
    ("exponential_minus_one", &["exponential_minus_one %x : f32[8, 6]"]),
    ("log", &["log %x : f32[8, 6]"]),
    ("log_plus_one", &["log_plus_one %x : f32[8, 6]"]),
    ("sqrt", &["sqrt %x : f32[8, 6]"]),
    ("rsqrt", &["rsqrt %x : f32[8, 6]"]),
    ("tanh", &["tanh %x : f32[8, 6]"]),
    ("logistic", &["logistic %x : f32[8, 6]"]),
    ("erf", &["erf %x : f32[8, 6]"]),
    ("sine", &["sine %x : f32[8, 6]"]),
    ("cosine", &["cosine %x : f32[8, 6]"]),
    ("tan", &["tan %x : f32[8, 6]"]),
    ("floor", &["floor %x : f32[8, 6]"]),
    ("ceil", &["ceil %x : f32[8, 6]"]),
    ("round_nearest_even", &["round_nearest_even %x : f32[8, 6]"]),
    ("is_finite", &["is_finite %x : bool[8, 6]"]),
    ("not", &["not %b : bool[8, 6]"]),
    ("convert", &["convert %x : bf16[8, 6]"]),
    ("bitcast_convert", &["bitcast_convert %x : u32[8, 6]"]),
    ("add", &["add %x, %y : f32[8, 6]"]),
    ("subtract", &["subtract %x, %y : f32[8, 6]"]),
    ("multiply", &["multiply %x, %y : f32[8, 6]"]),
    ("divide", &["divide %x, %y : f32[8, 6]"]),
    ("remainder", &["remainder %x, %y : f32[8, 6]"]),
    ("maximum", &["maximum %x, %y : f32[8, 6]"]),
    ("minimum", &["minimum %x, %y : f32[8, 6]"]),
    ("power", &["power %x, %y : f32[8, 6]"]),
    ("atan2", &["atan2 %x, %y : f32[8, 6]"]),
    ("and", &["and %b, %b : bool[8, 6]"]),
    ("or", &["or %b, %b : bool[8, 6]"]),
    ("xor", &["xor %i, %i : i32[8, 6]"]),
    ("shift_left", &["shift_left %i, %i : i32[8, 6]"]),
    ("shift_right_logical", &["shift_right_logical %i, %i : i32[8, 6]"]),
    ("shift_right_arithmetic", &["shift_right_arithmetic %i, %i : i32[8, 6]"]),
    ("compare", &["compare %x, %y {direction = lt} : bool[8, 6]"]),
    ("select", &["select %b, %x, %y : f32[8, 6]"]),
    ("clamp", &["clamp %x, %y, %x : f32[8, 6]"]),
    ("reshape", &["reshape %x : f32[48]"]),
    ("transpose", &["transpose %x {permutation = [1, 0]} : f32[6, 8]"]),
    ("broadcast_in_dim", &["broadcast_in_dim %x {dims = [1, 2]} : f32[3, 8, 6]"]),
    ("slice", &["slice %x {start = [1, 0], limit = [7, 6], stride = [2, 1]} : f32[3, 6]"]),
    ("pad", &["constant 0.0 : f32[]", "pad %x, %0 {low = [1, 0], high = [1, -1]} : f32[10, 5]"]),
    ("concatenate", &["concatenate %x, %y {dim = 0} : f32[16, 6]"]),
    ("reverse", &["reverse %x {dims = [1]} : f32[8, 6]"]),
    ("dynamic_slice", &["constant 2 : i32[]", "dynamic_slice %x, %0, %0 : f32[4, 3]"]),
    ("dynamic_update_slice", &["constant 2 : i32[]", "dynamic_update_slice %x, %w, %0, %0 : f32[8, 6]"]),
    (
        "gather",
        &[
            "constant [5, 0, 5] : i32[3]",
            "gather %x, %0 {offset_dims = [1], collapsed_slice_dims = [0], start_index_map = [0], index_vector_dim = 1, slice_sizes = [1, 6]} : f32[3, 6]",
        ],
    ),
    (
        "scatter",
        &[
            "constant [5, 0, 5, 1] : i32[4]",
            "scatter %x, %0, %w {update_window_dims = [1], inserted_window_dims = [0], scatter_dims_to_operand_dims = [0], index_vector_dim = 1, combiner = add} : f32[8, 6]",
        ],
    ),
    ("reduce", &["reduce %x {kind = sum, dims = [1]} : f32[8]"]),
    ("cumulative", &["cumulative %x {kind = sum, dim = 1, reverse = true} : f32[8, 6]"]),
    ("sort", &["sort %x {dim = 1, descending = true} : f32[8, 6]"]),
    ("reduce_window", &["reduce_window %x {kind = max, window = [2, 2], stride = [2, 2]} : f32[4, 3]"]),
    (
        "select_and_scatter",
        &[
            "reduce_window %x {kind = max, window = [2, 2], stride = [2, 2]} : f32[4, 3]",
            "select_and_scatter %x, %0 {kind = max, window = [2, 2], stride = [2, 2]} : f32[8, 6]",
        ],
    ),
    ("dot_general", &["dot_general %x, %w {lhs_contract = [1], rhs_contract = [1]} : f32[8, 4]"]),
    (
        "convolution",
        &[
            "reshape %x : f32[1, 3, 4, 4]",
            "constant 1.0 : f32[2, 3, 3, 3]",
            "convolution %0, %1 {padding = [[1, 1], [1, 1]]} : f32[1, 2, 4, 4]",
        ],
    ),
    (
        "fusion",
        &["fusion %x, %y {kind = pointwise} (%p0: f32[8, 6], %p1: f32[8, 6]) {
    %0 = add %p0, %p1 : f32[8, 6]
    %1 = tanh %0 : f32[8, 6]
    return %1
  } : f32[8, 6]"],
    ),
    (
        "scan",
        &[
            "constant 0.0 : f32[6]",
            "scan %0, %x, %w {n_carried = 1, n_scanned = 1, length = 8} (%p0: f32[6], %p1: f32[6], %p2: f32[4, 6]) {
    %0 = add %p0, %p1 : f32[6]
    %1 = dot_general %p2, %0 {lhs_contract = [1], rhs_contract = [0]} : f32[4]
    return %0, %1
  } : f32[6], f32[8, 4]",
        ],
    ),
    (
        "cond",
        &[
            "constant true : bool[]",
            "cond %0, %x (%p0: f32[8, 6]) {
    return %p0
  } (%p0: f32[8, 6]) {
    %0 = negate %p0 : f32[8, 6]
    return %0
  } : f32[8, 6]",
        ],
    ),
    (
        "while",
        &["while %x (%p0: f32[8, 6]) {
    %0 = reduce %p0 {kind = max, dims = [0, 1]} : f32[]
    %1 = constant 1.0 : f32[]
    %2 = compare %0, %1 {direction = gt} : bool[]
    return %2
  } (%p0: f32[8, 6]) {
    %0 = tanh %p0 : f32[8, 6]
    return %0
  } : f32[8, 6]"],
    ),
    ("optimization_barrier", &["optimization_barrier %x : f32[8, 6]"]),
    ("stop_gradient", &["stop_gradient %x : f32[8, 6]"]),
];

/// Each statement with its result; `scan` has two.
fn numbered(statements: &[&str]) -> Vec<String> {
    let text = |(number, statement): (usize, &&str)| match statement.starts_with("scan") {
        true => format!("%{number}, %{} = {statement}", number + 1),
        false => format!("%{number} = {statement}"),
    };
    statements.iter().enumerate().map(text).collect()
}

/// A function of these statements.
fn function(statements: &[&str]) -> String {
    let body: String = numbered(statements).iter().map(|statement| format!("  {statement}\n")).collect();
    format!("func @example({PARAMS}) -> () {{\n{body}  return\n}}\n")
}

#[test]
fn every_op_has_a_sound_example() {
    let named: Vec<&str> = EXAMPLES.iter().map(|(mnemonic, _)| *mnemonic).collect();
    let expected: Vec<&str> = TABLE.iter().map(|info| info.mnemonic).filter(|mnemonic| *mnemonic != "param").collect();
    assert_eq!(named, expected);
    for (mnemonic, statements) in EXAMPLES {
        let text = function(statements);
        let func = parse_func(&text).unwrap_or_else(|faults| panic!("{}\n{text}", faults[0]));
        assert_eq!(func.to_string(), text);
        let (_, last) = func.graph.nodes().next_back().expect("a statement");
        assert_eq!(last.op.mnemonic(), *mnemonic);
        func.verify().unwrap_or_else(|faults| panic!("{}\n{text}", faults[0]));
    }
}

#[test]
fn the_page_lists_the_table() {
    let mut page = String::from(
        "# Ops\n\nGenerated from the op table (`ir/src/ops.rs`) by `NNC_BLESS=1 cargo test -p nnc-ir --test ops_page`.\n\
         Examples stand in a function with the parameters\n",
    );
    let _ = writeln!(page, "`{PARAMS}`.");
    for info in TABLE.iter().filter(|info| info.mnemonic != "param") {
        let operands = info.operands.join(", ");
        let variadic = if info.traits.contains(&Trait::Variadic) { "..." } else { "" };
        let _ = write!(page, "\n## `{}({operands}{variadic})`\n\n", info.mnemonic);
        page.extend(info.doc.lines().map(|line| format!("{}\n", line.trim())));
        let traits: Vec<String> = info.traits.iter().map(|t| format!("{t:?}").to_lowercase()).collect();
        let exactness = match info.tolerance {
            Tolerance::Exact => "bit for bit",
            Tolerance::Rounding => "one rounding",
            Tolerance::Transcendental => "a few units in the last place",
            Tolerance::Accumulation => "the error bound of a sum",
        };
        let _ = writeln!(
            page,
            "\n*Exactness:* {exactness}. *Traits:* {}.",
            match traits.as_slice() {
                [] => "none".to_string(),
                traits => traits.join(", "),
            }
        );
        let (_, statements) = EXAMPLES.iter().find(|(mnemonic, _)| *mnemonic == info.mnemonic).expect("an example");
        let text = numbered(statements).join("\n").replace("\n  ", "\n");
        let _ = write!(page, "\n```\n{text}\n```\n");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ops.md");
    if std::env::var_os("NNC_BLESS").is_some() {
        std::fs::write(&path, &page).expect("the page can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, page, "docs/ops.md is out of date: run with NNC_BLESS=1");
}
