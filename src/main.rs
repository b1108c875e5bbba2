//! nnc.
fn main() {}
