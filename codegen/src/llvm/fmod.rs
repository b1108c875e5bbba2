//! The floating-point remainder for GPUs, which have no library to call: exact, as C's `fmod`, by long division on the
//! significands.

use crate::kernel::Ty;

/// The definition of `nnc_fmodf` or `nnc_fmod` as LLVM IR text.
pub(super) fn definition(ty: Ty) -> String {
    let (name, float, int, sign, infinity, fraction_bits): (_, _, _, i64, i64, _) = match ty {
        Ty::F64 => ("nnc_fmod", "double", "i64", i64::MIN, 0x7ff0_0000_0000_0000_i64, 52),
        _ => ("nnc_fmodf", "float", "i32", i64::from(i32::MIN), 0x7f80_0000, 23),
    };
    let (magnitude, hidden) = (!sign, 1i64 << fraction_bits);
    let fraction = hidden - 1;
    // Denormals have exponent 1 without the hidden bit, which makes the two cases one formula. The first remainder is
    // taken by division, since a normal significand may hold a denormal one many times over; from then on, the
    // remainder is below the divisor, and its double holds it at most once.
    format!(
        "define internal {float} @{name}({float} %x, {float} %y) #0 {{
entry:
  %xb = bitcast {float} %x to {int}
  %yb = bitcast {float} %y to {int}
  %sign = and {int} %xb, {sign}
  %xm = and {int} %xb, {magnitude}
  %ym = and {int} %yb, {magnitude}
  %y.zero = icmp eq {int} %ym, 0
  %x.special = icmp uge {int} %xm, {infinity}
  %y.nan = icmp ugt {int} %ym, {infinity}
  %bad.x = or i1 %y.zero, %x.special
  %bad = or i1 %bad.x, %y.nan
  br i1 %bad, label %invalid, label %check
invalid:
  %product = fmul {float} %x, %y
  %nan = fdiv {float} %product, %product
  ret {float} %nan
check:
  %small = icmp ult {int} %xm, %ym
  br i1 %small, label %unchanged, label %split
unchanged:
  ret {float} %x
split:
  %xe.raw = lshr {int} %xm, {fraction_bits}
  %ye.raw = lshr {int} %ym, {fraction_bits}
  %x.denormal = icmp eq {int} %xe.raw, 0
  %y.denormal = icmp eq {int} %ye.raw, 0
  %xe = select i1 %x.denormal, {int} 1, {int} %xe.raw
  %ye = select i1 %y.denormal, {int} 1, {int} %ye.raw
  %xf.low = and {int} %xm, {fraction}
  %yf.low = and {int} %ym, {fraction}
  %xf.high = or {int} %xf.low, {hidden}
  %yf.high = or {int} %yf.low, {hidden}
  %xf = select i1 %x.denormal, {int} %xf.low, {int} %xf.high
  %yf = select i1 %y.denormal, {int} %yf.low, {int} %yf.high
  %r.first = urem {int} %xf, %yf
  br label %divide
divide:
  %e = phi {int} [ %xe, %split ], [ %e.next, %shift ]
  %r = phi {int} [ %r.first, %split ], [ %r.next, %shift ]
  %fits = icmp uge {int} %r, %yf
  %less = sub {int} %r, %yf
  %rest = select i1 %fits, {int} %less, {int} %r
  %more = icmp ugt {int} %e, %ye
  br i1 %more, label %shift, label %normalize
shift:
  %r.next = shl {int} %rest, 1
  %e.next = sub {int} %e, 1
  br label %divide
normalize:
  %n.e = phi {int} [ %e, %divide ], [ %n.e.next, %n.shift ]
  %n.r = phi {int} [ %rest, %divide ], [ %n.r.next, %n.shift ]
  %low = icmp ult {int} %n.r, {hidden}
  %room = icmp ugt {int} %n.e, 1
  %nonzero = icmp ne {int} %n.r, 0
  %go.1 = and i1 %low, %room
  %go = and i1 %go.1, %nonzero
  br i1 %go, label %n.shift, label %pack
n.shift:
  %n.r.next = shl {int} %n.r, 1
  %n.e.next = sub {int} %n.e, 1
  br label %normalize
pack:
  %is.normal = icmp uge {int} %n.r, {hidden}
  %f = and {int} %n.r, {fraction}
  %e.bits = shl {int} %n.e, {fraction_bits}
  %normal = or {int} %f, %e.bits
  %magnitude = select i1 %is.normal, {int} %normal, {int} %n.r
  %result = or {int} %magnitude, %sign
  %value = bitcast {int} %result to {float}
  ret {float} %value
}}"
    )
}
