//! Merging takes nodes of one place, as differentiation makes them; the rest is in the file tests.

use nnc_ir::parse_func;

use super::*;

#[test]
fn scans_that_differ_in_outputs_become_one() {
    let text = "func @f(%h: f32[4], %x: f32[9, 4]) -> (h: f32[4], a: f32[9, 4]) {
  %0, %1 = scan %h, %x {n_carried = 1, n_scanned = 1, length = 9} (%p0: f32[4], %p1: f32[4]) {
    %0 = add %p0, %p1 : f32[4]
    %1 = tanh %0 : f32[4]
    return %1, %p0
  } : f32[4], f32[9, 4]
  return %0, %1
}";
    let mut graph = parse_func(text).unwrap().graph;
    let scan = graph.def(graph.results()[0]).clone();
    let mut body = scan.regions[0].clone();
    let (sum, root, carry) = (Value(2), Value(3), Value(0));
    body.set_results(vec![root, sum, carry]);
    let other = graph.push_with_regions(scan.op, &scan.operands, vec![body], scan.location).unwrap();
    let results = graph.results().iter().copied().chain(graph.node(other).results().skip(1)).collect();
    graph.set_results(results);
    let merged = merge(&graph).unwrap();
    merged.verify().unwrap();
    assert_eq!(merged.n_nodes(), 3);
    let scan = merged.def(merged.results()[0]);
    assert_eq!(scan.regions[0].results(), [root, carry, sum]);
    let positions: Vec<u32> = merged.results().iter().map(|&result| merged.value(result).result_idx).collect();
    assert_eq!(positions, [0, 1, 2, 1]);
}
