"""Mean and spread of a figure over random draws: of labels, of seeds."""

import statistics
from collections.abc import Sequence


def mean_and_std(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (n - 1 in the denominator); 0 where there is a single value."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0
