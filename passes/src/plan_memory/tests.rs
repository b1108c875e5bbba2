//! Plans of small functions, as text.

use nnc_ir::parse::parse_func;

use super::*;

/// Elementwise ops may work in place on any operand of the same size.
fn plan(text: &str) -> (Func, MemoryPlan) {
    let func = parse_func(text).unwrap();
    let facts = Facts::of(&func.graph, &|graph, node| {
        let data = graph.node(node);
        let bytes = bytes_of(graph, data.first_result);
        let same = |&(_, &operand): &(usize, &Value)| bytes_of(graph, operand) == bytes;
        let in_place = data.operands.iter().enumerate().filter(same).map(|(idx, _)| (idx, 0)).collect();
        LaunchFacts { in_place, ..LaunchFacts::default() }
    });
    let plan = plan_memory(&func, &facts);
    (func, plan)
}

#[test]
fn chains_share_one_buffer() {
    let (func, plan) = plan(
        "func @f(%x: f32[64]) -> (y: f32[64]) {
          %0 = exponential %x : f32[64]
          %1 = negate %0 : f32[64]
          %2 = tanh %1 : f32[64]
          return %2
        }",
    );
    assert_eq!(
        plan.report(&func),
        "arena 256 bytes, lower bound 256\n\
         exponential: %0 at arena 0 [256 live]\n\
         negate: %1 at arena 0, in place [256 live]\n\
         tanh: %2 at result y [256 live]\n"
    );
}

#[test]
fn readers_of_a_donated_parameter_come_first() {
    let (func, plan) = plan(
        "func @f(%x: f32[16], param %w: f32[16] = @w) -> (w: f32[16] into %w, y: f32[16]) {
          %0 = add %w, %x : f32[16]
          %1 = multiply %w, %x : f32[16]
          return %0, %1
        }",
    );
    assert_eq!(
        plan.report(&func),
        "arena 0 bytes, lower bound 0\n\
         multiply: %1 at result y [0 live]\n\
         add: %0 at param w [0 live]\n"
    );
}

#[test]
fn a_reader_of_old_and_new_forces_a_copy() {
    let (func, plan) = plan(
        "func @f(%x: f32[16], param %w: f32[16] = @w) -> (w: f32[16] into %w, y: f32[16]) {
          %0 = add %w, %x : f32[16]
          %1 = multiply %w, %0 : f32[16]
          return %0, %1
        }",
    );
    assert_eq!(
        plan.report(&func),
        "arena 64 bytes, lower bound 64\n\
         add: %0 at arena 0 [64 live]\n\
         multiply: %1 at result y [64 live]\n\
         copy: %0 from arena 0 to param w [64 live]\n"
    );
}

#[test]
fn states_can_be_swapped() {
    let (func, plan) = plan(
        "func @f(state %a: f32[4] = @a, state %b: f32[4] = @b) -> (a: f32[4] into %a, b: f32[4] into %b) {
          return %b, %a
        }",
    );
    assert_eq!(
        plan.report(&func),
        "arena 128 bytes, lower bound 128\n\
         copy: %b from param b to arena 0 [64 live]\n\
         copy: %a from param a to arena 64 [128 live]\n\
         copy: %b from arena 0 to param a [128 live]\n\
         copy: %a from arena 64 to param b [64 live]\n"
    );
}

#[test]
fn carries_of_a_scan_take_no_copies() {
    // %h is stacked, %c changes in place, %w never does, %d is the slice before, and what %b was is stacked.
    let (func, plan) = plan(
        "func @f(%h: f32[8], %c: f32[8], %w: f32[8], %d: f32[8], %b: f32[8], %xs: f32[5, 8]) -> (c: f32[8], ys: f32[5, 8]) {
          %0, %1, %2, %3, %4, %5, %6 = scan %h, %c, %w, %d, %b, %xs {n_carried = 5, n_scanned = 1, length = 5} (%p0: f32[8], %p1: f32[8], %p2: f32[8], %p3: f32[8], %p4: f32[8], %p5: f32[8]) {
            %0 = add %p0, %p5 : f32[8]
            %1 = multiply %p1, %p2 : f32[8]
            %2 = multiply %p4, %p3 : f32[8]
            return %0, %1, %p2, %p5, %2, %0, %p4
          } : f32[8], f32[8], f32[8], f32[8], f32[8], f32[5, 8], f32[5, 8]
          %7 = add %5, %6 : f32[5, 8]
          return %1, %7
        }",
    );
    assert_eq!(
        plan.report(&func),
        "arena 640 bytes, lower bound 640\n\
         scan: %0 at arena 384; %1 at result c; %2 at arena 448; %3 at arena 512; %4 at arena 576; %5 at arena 0; \
         %6 at arena 192 [640 live]\n  \
         5 times, p0 in the stack of output 0, p1 in place, p2 unchanged, p3 the %p5 before, p4 in the stack of output 1: \
         arena 0 bytes, lower bound 0\n    \
         add: %0 at result 5 [0 live]\n    \
         multiply: %1 at param p1 [0 live]\n    \
         multiply: %2 at result 4 [0 live]\n\
         add: %7 at result ys [384 live]\n"
    );
}

#[test]
fn carries_that_cannot_change_in_place_go_by_turns() {
    let (func, plan) = plan(
        "func @f(%a: f32[8], %b: f32[8]) -> (a: f32[8], b: f32[8]) {
          %0, %1 = scan %a, %b {n_carried = 2, n_scanned = 0, length = 5} (%p0: f32[8], %p1: f32[8]) {
            return %p1, %p0
          } : f32[8], f32[8]
          return %0, %1
        }",
    );
    assert_eq!(
        plan.report(&func),
        "arena 128 bytes, lower bound 128\n\
         scan: %0 at result a; %1 at result b [128 live]\n  \
         5 times, p0 two slots by turns, p1 two slots by turns: arena 0 bytes, lower bound 0\n    \
         copy: %p1 from param p1 to result 0 [0 live]\n    \
         copy: %p0 from param p0 to result 1 [0 live]\n"
    );
}

#[test]
fn while_loops_change_their_results_in_place() {
    let (func, plan) = plan(
        "func @f(state %x: f32[8] = @x, %n: i32[]) -> (x: f32[8] into %x) {
          %0, %1 = while %x, %n (%p0: f32[8], %p1: i32[]) {
            %0 = constant 0 : i32[]
            %1 = compare %p1, %0 {direction = gt} : bool[]
            return %1
          } (%p0: f32[8], %p1: i32[]) {
            %0 = exponential %p0 : f32[8]
            %1 = constant 1 : i32[]
            %2 = subtract %p1, %1 : i32[]
            return %0, %2
          } : f32[8], i32[]
          return %0
        }",
    );
    assert_eq!(
        plan.report(&func),
        "arena 128 bytes, lower bound 128\n\
         while: %0 at param x; %1 at arena 64 [128 live]\n  \
         condition: arena 64 bytes, lower bound 64\n    \
         compare: %1 at arena 0 [64 live]\n  \
         body: arena 0 bytes, lower bound 0\n    \
         exponential: %0 at param p0 [0 live]\n    \
         subtract: %2 at param p1 [0 live]\n"
    );
}
