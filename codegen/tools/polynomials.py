#!/usr/bin/env python3
"""Coefficients of the polynomials in codegen/src/math, by Remez exchange in high precision.

Usage: polynomials.py [NAME]...   (needs mpmath; without names, all)

Each table entry is a function g, an interval, a degree and a weight w: the polynomial p minimizes the largest
|w(x) (g(x) - p(x))|. The output is Rust: one array a polynomial, constant term first, and the error reached.
"""

import sys

from mpmath import atan, atanh, cos, erf, erfc, exp, linspace, log, lu_solve, matrix, mp, mpf, pi, sin, sqrt, tanh

mp.prec = 200


def remez(g, low, high, degree, weight):
    """Coefficients of the best polynomial, constant term first, and its weighted error."""
    n = degree + 2
    nodes = [(low + high) / 2 - (high - low) / 2 * cos(pi * i / (n - 1)) for i in range(n)]
    grid = linspace(low, high, 40 * n + 1)
    best = None
    for _ in range(12):
        system, right = matrix(n), matrix(n, 1)
        for row, x in enumerate(nodes):
            for power in range(degree + 1):
                system[row, power] = x**power
            system[row, degree + 1] = (-1) ** row / weight(x)
            right[row] = g(x)
        solution = lu_solve(system, right)
        coefficients = [solution[i] for i in range(degree + 1)]

        def error(x):
            return weight(x) * (g(x) - sum(c * x**i for i, c in enumerate(coefficients)))

        errors = [error(x) for x in grid]
        largest = max(abs(e) for e in errors)
        if best is None or largest < best[1]:
            best = (coefficients, largest)
        # New nodes: the largest error of each run of one sign, the n largest neighbors of them.
        runs = []
        for x, e in zip(grid, errors):
            if runs and (runs[-1][1] > 0) == (e > 0):
                if abs(e) > abs(runs[-1][1]):
                    runs[-1] = (x, e)
            else:
                runs.append((x, e))
        while len(runs) > n:
            runs.pop(0 if abs(runs[0][1]) < abs(runs[-1][1]) else -1)
        if len(runs) < n:
            break
        nodes = [x for x, _ in runs]
        if largest < abs(solution[degree + 1]) * (1 + mpf(2) ** -12):
            break
    return best


def safe(numerator, at_zero):
    """A function with a removable singularity at 0, where rounding would spoil it."""
    return lambda x: at_zero if abs(x) < mpf(2) ** -60 else numerator(x)


def one(_):
    return mpf(1)


HALF_LN2 = log(2) / 2 * (1 + mpf(2) ** -20)
LOG_Z = ((sqrt(mpf(2)) - 1) / (sqrt(mpf(2)) + 1)) ** 2 * (1 + mpf(2) ** -20)
QUARTER = pi / 4 * (1 + mpf(2) ** -20)

exp_tail = safe(lambda r: (exp(r) - 1 - r) / r**2, mpf(1) / 2)


def log_tail(z):
    """(2 atanh(s) / s - 2) / z for z = s^2."""
    if z < mpf(2) ** -60:
        return mpf(2) / 3
    s = sqrt(z)
    return (2 * atanh(s) / s - 2) / z


def of_square(f, at_zero):
    """f of the root of its argument."""
    return lambda z: at_zero if z < mpf(2) ** -60 else f(sqrt(z))


def erfc_scaled(u):
    """erfc(x) exp(x^2), where u = 1 / (1 + x / 2) - 15/32."""
    x = 2 / (u + mpf(15) / 32) - 2
    return erfc(x) * exp(x * x)


TABLE = {
    # name: (Rust type, g, low, high, degree, weight)
    "EXP_F32": ("f32", exp_tail, -HALF_LN2, HALF_LN2, 4, lambda r: r**2 + mpf(2) ** -40),
    "EXP_F64": ("f64", exp_tail, -HALF_LN2, HALF_LN2, 10, lambda r: r**2 + mpf(2) ** -80),
    "LOG_F32": ("f32", log_tail, mpf(0), LOG_Z, 3, one),
    "LOG_F64": ("f64", log_tail, mpf(0), LOG_Z, 7, one),
    "TANH_F32": ("f32", of_square(lambda x: (tanh(x) / x - 1) / x**2, -mpf(1) / 3), mpf(0), mpf("0.4"), 5, one),
    "ERF_F32": ("f32", of_square(lambda x: erf(x) / x - 1, 2 / sqrt(pi) - 1), mpf(0), mpf("0.86"), 6, one),
    "ERFC_LOG_F32": ("f32", lambda x: log(erfc(x)), mpf("0.9"), mpf("4"), 9, erfc),
    "ERF_F64": ("f64", of_square(lambda x: erf(x) / x - 1, 2 / sqrt(pi) - 1), mpf(0), mpf("0.86"), 12, one),
    "ERFC_F64": ("f64", erfc_scaled, -mpf(7) / 32, mpf(7) / 32, 20, one),
    "SIN_F64": (
        "f64",
        of_square(lambda x: (sin(x) / x - 1) / x**2, -mpf(1) / 6),
        mpf(0),
        QUARTER**2,
        6,
        lambda z: z + mpf(2) ** -60,
    ),
    "COS_F64": (
        "f64",
        of_square(lambda x: (cos(x) - 1 + x**2 / 2) / x**4, mpf(1) / 24),
        mpf(0),
        QUARTER**2,
        6,
        lambda z: z**2 + mpf(2) ** -60,
    ),
    "ATAN_F64": (
        "f64",
        of_square(lambda x: (atan(x) / x - 1) / x**2, -mpf(1) / 3),
        mpf(0),
        (sqrt(mpf(2)) - 1) ** 2 * (1 + mpf(2) ** -20),
        12,
        lambda z: z + mpf(2) ** -60,
    ),
}


def main():
    for name in sys.argv[1:] or TABLE:
        rust, g, low, high, degree, weight = TABLE[name]
        coefficients, error = remez(g, low, high, degree, weight)
        print(f"/// Largest weighted error 2^{float(log(error, 2)):.1f}.")
        print(f"const {name}: [f64; {degree + 1}] = [")
        digits = 11 if rust == "f32" else 19
        for c in coefficients:
            print(f"    {mp.nstr(c, digits, min_fixed=-30, max_fixed=30)},")
        print("];\n")


main()
