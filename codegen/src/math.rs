//! Transcendental functions as kernel IR: each call appends the instructions that compute the function of a register.
//!
//! Every target runs these same instructions, so all agree to the last bit. They take `f32` and `f64` registers of any
//! number of lanes. There are no branches and no tables: what would be a rare path is computed for every lane and
//! selected, which keeps vectors full. Special values (infinities, NaN, both zeros, denormal operands and results,
//! overflow) come out as C99 says; odd functions keep the sign of zero.
//!
//! The largest errors, in units of the last place of the result, for `f32` and `f64` alike:
//!
//! | function   | ULP   |
//! |------------|-------|
//! | `exp`      | 1.0   |
//! | `expm1`    | 1.5   |
//! | `log`      | 1.0   |
//! | `log1p`    | 1.5   |
//! | `tanh`     | 2.5   |
//! | `logistic` | 2.5   |
//! | `erf`      | 1.5   |
//! | `sin`      | 1.0   |
//! | `cos`      | 1.0   |
//! | `tan`      | 2.0   |
//! | `pow`      | 1.5   |
//! | `atan2`    | 2.0   |
//!
//! The polynomials are minimax fits computed by `math/coefficients.py`.

mod atan;
#[allow(clippy::approx_constant, reason = "constants are split into parts by one script, the familiar ones too")]
mod coefficients;
mod erf;
mod exponential;
mod logarithm;
mod pair;
mod power;
mod trigonometric;
mod value;

use std::cell::RefCell;

use self::value::Value;
use crate::kernel::{KernelBuilder, Reg};

/// Applies `function` to a register.
fn unary(b: &mut KernelBuilder, x: Reg, function: fn(Value<'_>) -> Value<'_>) -> Reg {
    let builder = RefCell::new(b);
    function(Value::new(&builder, x)).reg
}

/// Applies `function` to two registers of one type.
fn binary(b: &mut KernelBuilder, x: Reg, y: Reg, function: for<'e> fn(Value<'e>, Value<'e>) -> Value<'e>) -> Reg {
    let builder = RefCell::new(b);
    function(Value::new(&builder, x), Value::new(&builder, y)).reg
}

/// `e^x`, within 1 ULP.
pub fn exp(b: &mut KernelBuilder, x: Reg) -> Reg {
    unary(b, x, exponential::exp)
}

/// `e^x - 1`, within 1.5 ULP, also near 0.
pub fn expm1(b: &mut KernelBuilder, x: Reg) -> Reg {
    unary(b, x, exponential::expm1)
}

/// Natural logarithm, within 1 ULP. `log(±0)` is `-inf`; negative operands give NaN.
pub fn log(b: &mut KernelBuilder, x: Reg) -> Reg {
    unary(b, x, logarithm::log)
}

/// `log(1 + x)`, within 1.5 ULP, also near 0.
pub fn log1p(b: &mut KernelBuilder, x: Reg) -> Reg {
    unary(b, x, logarithm::log1p)
}

/// Hyperbolic tangent, within 2.5 ULP.
pub fn tanh(b: &mut KernelBuilder, x: Reg) -> Reg {
    unary(b, x, exponential::tanh)
}

/// `1 / (1 + e^-x)`, within 2.5 ULP.
pub fn logistic(b: &mut KernelBuilder, x: Reg) -> Reg {
    unary(b, x, exponential::logistic)
}

/// Error function, within 1.5 ULP.
pub fn erf(b: &mut KernelBuilder, x: Reg) -> Reg {
    unary(b, x, erf::erf)
}

/// Sine, within 1 ULP for every finite operand. Infinities give NaN.
pub fn sin(b: &mut KernelBuilder, x: Reg) -> Reg {
    unary(b, x, trigonometric::sin)
}

/// Cosine, within 1 ULP for every finite operand. Infinities give NaN.
pub fn cos(b: &mut KernelBuilder, x: Reg) -> Reg {
    unary(b, x, trigonometric::cos)
}

/// Tangent, within 2 ULP for every finite operand. Infinities give NaN.
pub fn tan(b: &mut KernelBuilder, x: Reg) -> Reg {
    unary(b, x, trigonometric::tan)
}

/// `x^y` within 1.5 ULP, with the special cases of C99: negative `x` with integer `y`, `pow(x, ±0) = pow(1, y) = 1`.
pub fn pow(b: &mut KernelBuilder, x: Reg, y: Reg) -> Reg {
    binary(b, x, y, power::pow)
}

/// Angle of the point `(x, y)` in `[-pi, pi]` within 2 ULP, with the special cases of C99. `y` is the first operand.
pub fn atan2(b: &mut KernelBuilder, y: Reg, x: Reg) -> Reg {
    binary(b, y, x, atan::atan2)
}
