"""Outliers: images that are far from their nearest neighbors."""

import math
from dataclasses import dataclass

from torch import Tensor

from byol.explore.neighbors import Neighbors

K = 10
"""Neighbors whose mean distance is the score, as in cleanlab."""
SPREADS = 3.5
"""Robust standard deviations above the median from which an image is listed (Iglewicz and Hoaglin, 1993)."""


@dataclass(frozen=True)
class Outliers:
    """How far each image is from the others."""

    score: Tensor
    """(N,) float64: mean cosine distance to the nearest neighbors, in [0, 2]; NaN where there are none."""
    threshold: float
    """Score from which an image is listed."""

    @property
    def rows(self) -> list[int]:
        """The images that are listed, the farthest first."""
        order = self.score.nan_to_num(-1).argsort(descending=True, stable=True)
        return [row for row in order.tolist() if self.score[row] > self.threshold]


def find_outliers(neighbors: Neighbors, k: int = K) -> Outliers:
    """The mean cosine distance to the k nearest neighbors, and which of them are unusual in this set.

    Scores are compared by their logarithms, whose distribution is about symmetric.
    """
    score = (1 - neighbors.similarity[:, :k].double()).clamp_min(0).mean(dim=1)
    known = score[score.isfinite() & (score > 0)].log()
    if len(known) < 3:
        return Outliers(score, math.inf)
    middle = known.median()
    spread = 1.4826 * (known - middle).abs().median()
    if spread <= 1e-9 * max(1.0, float(middle.abs())):  # most are equally far: what is unusual cannot be told
        return Outliers(score, math.inf)
    return Outliers(score, float((middle + SPREADS * spread).exp()))
