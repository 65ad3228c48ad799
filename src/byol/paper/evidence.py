"""What the results of a scale say of a claim: confirmed, direction only, contradicted at this scale, or not tested."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean

from byol.paper.chance import mean_p
from byol.paper.claims import Claim, Difference
from byol.paper.summary import Gathered, RowResult

LEVEL = 0.05
"""p below which chance is ruled out."""
FAR_SMALLER = 0.5
"""Share of the paper's size below which a difference has the paper's direction only."""
GAIN_OF_TRAINING = Difference(("targets/tau-0.99",), ("methods/random",))
"""Unit of sizes: what BYOL adds to an untrained network, 71.1 points in the paper (72.5 and 1.4)."""


class Status(StrEnum):
    """How a claim stands."""

    CONFIRMED = "confirmed"
    DIRECTION = "direction only"
    CONTRADICTED = "contradicted at this scale"
    NOT_TESTED = "not tested"


@dataclass(frozen=True)
class Measured:
    """A difference here and in the paper, in points."""

    difference: Difference
    by_seed: Mapping[int, float]
    """The seeds that all of its cells have; at least one."""
    knn: float
    """Mean by 20-NN; NaN for fine-tuned encoders."""
    paper: float | None
    """None if the paper prints no number for a cell."""

    @property
    def mean(self) -> float:
        return fmean(self.by_seed.values())

    @property
    def excess(self) -> list[float]:
        """Points above what the claim asks for, seed by seed."""
        return [value - self.difference.least for value in self.by_seed.values()]

    @property
    def agreeing(self) -> int:
        """Number of seeds in which the difference holds."""
        return sum(value > 0 for value in self.excess)

    @property
    def p(self) -> float:
        """One-sided p of the difference (a paired t-test over seeds); NaN for one seed."""
        return mean_p(self.excess)


@dataclass(frozen=True)
class Judgment:
    """A claim and its evidence."""

    claim: Claim
    status: Status
    remark: str = ""
    """What keeps a direction from being confirmed, or a contradiction from being one beyond chance."""
    decisive: Measured | None = None
    """The difference with the weakest evidence; None if no difference has results."""


def judge(claim: Claim, gathered: Gathered) -> Judgment:
    """How a claim stands at a scale.

    All differences must hold, so the weakest decides and the largest p is the claim's (an intersection-union test,
    Berger 1982). A contradiction by one of several differences is beyond chance if it is at `LEVEL` after Bonferroni.
    """
    found = [measured for difference in claim.differences if (measured := measure(difference, gathered)) is not None]
    if not found:
        return Judgment(claim, Status.NOT_TESTED, "no rows")
    if len(found) < len(claim.differences) or any(len(one.by_seed) < 2 for one in found):
        lowest = min(found, key=lambda one: fmean(one.excess))
        return Judgment(claim, Status.NOT_TESTED, "one seed" if len(lowest.by_seed) < 2 else "rows missing", lowest)
    weakest = max(found, key=lambda one: one.p)
    if fmean(weakest.excess) <= 0:
        against = len(found) * (1 - weakest.p)
        return Judgment(claim, Status.CONTRADICTED, "may be chance" if against >= LEVEL else "", weakest)
    if weakest.p >= LEVEL or any(one.agreeing < len(one.by_seed) for one in found):
        return Judgment(claim, Status.DIRECTION, "may be chance", weakest)
    smallest = min(found, key=lambda one: _size(one, gathered))
    size = _size(smallest, gathered)
    if size < FAR_SMALLER:
        return Judgment(claim, Status.DIRECTION, f"{100 * size:.0f} % of the paper's size", smallest)
    return Judgment(claim, Status.CONFIRMED, "", weakest)


def measure(difference: Difference, gathered: Gathered) -> Measured | None:
    """A difference on the seeds that all of its cells have; None if there is no such seed."""
    plus, minus = (
        [row for name in side if (row := gathered.row(name)) is not None]
        for side in (difference.plus, difference.minus)
    )
    if len(plus) + len(minus) < len(difference.cells):
        return None
    by_seed = _over(plus, minus)
    if not by_seed:
        return None
    fine_tuned = any(row.cell.fine_tunes for row in plus + minus)
    knn = math.nan if fine_tuned else fmean(_over(plus, minus, "knn").values())
    theirs = [[row.cell.paper.value for row in side if row.cell.paper is not None] for side in (plus, minus)]
    printed = [len(values) for values in theirs] == [len(plus), len(minus)]
    return Measured(difference, by_seed, knn, sum(theirs[0]) - sum(theirs[1]) if printed else None)


def _over(plus: list[RowResult], minus: list[RowResult], metric: str = "") -> dict[int, float]:
    """Seed to the sum of some rows minus that of others."""
    values = [[row.by_seed(metric or row.cell.metric) for row in side] for side in (plus, minus)]
    seeds = set.intersection(*(set(found) for side in values for found in side))
    return {
        seed: sum(found[seed] for found in values[0]) - sum(found[seed] for found in values[1])
        for seed in sorted(seeds)
    }


def _size(measured: Measured, gathered: Gathered) -> float:
    """The lead as a share of the paper's, each in units of what training adds; 1 where this cannot be told."""
    unit = measure(GAIN_OF_TRAINING, gathered)
    asked = measured.difference.least == 0 and measured.paper and not math.isnan(measured.knn)
    if not asked or unit is None or unit.paper is None or unit.mean <= 0:
        return 1.0
    assert measured.paper is not None
    return (measured.mean / unit.mean) / (measured.paper / unit.paper)
