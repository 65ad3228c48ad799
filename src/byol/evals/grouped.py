"""Two classifiers on the same images where images come in groups: patients, plates, sites.

Images of a group share their answer more often than not, so 400 images of 40 plates are hardly worth more than 40.
What is compared is therefore the change of each group.
"""

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from byol.evals.paired import Pairs


@dataclass(frozen=True)
class GroupedPairs(Pairs):
    """How the answers differ, group by group. With one image a group it is `Pairs`."""

    changes: tuple[tuple[int, int], ...]
    """Of each group: images, and how many more were gained than lost."""

    @classmethod
    def in_groups(cls, before: Tensor, after: Tensor, groups: Tensor) -> "GroupedPairs":
        """From what was right before and after, (M,) bool each, and the groups, (M,) int64."""
        pairs = Pairs.of(before, after)
        of_image = after.long() - before.long()
        members = (of_image[groups == group] for group in sorted(set(groups.tolist())))
        changes = tuple((len(found), int(found.sum())) for found in members)
        return cls(pairs.queries, pairs.gained, pairs.lost, changes)

    @property
    def error(self) -> float:
        """Standard error of the gain, from the groups (cluster-robust; Cameron & Miller 2015, Section II); never less
        than from as many independent images."""
        count = len(self.changes)
        if count < 2:
            return math.inf
        squares = sum((change - size * self.gain) ** 2 for size, change in self.changes)
        return max(math.sqrt(count / (count - 1) * squares) / self.queries, super().error)

    @property
    def interval(self) -> tuple[float, float]:
        """The gains that these answers are compatible with, at 95 %: Student's t with one degree less than groups."""
        margin = student(len(self.changes) - 1) * self.error
        return self.gain - margin, self.gain + margin

    @property
    def p(self) -> float:
        """Chance of a change at least so large if each group had as well changed the other way, in [0, 1].

        The exact sign-flip test on the groups' sums, two-sided; McNemar's where each group is one image.
        """
        changes = [abs(change) for _, change in self.changes if change]
        most = sum(changes)
        chances = np.zeros(2 * most + 1)
        chances[most] = 1
        for change in changes:  # the distribution of the sum, group by group
            moved = np.zeros_like(chances)
            moved[change:] += chances[: len(chances) - change] / 2
            moved[: len(chances) - change] += chances[change:] / 2
            chances = moved
        sums = np.abs(np.arange(-most, most + 1))
        return min(1.0, float(chances[sums >= abs(self.gained - self.lost)].sum()))


def student(freedom: int) -> float:
    """The 97.5 % quantile of Student's t."""
    from scipy.special import stdtrit  # a tenth of a second, for the few runs that have groups

    return float(stdtrit(freedom, 0.975)) if freedom else math.inf
