#!/usr/bin/env python3
"""Writes `transcendental.txt`: values of transcendental functions of doubles, correctly rounded.

Run `python3 transcendental.py > transcendental.txt`; needs `mpmath`. A line holds the function, the bits of its operands
and of the nearest double, and the rest of the exact value in thousandths of a unit in the last place.
"""

import random
import struct

from mpmath import mp, mpf

mp.prec = 1400
N_POINTS = 40


def bits(x):
    return struct.unpack("<Q", struct.pack("<d", x))[0]


def ulp(exact):
    """Spacing of doubles at a number."""
    _, exponent = mp.frexp(abs(exact))
    return mp.ldexp(1, max(exponent - 1, -1022) - 52)


def line(name, function, operands):
    exact = function(*[mpf(x) for x in operands])
    unit = ulp(exact)
    nearest = mp.nint(exact / unit) * unit
    if abs(nearest) >= mp.ldexp(1, 1024):
        return
    rest = int(mp.nint((exact - nearest) / unit * 1000))
    words = " ".join(f"{bits(x):016x}" for x in (*operands, float(nearest)))
    print(f"{name} {words} {rest}")


def spread(low, high):
    """A number of any magnitude: the exponent is uniform."""
    return random.choice((-1, 1)) * random.uniform(1, 2) * 2.0 ** random.randint(low, high)


def angles():
    # The double that is closest to a multiple of pi/2 for its size, and the doubles next to some multiples.
    hard = [6381956970095103 * 2.0**797, 1.7976931348623157e308, 2.0**30, 2.0**60 + 2.0**8]
    hard += [float(random.randint(1, 10**k) * mp.pi / 2) for k in range(1, 15)]
    return hard + [spread(-6, 6) for _ in range(14)] + [spread(6, 1023) for _ in range(8)]


def logistic(x):
    return 1 / (1 + mp.exp(-x))


def main():
    random.seed(7)
    uniform = lambda low, high: [random.uniform(low, high) for _ in range(N_POINTS)]
    one = {
        "exp": (mp.exp, uniform(-745, 709)[:20] + uniform(-3, 3)[:20]),
        "expm1": (mp.expm1, uniform(-3, 3)[:30] + [spread(-40, 2) for _ in range(10)]),
        "log": (mp.log, [abs(spread(-1000, 1000)) for _ in range(10)] + [abs(x) for x in uniform(0.4, 2.5)[:30]]),
        "log1p": (mp.log1p, uniform(-0.99, 3)[:25] + [max(spread(-40, 40), -0.5) for _ in range(15)]),
        "tanh": (mp.tanh, uniform(-3, 3)[:30] + [spread(-30, 4) for _ in range(10)]),
        "logistic": (logistic, uniform(-40, 40)[:20] + uniform(-4, 4)[:18] + [-700.5, -744.25]),
        "erf": (mp.erf, uniform(-2, 2)[:25] + uniform(-5.9, 5.9)[:10] + [spread(-30, 1) for _ in range(5)]),
        "sin": (mp.sin, angles()),
        "cos": (mp.cos, angles()),
        "tan": (mp.tan, angles()),
    }
    for name, (function, points) in one.items():
        for x in points:
            line(name, function, (x,))
    for _ in range(N_POINTS):
        x = abs(spread(-3, 3)) if random.random() < 0.5 else abs(spread(-1000, 1000))
        line("pow", lambda x, y: mp.exp(y * mp.log(x)), (x, random.uniform(-740, 709) / float(mp.log(x))))
    for _ in range(N_POINTS):
        line("atan2", mp.atan2, (spread(-4, 4), spread(-4, 4)))


main()
