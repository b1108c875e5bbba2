//! Gradients of random programs: values used many times, results that are not used at all, shapes that change.

use nnc_ir::builder::Built;
use nnc_ir::ops::{DotAttrs, PadAttrs};
use nnc_ir::{Builder, Graph, Location, TensorData, Value};

use crate::table::spread;
use crate::{check, weighted_sum};

const N_PROGRAMS: u64 = 60;
const N_STEPS: usize = 12;

/// A sequence of numbers that depends on the seed alone (SplitMix64).
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

/// One more value of shape `[3, 3]` from two others. Every step is smooth and keeps elements of order one.
fn step(b: &mut Builder<'_>, kind: usize, x: Value, y: Value) -> Built {
    let ty = b.ty(x).clone();
    match kind {
        0 => b.tanh(x),
        1 => b.sine(x),
        2 => {
            let sum = b.add(x, y)?;
            b.logistic(sum)
        }
        3 => {
            let difference = b.subtract(x, y)?;
            b.cosine(difference)
        }
        4 => {
            let (x, y) = (b.tanh(x)?, b.tanh(y)?);
            b.multiply(x, y)
        }
        5 => {
            let (x, y) = (b.sine(x)?, b.logistic(y)?);
            b.divide(x, y)
        }
        6 => {
            let product =
                b.dot(x, y, DotAttrs { lhs_contract: vec![0], rhs_contract: vec![1], ..DotAttrs::default() })?;
            b.tanh(product)
        }
        7 => {
            let sum = b.reduce_sum(x, &[1])?;
            let sum = b.tanh(sum)?;
            let rows = b.broadcast_in_dim(sum, ty.shape, &[0])?;
            b.multiply(rows, y)
        }
        8 => {
            let turned = b.transpose(x, &[1, 0])?;
            b.reverse(turned, &[1])
        }
        9 => {
            let top = b.slice_dim(x, 0, 0, 2)?;
            let bottom = b.slice_dim(y, 0, 2, 3)?;
            b.concatenate(&[bottom, top], 0)
        }
        10 => {
            let corner = b.reduce_sum(y, &[0, 1])?;
            let corner = b.sine(corner)?;
            b.pad(x, corner, PadAttrs { low: vec![1, 0], high: vec![-1, 0], interior: vec![0, 0] })
        }
        _ => {
            let flat = b.reshape(x, [9])?;
            let product = b.reduce_prod(flat, &[0])?;
            let product = b.broadcast_scalar(product, ty.shape)?;
            b.add(product, y)
        }
    }
}

#[test]
fn gradients_of_random_programs_agree_with_finite_differences() {
    for seed in 0..N_PROGRAMS {
        let mut draw = Draw(seed);
        let inputs: Vec<TensorData> = (0..2).map(|idx| spread(&[3, 3], -1.0, 1.0, idx)).collect();
        let mut graph = Graph::new();
        let mut values: Vec<Value> = inputs.iter().map(|input| graph.param(input.ty(), Location::unknown())).collect();
        let mut b = Builder::new(&mut graph, Location::unknown());
        for _ in 0..N_STEPS {
            let (x, y) = (values[draw.below(values.len())], values[draw.below(values.len())]);
            values.push(step(&mut b, draw.below(12), x, y).expect("every step is well typed"));
        }
        let last = *values.last().expect("has steps");
        let loss = weighted_sum(&mut b, last, 3).expect("floats");
        graph.set_results(vec![loss]);
        check(&format!("random program {seed}"), &graph, &inputs);
    }
}
