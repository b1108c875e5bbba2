//! `gather` and `scatter`.

use super::*;
use crate::ops::{Combiner, GatherAttrs, ScatterAttrs};

#[test]
fn gather_takes_rows_and_clamps() {
    let table = counting(&[4, 2]);
    let op = Op::Gather(GatherAttrs {
        offset_dims: vec![1],
        collapsed_slice_dims: vec![0],
        start_index_map: vec![0],
        index_vector_dim: 1,
        slice_sizes: vec![1, 2],
        ..GatherAttrs::default()
    });
    let indices = ints(DType::I64, &[4], &[2, 0, 9, -3]);
    check(&op, &[&table, &indices], &floats(DType::F32, &[4, 2], &[4.0, 5.0, 0.0, 1.0, 6.0, 7.0, 0.0, 1.0]));
    check(&op, &[&table, &ints(DType::U8, &[0], &[])], &counting(&[0, 2]));
    check_error(&op, &[&counting(&[0, 2]), &indices], "slice size 1 of dimension 0 is beyond operand type f32[0, 2]");
}

/// Windows of `[2, 2]` at two-component indices, one batch of the operand for each second index of the batch.
#[test]
fn gather_interleaves_window_and_batch() {
    let operand = ints(DType::I32, &[2, 3, 4, 2], &(0..48).collect::<Vec<_>>());
    let indices = [0, 0, 1, 0, 2, 1, 0, 1, 1, 1, 0, 9, 0, 0, 2, 1, 2, 2, 0, 1, 1, 0, -4, 1];
    let indices = ints(DType::I64, &[2, 2, 3, 2], &indices);
    let op = Op::Gather(GatherAttrs {
        offset_dims: vec![3, 4],
        collapsed_slice_dims: vec![1],
        operand_batching_dims: vec![0],
        start_indices_batching_dims: vec![1],
        start_index_map: vec![2, 1],
        index_vector_dim: 3,
        slice_sizes: vec![1, 1, 2, 2],
    });
    let found = value(&op, &[&operand, &indices]);
    assert_eq!(found.shape, [2, 2, 3, 2, 2]);
    // Each window is four elements in a row of the operand's memory, from (batch, component 1, component 0, 0).
    let starts: Vec<i64> = found.to_i64().chunks(4).map(|window| window[0]).collect();
    assert_eq!(starts, [0, 2, 12, 24 + 8, 24 + 10, 24 + 16, 0, 12, 20, 24 + 8, 24 + 2, 24 + 8]);
    assert!(found.to_i64().chunks(4).all(|window| window.iter().zip(window[0]..).all(|(&x, expected)| x == expected)));
}

#[test]
fn gather_windows_may_lead_the_result() {
    // Window dimension 0, batch dimension 1: columns of the operand.
    let op = Op::Gather(GatherAttrs {
        offset_dims: vec![0],
        collapsed_slice_dims: vec![1],
        start_index_map: vec![1],
        index_vector_dim: 0,
        slice_sizes: vec![2, 1],
        ..GatherAttrs::default()
    });
    let indices = ints(DType::I32, &[1, 3], &[2, 1, 1]);
    check(&op, &[&counting(&[2, 3]), &indices], &floats(DType::F32, &[2, 3], &[2.0, 1.0, 1.0, 5.0, 4.0, 4.0]));
}

fn rows(combiner: Combiner) -> Op {
    Op::Scatter(ScatterAttrs {
        update_window_dims: vec![1],
        inserted_window_dims: vec![0],
        input_batching_dims: vec![],
        scatter_indices_batching_dims: vec![],
        scatter_dims_to_operand_dims: vec![0],
        index_vector_dim: 1,
        combiner,
    })
}

#[test]
fn scatter_combines_collisions_and_drops_what_is_outside() {
    let operand = floats(DType::F32, &[3, 2], &[10.0, 20.0, 30.0, 40.0, 50.0, 60.0]);
    let indices = ints(DType::I32, &[4], &[1, 3, 1, -1]);
    let updates = floats(DType::F32, &[4, 2], &[1.0, 100.0, 7.0, 7.0, 3.0, 5.0, 7.0, 7.0]);
    let case = |combiner, row: [f64; 2]| {
        let expected = floats(DType::F32, &[3, 2], &[10.0, 20.0, row[0], row[1], 50.0, 60.0]);
        check(&rows(combiner), &[&operand, &indices, &updates], &expected);
    };
    case(Combiner::Assign, [3.0, 5.0]);
    case(Combiner::Add, [34.0, 145.0]);
    case(Combiner::Multiply, [90.0, 20000.0]);
    case(Combiner::Minimum, [1.0, 5.0]);
    case(Combiner::Maximum, [30.0, 100.0]);
    let none = floats(DType::F32, &[0, 2], &[]);
    check(&rows(Combiner::Add), &[&operand, &ints(DType::I32, &[0], &[]), &none], &operand);
    check(&rows(Combiner::Add), &[&none, &indices, &updates], &none);
}

#[test]
fn scattered_sums_are_rounded_once() {
    // In f16 each 1 would be lost against 2048.
    let operand = floats(DType::F16, &[1, 1], &[2048.0]);
    let updates = floats(DType::F16, &[4, 1], &[1.0; 4]);
    let indices = ints(DType::I64, &[4], &[0; 4]);
    check(&rows(Combiner::Add), &[&operand, &indices, &updates], &floats(DType::F16, &[1, 1], &[2052.0]));
    let operand = ints(DType::U8, &[1, 1], &[250]);
    let updates = ints(DType::U8, &[4, 1], &[3; 4]);
    check(&rows(Combiner::Add), &[&operand, &indices, &updates], &ints(DType::U8, &[1, 1], &[6]));
}

#[test]
fn overlapping_windows_are_assigned_in_order_of_the_updates() {
    // Windows of two elements at 0 and 1 overlap at 1; the window dimension leads, so the updates in row-major order
    // are (window 0 of both), then (window 1 of both): element 1 gets updates[0, 1] first and updates[1, 0] last.
    let op = Op::Scatter(ScatterAttrs {
        update_window_dims: vec![0],
        inserted_window_dims: vec![],
        input_batching_dims: vec![],
        scatter_indices_batching_dims: vec![],
        scatter_dims_to_operand_dims: vec![0],
        index_vector_dim: 1,
        combiner: Combiner::Assign,
    });
    let updates = ints(DType::I32, &[2, 2], &[1, 2, 3, 4]);
    let found = value(&op, &[&ints(DType::I32, &[3], &[0; 3]), &ints(DType::I32, &[2], &[0, 1]), &updates]);
    assert_eq!(found.to_i64(), [1, 3, 4]);
}

#[test]
fn scatter_with_batching_dims_stays_in_its_batch() {
    let op = Op::Scatter(ScatterAttrs {
        update_window_dims: vec![],
        inserted_window_dims: vec![1],
        input_batching_dims: vec![0],
        scatter_indices_batching_dims: vec![0],
        scatter_dims_to_operand_dims: vec![1],
        index_vector_dim: 1,
        combiner: Combiner::Add,
    });
    let operand = floats(DType::F32, &[2, 3], &[0.0; 6]);
    let found = value(&op, &[&operand, &ints(DType::I64, &[2], &[2, 0]), &floats(DType::F32, &[2], &[1.0, 2.0])]);
    assert_eq!(found.to_f64(), [0.0, 0.0, 1.0, 2.0, 0.0, 0.0]);
}

#[test]
fn bool_cannot_be_summed_by_scatter() {
    let operand = ints(DType::Bool, &[1, 1], &[0]);
    let indices = ints(DType::I64, &[1], &[0]);
    check(
        &rows(Combiner::Maximum),
        &[&operand, &indices, &ints(DType::Bool, &[1, 1], &[1])],
        &ints(DType::Bool, &[1, 1], &[1]),
    );
    check_error(
        &rows(Combiner::Add),
        &[&operand, &indices, &operand],
        "operand `operand` has type bool[1, 1], expected a number to add",
    );
}
