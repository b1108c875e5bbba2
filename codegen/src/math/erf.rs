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
    0.128_379_167_095_512_6,
    -0.376_126_389_031_837_54,
    0.112_837_916_709_550_76,
    -0.026_866_170_645_118_686,
    0.005_223_977_625_274_339_6,
    -0.000_854_832_701_010_029_9,
    0.000_120_553_322_996_392_19,
    -0.000_014_925_626_973_058_205,
    0.000_001_646_156_448_380_018,
    -0.000_000_163_569_353_737_354_58,
    0.000_000_014_709_074_756_614_524,
    -0.000_000_001_158_364_347_388_332_6,
    0.000_000_000_063_515_289_900_276_85,
];

/// Largest weighted error 2^-70.7.
const ERFC_F64: [f64; 21] = [
    0.229_621_319_866_840_4,
    0.795_799_858_737_329_1,
    0.907_816_280_595_974_3,
    0.622_213_417_832_928,
    0.093_786_220_226_864_46,
    -0.211_205_335_895_854_58,
    -0.081_173_967_839_979_21,
    0.119_682_880_394_044_05,
    0.037_186_076_500_149_16,
    -0.094_674_740_639_368_66,
    0.005_244_558_157_999_154,
    0.076_330_964_609_329_55,
    -0.046_605_758_006_327_436,
    -0.041_685_321_930_026_88,
    0.075_143_734_798_370_22,
    -0.016_037_788_224_324_633,
    -0.066_297_986_127_470_75,
    0.076_831_850_449_977_12,
    0.004_003_498_422_588_104_6,
    -0.085_120_354_277_157_76,
    0.062_717_288_777_841_37,
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
