//! Plans of small functions, as text.

use nnc_ir::parse::parse_func;

use super::*;

/// Elementwise ops may work in place on any operand of the same size.
fn plan(text: &str) -> (Func, MemoryPlan) {
    let func = parse_func(text).unwrap();
    let plan = plan_memory(&func, &|node| {
        let data = func.graph.node(node);
        let bytes = bytes_of(&func.graph, data.first_result);
        let same = |&(_, &operand): &(usize, &Value)| bytes_of(&func.graph, operand) == bytes;
        let in_place = data.operands.iter().enumerate().filter(same).map(|(idx, _)| (idx, 0)).collect();
        LaunchFacts { in_place, scratch: Vec::new() }
    });
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
