#!/usr/bin/env python3
"""Computes `coefficients.rs`: the polynomials and constants of nnc's transcendental functions.

Run `python3 coefficients.py > coefficients.rs && rustfmt coefficients.rs`; needs `mpmath`. The errors of the fits go to
stderr as powers of two.

A polynomial is the weighted minimax fit found by the Remez exchange algorithm on a dense grid of Chebyshev points. Its
low coefficients are then rounded to the format one after the other, each time fitting the others again (by least
squares on the same grid: powers without the constant have no exchange theorem around 0), so that their rounding costs
next to nothing.
"""

import struct
import sys

from mpmath import mp, mpf

mp.prec = 320


def single(value):
    """Nearest binary32."""
    return mpf(struct.unpack("<f", struct.pack("<f", float(value)))[0])


def double(value):
    """Nearest binary64."""
    return mpf(float(value))


class Samples:
    """A target function and a weight on Chebyshev points of an interval, in increasing order."""

    def __init__(self, target, weight, low, high, n_points):
        low, high = mpf(low), mpf(high)
        angles = [mp.pi * (mpf(i) + mpf(1) / 2) / n_points for i in range(n_points)]
        points = [(low + high) / 2 - (high - low) / 2 * mp.cos(angle) for angle in angles]
        self.points = points
        self.target = [target(x) for x in points]
        self.weight = [weight(x) for x in points]


def remez(samples, powers):
    """Coefficients of x^powers that minimize the largest weighted error."""
    points, n_terms = samples.points, len(powers)
    n_points = len(points)
    reference = [i * (n_points - 1) // n_terms for i in range(n_terms + 1)]
    for _ in range(30):
        system, right = mp.matrix(n_terms + 1, n_terms + 1), mp.matrix(n_terms + 1, 1)
        for row, i in enumerate(reference):
            for column, power in enumerate(powers):
                system[row, column] = points[i] ** power
            system[row, n_terms] = (-1) ** row / samples.weight[i]
            right[row] = samples.target[i]
        solution = mp.lu_solve(system, right)
        coefficients = [solution[k] for k in range(n_terms)]
        errors = weighted_errors(samples, powers, coefficients)
        # The largest error of each run of one sign is the next reference.
        extrema = []
        for i, error in enumerate(errors):
            if extrema and (errors[extrema[-1]] > 0) == (error > 0):
                if abs(error) > abs(errors[extrema[-1]]):
                    extrema[-1] = i
            else:
                extrema.append(i)
        while len(extrema) > n_terms + 1:
            ends = (extrema[0], extrema[-1])
            extrema.pop(0 if abs(errors[ends[0]]) < abs(errors[ends[1]]) else -1)
        largest = max(abs(error) for error in errors)
        if len(extrema) < n_terms + 1 or largest < abs(solution[n_terms]) * (1 + mpf(2) ** -10):
            break
        reference = extrema
    return coefficients


def least_squares(samples, powers):
    """Coefficients of x^powers that minimize the sum of the squared weighted errors."""
    n_terms = len(powers)
    normal, right = mp.matrix(n_terms, n_terms), mp.matrix(n_terms, 1)
    for x, target, weight in zip(samples.points, samples.target, samples.weight):
        row = [weight * x**power for power in powers]
        for i in range(n_terms):
            right[i] += row[i] * weight * target
            for j in range(n_terms):
                normal[i, j] += row[i] * row[j]
    solution = mp.lu_solve(normal, right)
    return [solution[k] for k in range(n_terms)]


def weighted_errors(samples, powers, coefficients):
    errors = []
    for x, target, weight in zip(samples.points, samples.target, samples.weight):
        value = mp.mpf(0)
        for power, coefficient in zip(powers, coefficients):
            value += coefficient * x**power
        errors.append(weight * (target - value))
    return errors


def fit(name, target, weight, low, high, n_terms, rounding):
    """The polynomial of `n_terms` coefficients in `rounding`'s format, lowest power first."""
    samples = Samples(target, weight, low, high, 40 * (n_terms + 2))
    exact_target = list(samples.target)
    powers, fixed = list(range(n_terms)), []
    n_refits = n_terms if rounding is single else 4
    while powers:
        coefficients = least_squares(samples, powers) if fixed else remez(samples, powers)
        n_round = 1 if len(fixed) < n_refits else len(powers)
        for power, coefficient in zip(powers[:n_round], coefficients):
            rounded = rounding(coefficient)
            fixed.append(rounded)
            samples.target = [t - rounded * x**power for x, t in zip(samples.points, samples.target)]
        powers = powers[n_round:]
    samples.target = exact_target
    worst = max(abs(error) for error in weighted_errors(samples, list(range(n_terms)), fixed))
    print(f"{name:16} {rounding.__name__} {n_terms:2} terms: 2^{float(mp.log(worst, 2)):.1f}", file=sys.stderr)
    return fixed


def literal(value, rounding):
    """The shortest decimal that reads back as the same value."""
    if rounding is double:
        return repr(float(value))
    for digits in range(1, 12):
        text = f"{float(value):.{digits}e}"
        if single(mpf(float(text))) == value:
            return repr(float(text))
    raise ValueError(value)


def table(name, doc, singles, doubles):
    print(f"/// {doc}")
    print(f"pub(super) const {name}: Table = Table {{")
    print(f"    single: &[{', '.join(literal(c, single) for c in singles)}],")
    print(f"    double: &[{', '.join(literal(c, double) for c in doubles)}],")
    print("};\n")


def polynomial(name, doc, target, weight, low, high, n_single, n_double):
    singles = fit(name, target, weight, low, high, n_single, single)
    doubles = fit(name, target, weight, low, high, n_double, double)
    table(name, doc, singles, doubles)


def parts(value, rounding, count=2):
    """`value` as an unevaluated sum of numbers of the format."""
    found = []
    for _ in range(count):
        found.append(rounding(value))
        value -= found[-1]
    return found


def constant(name, doc, value):
    table(name, doc + ", as a sum of two numbers", parts(value, single), parts(value, double))


def words(name, doc, value, width, count):
    """The first bits after the binary point of `value`, below one word of zeros."""
    bits = int(mp.floor(mp.ldexp(value, width * count)))
    ty = "u64" if width == 64 else "u32"
    print(f"/// {doc}")
    print(f"pub(super) const {name}: [{ty}; {count + 1}] = [0x0,")
    for i in range(count):
        print(f"    {(bits >> (width * (count - 1 - i))) & ((1 << width) - 1):#x},")
    print("];\n")


def main():
    print("//! Coefficients and constants of the expansions. Generated by `coefficients.py`; change that instead.\n")
    print("use super::value::Table;\n")

    half_ln2 = mp.log(2) / 2 * mpf("1.0001")
    polynomial(
        "EXP", "`q` of `exp(r) = 1 + r + r^2 q(r)` for `|r| <= ln(2)/2`.",
        lambda r: (mp.expm1(r) - r) / r**2, lambda r: r**2 / abs(mp.expm1(r)), -half_ln2, half_ln2, 6, 11,
    )

    # The square of s = f / (2 + f) for 1 + f = sqrt(2); it is the same for sqrt(1/2).
    top = ((mp.sqrt(2) - 1) / (mp.sqrt(2) + 1)) ** 2 * mpf("1.0001")
    tail = lambda z: (2 * mp.atanh(mp.sqrt(z)) - 2 * mp.sqrt(z) - mpf(2) / 3 * mp.sqrt(z) ** 3) / mp.sqrt(z) ** 5
    polynomial(
        "ATANH", "`q` of `2 atanh(s) = 2 s + s^3 (2/3 + z q(z))`, `z = s^2`, for `|s| <= (sqrt(2) - 1)/(sqrt(2) + 1)`.",
        tail, lambda z: z**2, top / 10**6, top, 3, 9,
    )

    small = lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z) - 1
    polynomial(
        "ERF_SMALL", "`q` of `erf(x) = x + x q(x^2)` for `|x| <= 1`.",
        small, lambda z: 1 / (1 + small(z)), mpf(10) ** -6, 1, 7, 14,
    )
    log_erfc, ratio = lambda t: mp.log(mp.erfc(t + 2)), lambda t: mp.erfc(t + 2) / mp.erf(t + 2)
    table(
        "ERF_LARGE", "`q` of `erf(x) = 1 - exp(q(x - 2))` for `1 <= x <= 4` and, in double, `1 <= x <= 6`.",
        fit("ERF_LARGE", log_erfc, ratio, -1, 2, 8, single), fit("ERF_LARGE", log_erfc, ratio, -1, 4, 22, double),
    )

    quarter = (mp.pi / 4 * mpf("1.0001")) ** 2
    tiny = quarter / 10**6
    polynomial(
        "SIN", "`q` of `sin(r) = r + r^3 q(r^2)` for `|r| <= pi/4`.",
        lambda z: (mp.sin(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, lambda z: z * mp.sqrt(z) / mp.sin(mp.sqrt(z)), tiny, quarter, 3, 6,
    )
    polynomial(
        "COS", "`q` of `cos(r) = 1 - r^2/2 + r^4 q(r^2)` for `|r| <= pi/4`.",
        lambda z: (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2, lambda z: z**2 / mp.cos(mp.sqrt(z)), tiny, quarter, 3, 6,
    )
    polynomial(
        "TAN", "`q` of `tan(r) = r + r^3 q(r^2)` for `|r| <= pi/4`.",
        lambda z: (mp.tan(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, lambda z: z * mp.sqrt(z) / mp.tan(mp.sqrt(z)), tiny, quarter, 7, 15,
    )
    polynomial(
        "ATAN", "`q` of `atan(r) = r + r^3 q(r^2)` for `|r| <= 1`.",
        lambda z: (mp.atan(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, lambda z: z * mp.sqrt(z) / mp.atan(mp.sqrt(z)), mpf(10) ** -6, 1, 9, 21,
    )

    constant("LN_2", "`ln(2)`", mp.log(2))
    constant("LOG2_E", "`1 / ln(2)`", 1 / mp.log(2))
    constant("TWO_THIRDS", "`2/3`", mpf(2) / 3)
    constant("FRAC_PI_2", "`pi / 2`", mp.pi / 2)
    constant("TAU", "`2 pi`", 2 * mp.pi)
    words("INV_TAU_32", "32 zero bits, then the fraction of `1 / (2 pi)`.", 1 / (2 * mp.pi), 32, 7)
    mp.prec = 1500
    words("INV_TAU_64", "64 zero bits, then the fraction of `1 / (2 pi)`.", 1 / (2 * mp.pi), 64, 19)


main()
