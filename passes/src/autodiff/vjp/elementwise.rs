//! Rules of the elementwise ops.

use std::f64::consts::FRAC_2_SQRT_PI;

use nnc_ir::builder::Built;
use nnc_ir::ops::CompareDir;
use nnc_ir::{Op, Scalar};

use super::{Cotangents, Site, scale};

/// Ops of one operand `x` with result `y` and cotangent `g`.
pub(super) fn unary(op: &Op, site: Site<'_>) -> Built<Cotangents> {
    let Site { mut b, operands, result: y, cotangent: g, .. } = site;
    let x = operands[0];
    let cotangent = match op {
        Op::Negate => b.negate(g)?,
        // 0 at 0: the sign of zero is zero.
        Op::Abs => {
            let sign = b.sign(x)?;
            b.multiply(g, sign)?
        }
        Op::Exponential => b.multiply(g, y)?,
        Op::ExponentialMinusOne => {
            let one = b.ones_like(y)?;
            let derivative = b.add(y, one)?;
            b.multiply(g, derivative)?
        }
        Op::Log => b.divide(g, x)?,
        Op::LogPlusOne => {
            let one = b.ones_like(x)?;
            let shifted = b.add(x, one)?;
            b.divide(g, shifted)?
        }
        Op::Sqrt => {
            let half = scale(&mut b, g, 0.5)?;
            b.divide(half, y)?
        }
        Op::Rsqrt => {
            let square = b.multiply(y, y)?;
            let cube = b.multiply(square, y)?;
            let half = scale(&mut b, g, -0.5)?;
            b.multiply(half, cube)?
        }
        Op::Tanh => {
            let one = b.ones_like(y)?;
            let square = b.multiply(y, y)?;
            let derivative = b.subtract(one, square)?;
            b.multiply(g, derivative)?
        }
        Op::Logistic => {
            let one = b.ones_like(y)?;
            let complement = b.subtract(one, y)?;
            let derivative = b.multiply(y, complement)?;
            b.multiply(g, derivative)?
        }
        Op::Erf => {
            let square = b.multiply(x, x)?;
            let exponent = b.negate(square)?;
            let bell = b.exponential(exponent)?;
            let derivative = scale(&mut b, bell, FRAC_2_SQRT_PI)?;
            b.multiply(g, derivative)?
        }
        Op::Sine => {
            let derivative = b.cosine(x)?;
            b.multiply(g, derivative)?
        }
        Op::Cosine => {
            let sine = b.sine(x)?;
            let derivative = b.negate(sine)?;
            b.multiply(g, derivative)?
        }
        Op::Tan => {
            let one = b.ones_like(y)?;
            let square = b.multiply(y, y)?;
            let derivative = b.add(one, square)?;
            b.multiply(g, derivative)?
        }
        Op::Convert(_) => {
            let dtype = b.dtype(x);
            b.convert(g, dtype)?
        }
        _ => unreachable!("{} is not a unary elementwise op with a rule", op.mnemonic()),
    };
    Ok(vec![Some(cotangent)])
}

/// Ops of two operands.
pub(super) fn binary(op: &Op, mut site: Site<'_>) -> Built<Cotangents> {
    let (x, y, r, g) = (site.operands[0], site.operands[1], site.result, site.cotangent);
    Ok(match op {
        Op::Add => vec![Some(g), Some(g)],
        Op::Subtract => vec![Some(g), site.give(1, |b| b.negate(g))?],
        Op::Multiply => vec![site.give(0, |b| b.multiply(g, y))?, site.give(1, |b| b.multiply(g, x))?],
        Op::Divide => {
            let quotient = site.b.divide(g, y)?;
            let rhs = site.give(1, |b| {
                let product = b.multiply(quotient, r)?;
                b.negate(product)
            })?;
            vec![Some(quotient), rhs]
        }
        // x = n * y + r with n constant between jumps. The division gives n up to a rounding error.
        Op::Remainder => {
            let rhs = site.give(1, |b| {
                let multiple = b.subtract(x, r)?;
                let ratio = b.divide(multiple, y)?;
                let n = b.round_nearest_even(ratio)?;
                let product = b.multiply(g, n)?;
                b.negate(product)
            })?;
            vec![Some(g), rhs]
        }
        Op::Maximum | Op::Minimum => extremum(op, site)?,
        Op::Power => power(site)?,
        Op::Atan2 => atan2(site)?,
        _ => unreachable!("{} is not a binary elementwise op with a rule", op.mnemonic()),
    })
}

/// `maximum` and `minimum`: the operand that is the result gets the gradient. On a tie, as in PyTorch, two computed
/// operands get half each, and a literal one takes all: `relu`, which is `maximum(x, 0)`, has gradient 0 at 0. NaN
/// compares with nothing, and passes the gradient to both.
fn extremum(op: &Op, mut site: Site<'_>) -> Built<Cotangents> {
    let (operands, r, g) = (site.operands, site.result, site.cotangent);
    let zeros = site.zeros()?;
    for (operand, other) in [(0, 1), (1, 0)] {
        if site.is_literal(operands[other]) {
            // Comparing the result instead of the operand frees the operand's buffer.
            let literal_wins = site.b.eq(r, operands[other])?;
            let mut cotangents = vec![None; 2];
            cotangents[operand] = Some(site.b.select(literal_wins, zeros, g)?);
            return Ok(cotangents);
        }
    }
    let tie = site.b.eq(operands[0], operands[1])?;
    let half = scale(&mut site.b, g, 0.5)?;
    let share = site.b.select(tie, half, g)?;
    let short_of_result = if matches!(op, Op::Maximum) { CompareDir::Lt } else { CompareDir::Gt };
    let mut cotangents = Vec::with_capacity(2);
    for (idx, &operand) in operands.iter().enumerate() {
        cotangents.push(site.give(idx, |b| {
            let loses = b.compare(short_of_result, operand, r)?;
            b.select(loses, zeros, share)
        })?);
    }
    Ok(cotangents)
}

/// `x ^ y`. With respect to the base: `y * x ^ (y - 1)`, and 0 at `0 ^ 0`. With respect to the exponent:
/// `x ^ y * ln x`, and 0 at base 0 with an exponent of at least 0; NaN for negative bases. Both as in PyTorch.
fn power(mut site: Site<'_>) -> Built<Cotangents> {
    let (x, y, r, g) = (site.operands[0], site.operands[1], site.result, site.cotangent);
    let literal_exponent = site.splat_value(y).map(Scalar::to_f64);
    let base = match literal_exponent {
        _ if !site.wanted[0] => None,
        Some(0.0) => None,
        Some(1.0) => Some(g),
        Some(exponent) => {
            let b = &mut site.b;
            let lowered = if exponent == 2.0 {
                x
            } else {
                let one_less = b.splat_like(y, exponent - 1.0)?;
                b.power(x, one_less)?
            };
            let derivative = scale(b, lowered, exponent)?;
            Some(b.multiply(g, derivative)?)
        }
        None => {
            // The exponent -1 at `0 ^ 0` would give 0 * inf: a harmless exponent takes its place there.
            let b = &mut site.b;
            let (zeros, ones) = (b.zeros_like(y)?, b.ones_like(y)?);
            let (base_is_zero, exponent_is_zero) = (b.eq(x, zeros)?, b.eq(y, zeros)?);
            let both = b.and(base_is_zero, exponent_is_zero)?;
            let safe = b.select(both, ones, y)?;
            let one_less = b.subtract(safe, ones)?;
            let lowered = b.power(x, one_less)?;
            let derivative = b.multiply(y, lowered)?;
            Some(b.multiply(g, derivative)?)
        }
    };
    let exponent = site.give(1, |b| {
        let (zeros, ones) = (b.zeros_like(x)?, b.ones_like(x)?);
        let (base_is_zero, decays) = (b.eq(x, zeros)?, b.ge(y, zeros)?);
        let flat = b.and(base_is_zero, decays)?;
        let safe = b.select(flat, ones, x)?;
        let log = b.log(safe)?;
        let derivative = b.multiply(r, log)?;
        b.multiply(g, derivative)
    })?;
    Ok(vec![base, exponent])
}

/// The angle of the point (`x`, `y`) is taken as constant at the origin, where it has no derivative.
fn atan2(mut site: Site<'_>) -> Built<Cotangents> {
    let (y, x, g) = (site.operands[0], site.operands[1], site.cotangent);
    let b = &mut site.b;
    let (x_square, y_square) = (b.multiply(x, x)?, b.multiply(y, y)?);
    let norm = b.add(x_square, y_square)?;
    let (zeros, ones) = (b.zeros_like(norm)?, b.ones_like(norm)?);
    let at_origin = b.eq(norm, zeros)?;
    let safe = b.select(at_origin, ones, norm)?;
    let weight = b.divide(g, safe)?;
    let lhs = site.give(0, |b| b.multiply(weight, x))?;
    let rhs = site.give(1, |b| {
        let product = b.multiply(weight, y)?;
        b.negate(product)
    })?;
    Ok(vec![lhs, rhs])
}

/// The operand that was taken gets the gradient.
pub(super) fn select(mut site: Site<'_>) -> Built<Cotangents> {
    let (pred, g) = (site.operands[0], site.cotangent);
    let zeros = site.zeros()?;
    let on_true = site.give(1, |b| b.select(pred, g, zeros))?;
    let on_false = site.give(2, |b| b.select(pred, zeros, g))?;
    Ok(vec![None, on_true, on_false])
}

/// As `torch.clamp`: the operand gets the gradient inside the bounds and on them; outside, the bound that applies
/// does, which is `max` wherever the bounds cross.
pub(super) fn clamp(mut site: Site<'_>) -> Built<Cotangents> {
    let (min, x, max, g) = (site.operands[0], site.operands[1], site.operands[2], site.cotangent);
    let zeros = site.zeros()?;
    let lower = site.give(0, |b| {
        let (below, ordered) = (b.lt(x, min)?, b.le(min, max)?);
        let applies = b.and(below, ordered)?;
        b.select(applies, g, zeros)
    })?;
    let inner = site.give(1, |b| {
        let (below, above) = (b.lt(x, min)?, b.gt(x, max)?);
        let outside = b.or(below, above)?;
        b.select(outside, zeros, g)
    })?;
    let upper = site.give(2, |b| {
        let (above, crossed) = (b.gt(x, max)?, b.gt(min, max)?);
        let applies = b.or(above, crossed)?;
        b.select(applies, g, zeros)
    })?;
    Ok(vec![lower, inner, upper])
}
