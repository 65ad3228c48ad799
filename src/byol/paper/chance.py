"""How often chance alone gives what was measured: a permutation test of tau-b, and Student's t."""

import itertools
import math
from collections.abc import Sequence
from statistics import fmean, stdev

import numpy as np

EXACT_ROWS = 8
"""Most rows for which all orders are counted: 40,320 of 8."""
DRAWS = 20_000
"""Random orders of more rows."""
SEED = 0


def order_p(x: Sequence[float], y: Sequence[float]) -> float:
    """Share of the orders of `y` that agree with `x` as well as `y` does, or better, by Kendall's tau-b; one-sided.

    Ties stay the same in every order, so the number of agreeing minus swapped pairs decides. Up to `EXACT_ROWS` rows
    all orders are counted. For more rows `DRAWS` orders are drawn and the given one counts among them (Davison and
    Hinkley 1997, Section 4.2.5), so p is at least 1 / (`DRAWS` + 1).
    """
    rows = len(x)
    exact = rows <= EXACT_ROWS
    if exact:
        orders = np.array(list(itertools.permutations(range(rows))))
    else:
        orders = np.random.default_rng(SEED).permuted(np.tile(np.arange(rows), (DRAWS, 1)), axis=1)
    first, second = np.triu_indices(rows, 1)
    theirs, ours = np.asarray(x), np.asarray(y)
    signs = np.sign(theirs[first] - theirs[second])
    given = signs @ np.sign(ours[first] - ours[second])
    drawn = np.sign(ours[orders[:, first]] - ours[orders[:, second]]) @ signs
    as_good = int((drawn >= given).sum())
    return as_good / len(orders) if exact else (as_good + 1) / (len(orders) + 1)


def mean_p(values: Sequence[float]) -> float:
    """Student's one-sided t-test: how often values with a mean of 0 have a mean as high as these; NaN for one value."""
    if len(values) < 2:
        return math.nan
    mean, error = fmean(values), stdev(values) / math.sqrt(len(values))
    if error == 0:
        return 0.5 if mean == 0 else float(mean < 0)
    return student_tail(mean / error, len(values) - 1)


def student_tail(t: float, freedom: int) -> float:
    """P(T >= t) of Student's distribution with whole degrees of freedom (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for number in range(2 + odd, freedom + 1, 2):
        total += term
        term *= math.cos(angle) ** 2 * (number - 1) / number
    inside = 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
    return (1 - inside) / 2


def p_value(p: float) -> str:
    """p with three digits."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
