"""Two classifiers on the same images: what changed from one to the other, and whether chance explains it."""

import math
from dataclasses import dataclass

from torch import Tensor

CLEAR = 1.96
"""Standard errors beyond which a difference is called one: 95 % of a normal distribution are within."""


@dataclass(frozen=True)
class Pairs:
    """How the answers to the same queries differ: McNemar's test looks at those that changed, and at nothing else."""

    queries: int
    gained: int
    """Wrong before, right after."""
    lost: int
    """Right before, wrong after."""

    @classmethod
    def of(cls, before: Tensor, after: Tensor) -> "Pairs":
        """From what was right before and after, (M,) bool each."""
        return cls(len(before), int((after & ~before).sum()), int((before & ~after).sum()))

    @property
    def gain(self) -> float:
        """Change of the accuracy, in [-1, 1]."""
        return (self.gained - self.lost) / self.queries

    @property
    def error(self) -> float:
        """Standard error of the gain, from the pairs; never 0: one more changed answer is taken as possible."""
        changed = self.gained + self.lost
        return math.sqrt(max(changed - (self.gained - self.lost) ** 2 / self.queries, 1)) / self.queries

    @property
    def interval(self) -> tuple[float, float]:
        """The gains that these answers are compatible with, at 95 %."""
        return self.gain - CLEAR * self.error, self.gain + CLEAR * self.error

    @property
    def p(self) -> float:
        """Chance of a change at least so lopsided if none were meant, in [0, 1]: McNemar's exact test, two-sided."""
        changed, fewer = self.gained + self.lost, min(self.gained, self.lost)
        logs = [_log_binomial(changed, k) - changed * math.log(2) for k in range(fewer + 1)]
        top = max(logs)
        return min(1.0, 2 * math.exp(top) * sum(math.exp(value - top) for value in logs))


def _log_binomial(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
