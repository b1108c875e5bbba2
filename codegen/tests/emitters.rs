//! Every instruction of kernel IR in every CPU emitter.

mod support;

use support::{cases, check};

#[test]
fn loads_and_stores_of_every_type() {
    cases::loads_and_stores_of_every_type(&mut check);
}

#[test]
fn unary_ops() {
    cases::unary_ops(&mut check);
}

#[test]
fn binary_ops() {
    cases::binary_ops(&mut check);
}

#[test]
fn extrema_with_a_constant() {
    cases::extrema_with_a_constant(&mut check);
}

#[test]
fn shifts_by_one_amount() {
    cases::shifts_by_one_amount(&mut check);
}

#[test]
fn fused_multiply_add() {
    cases::fused_multiply_add(&mut check);
}

#[test]
fn product_and_sum() {
    cases::product_and_sum(&mut check);
}

#[test]
fn compare_and_select() {
    cases::compare_and_select(&mut check);
}

#[test]
fn casts_between_register_types() {
    cases::casts_between_register_types(&mut check);
}

#[test]
fn bitcasts_and_narrowing() {
    cases::bitcasts_and_narrowing(&mut check);
}

#[test]
fn lanes_partial_vectors_and_folds() {
    cases::lanes_partial_vectors_and_folds(&mut check);
}

#[test]
fn strided_and_repeated_lanes() {
    cases::strided_and_repeated_lanes(&mut check);
}

#[test]
fn register_tiles_loops_and_conditions() {
    cases::register_tiles_loops_and_conditions(&mut check);
}

#[test]
fn tile_products_and_transposes() {
    cases::tile_products_and_transposes(&mut check);
}
