//! `rng_bits` as integer arithmetic: Philox4x32-10 (Salmon et al., SC'11), each lane a block of its own.

use nnc_ir::Value;
use nnc_ir::ops::CompareDir;

use super::affine::{Affine, dense_strides, dot};
use super::cx::{Cx, Eval};
use crate::kernel::{BinOp, KernelBuilder, Reg, Ty};

const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
const WEYL: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];
const ROUNDS: u32 = 10;

/// Element of the result at `coords`: word `i % 4` of block `i / 4`.
pub(super) fn eval(cx: &mut Cx<'_>, value: Value, coords: &[Affine]) -> Eval<Reg> {
    let region = cx.region;
    let state = region.operands(value)[0];
    let linear = dot(coords, &dense_strides(region.shape(value)));
    let position = cx.coord_reg(&linear, Ty::I64);
    let lanes = cx.b.reg_type(position).lanes;
    let mut words = Vec::with_capacity(4);
    for word in 0..4 {
        let word = cx.eval(state, &[Affine::constant(word)])?;
        words.push(cx.promote(word, lanes));
    }
    let b = &mut cx.b;
    let two = b.const_i64(Ty::I64, lanes, 2);
    let block = b.binary(BinOp::ShrLogical, position, two);
    let low = b.cast(Ty::U32, block);
    let high = upper_half(b, block);
    let block = philox(b, [low, high, words[2], words[3]], [words[0], words[1]]);
    // Word `i % 4`, by two selections.
    let position = b.cast(Ty::U32, position);
    let bit = |b: &mut KernelBuilder, mask: i64| {
        let mask = b.const_i64(Ty::U32, lanes, mask);
        let zero = b.const_i64(Ty::U32, lanes, 0);
        let bit = b.binary(BinOp::And, position, mask);
        b.compare(CompareDir::Ne, bit, zero)
    };
    let (odd, second) = (bit(b, 1), bit(b, 2));
    let first_pair = b.select(odd, block[1], block[0]);
    let second_pair = b.select(odd, block[3], block[2]);
    Ok(b.select(second, second_pair, first_pair))
}

fn upper_half(b: &mut KernelBuilder, wide: Reg) -> Reg {
    let lanes = b.reg_type(wide).lanes;
    let width = b.const_i64(Ty::I64, lanes, 32);
    let shifted = b.binary(BinOp::ShrLogical, wide, width);
    b.cast(Ty::U32, shifted)
}

/// High and low word of a product.
fn wide_product(b: &mut KernelBuilder, word: Reg, multiplier: u32) -> (Reg, Reg) {
    let lanes = b.reg_type(word).lanes;
    let wide = b.cast(Ty::I64, word);
    let multiplier = b.const_i64(Ty::I64, lanes, i64::from(multiplier));
    let product = b.mul(wide, multiplier);
    (upper_half(b, product), b.cast(Ty::U32, product))
}

/// One block, lowest word first.
fn philox(b: &mut KernelBuilder, counter: [Reg; 4], key: [Reg; 2]) -> [Reg; 4] {
    let lanes = b.reg_type(counter[0]).lanes;
    let ([mut c0, mut c1, mut c2, mut c3], [mut k0, mut k1]) = (counter, key);
    let weyl = WEYL.map(|step| b.const_i64(Ty::U32, lanes, i64::from(step)));
    for _ in 0..ROUNDS {
        let (high0, low0) = wide_product(b, c0, MULTIPLIERS[0]);
        let (high1, low1) = wide_product(b, c2, MULTIPLIERS[1]);
        let mixed1 = b.binary(BinOp::Xor, high1, c1);
        let mixed0 = b.binary(BinOp::Xor, high0, c3);
        c0 = b.binary(BinOp::Xor, mixed1, k0);
        c2 = b.binary(BinOp::Xor, mixed0, k1);
        (c1, c3) = (low1, low0);
        k0 = b.add(k0, weyl[0]);
        k1 = b.add(k1, weyl[1]);
    }
    [c0, c1, c2, c3]
}
