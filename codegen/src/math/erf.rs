//! The error function.
//!
//! Near 0 it is `x + x P(x^2)`. Elsewhere it is 1 minus the complement, which is below 0.21 there, so that errors of
//! the complement weigh little: for `f32` its logarithm is a polynomial, for `f64` it is `e^(-x^2)` times a polynomial
//! in `1 / (1 + x / 2)`.

use nnc_ir::ops::CompareDir;

use super::Math;
use crate::kernel::{BinOp, KernelBuilder, Reg};

/// Largest weighted error 2^-31.1.
const ERF_F32: [f64; 7] = [
    0.12837916666,
    -0.37612633861,
    0.11283696486,
    -0.026859412976,
    0.0052009888479,
    -0.00081414687296,
    0.000083622625769,
];

/// Largest weighted error 2^-36.7.
const ERFC_LOG_F32: [f64; 10] = [
    0.000085942418024,
    -1.1289797282,
    -0.63475355098,
    -0.10616735694,
    0.023122677778,
    -0.0029406272928,
    -0.000059520180911,
    0.0001034048226,
    -0.000017862072022,
    0.00000111074697,
];

/// Largest weighted error 2^-65.5.
const ERF_F64: [f64; 13] = [
    0.1283791670955125739,
    -0.3761263890318375172,
    0.1128379167095507686,
    -0.02686617064511868703,
    0.005223977625274339985,
    -0.0008548327010100299217,
    0.0001205533229963921863,
    -0.0000149256269730582056,
    0.000001646156448380017925,
    -0.0000001635693537373545869,
    0.0000000147090747566145236,
    -0.000000001158364347388332657,
    0.00000000006351528990027685058,
];

/// Largest weighted error 2^-70.7.
const ERFC_F64: [f64; 21] = [
    0.2296213198668403956,
    0.7957998587373290109,
    0.9078162805959743282,
    0.6222134178329280487,
    0.09378622022686445917,
    -0.2112053358958545714,
    -0.08117396783997920505,
    0.1196828803940440567,
    0.03718607650014915654,
    -0.09467474063936865714,
    0.005244558157999154708,
    0.07633096460932955202,
    -0.04660575800632743291,
    -0.04168532193002687664,
    0.07514373479837021666,
    -0.01603778822432463387,
    -0.06629798612747074387,
    0.07683185044997711658,
    0.004003498422588104636,
    -0.0851203542771577701,
    0.06271728877784136943,
];

/// Error function.
pub(crate) fn erf(b: &mut KernelBuilder, x: Reg) -> Reg {
    let mut m = Math::new(b, x);
    let magnitude = m.abs(x);
    let (one, square) = (m.c(1.0), m.mul(x, x));
    let near = if m.is_f32() { m.polynomial(square, &ERF_F32) } else { m.polynomial(square, &ERF_F64) };
    let near = m.fma(magnitude, near, magnitude);
    let complement = if m.is_f32() {
        // Beyond 4 the result is 1.
        let limit = m.c(4.0);
        let clamped = m.b.binary(BinOp::Min, limit, magnitude);
        let logarithm = m.polynomial(clamped, &ERFC_LOG_F32);
        m.exp(logarithm)
    } else {
        let limit = m.c(6.0);
        let clamped = m.b.binary(BinOp::Min, limit, magnitude);
        let half = m.c(0.5);
        let below = m.fma(clamped, half, one);
        let t = m.div(one, below);
        let center = m.c(15.0 / 32.0);
        let t = m.sub(t, center);
        let factor = m.polynomial(t, &ERFC_F64);
        let square = m.mul(clamped, clamped);
        let square = m.neg(square);
        let power = m.exp(square);
        m.mul(power, factor)
    };
    let far = m.sub(one, complement);
    let is_near = m.is(magnitude, CompareDir::Lt, 0.92);
    let result = m.select(is_near, near, far);
    m.copy_sign(result, x)
}
