//! The angle of a point.

use super::coefficients::{ATAN, FRAC_PI_2};
use super::value::Value;

/// Reduces to `atan` of a ratio in `[0, 1]`; the octant says which right angle that is added to or subtracted from.
pub(super) fn atan2<'e>(y: Value<'e>, x: Value<'e>) -> Value<'e> {
    let (width, height) = (x.abs(), y.abs());
    let (small, large) = (width.min(height), width.max(height));
    // Equal lengths may both be infinite, or both 0, where the angle is 0.
    let same = large.gt(0.0).select(x.constant(1.0), 0.0);
    let ratio = small.equals(large).select(same, small / large);
    let square = ratio * ratio;
    let angle = (ratio * square).fma(ATAN.polynomial(square), ratio);

    let steep = height.gt(width);
    // The sign bit, because the angle of (-0, 0) is pi.
    let left = x.bits().lt(0);
    let right_angle = |part: usize| {
        let quarter = FRAC_PI_2.at(x.ty, part);
        let flat = left.select(x.constant(2.0 * quarter), 0.0);
        steep.select(x.constant(quarter), flat)
    };
    let forward = (steep ^ left).select(-angle, angle);
    (right_angle(0) + (right_angle(1) + forward)).flip_sign(y.sign_bit())
}
