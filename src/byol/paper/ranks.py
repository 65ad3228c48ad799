"""Do our rows stand in the paper's order? Kendall's tau-b, its uncertainty over seeds, and which rows disagree."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

TOLD_APART = 0.5
"""Points between two rows that the paper itself tells apart: it prints the half-range over three seeds where that is
above 0.25, and rows closer than two such half-ranges may stand in either order by chance."""
RESAMPLES = 2000
"""Draws of the bootstrap."""


def tau_b(x: Sequence[float], y: Sequence[float]) -> float:
    """Kendall's tau-b of two lists of equal length, in [-1, 1]: pairs in the same order less pairs swapped, over the
    geometric mean of the pairs that are untied in each (Kendall 1945); NaN where one of them is all ties."""
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    first, second = np.triu_indices(len(a), k=1)
    signs_a, signs_b = np.sign(a[first] - a[second]), np.sign(b[first] - b[second])
    untied = math.sqrt(float(np.abs(signs_a).sum()) * float(np.abs(signs_b).sum()))
    return float((signs_a * signs_b).sum()) / untied if untied else math.nan


@dataclass(frozen=True)
class Row:
    """One row of a table: the paper's number and ours, in per cent."""

    name: str
    paper: float
    ours: tuple[float, ...]
    """One per seed."""
    paper_spread: float = 0.0

    @property
    def mean(self) -> float:
        return sum(self.ours) / len(self.ours)

    @property
    def spread(self) -> float:
        """Half of best minus worst, as the paper prints it."""
        return (max(self.ours) - min(self.ours)) / 2


def interval(rows: Sequence[Row], seed: int = 0) -> tuple[float, float] | None:
    """Between which values 95 % of tau-b fall when each row's seeds are drawn again, with replacement.

    None where no row has a second seed. With three seeds this is a rough guide: a spread that three runs did not show
    cannot be drawn.
    """
    if all(len(row.ours) < 2 for row in rows):
        return None
    generator = np.random.default_rng(seed)
    means = np.stack(
        [generator.choice(np.array(row.ours), size=(RESAMPLES, len(row.ours))).mean(axis=1) for row in rows], axis=1
    )
    paper = [row.paper for row in rows]
    taus = [tau_b(paper, drawn) for drawn in means]
    low, high = np.nanquantile(taus, [0.025, 0.975])
    return float(low), float(high)


@dataclass(frozen=True)
class Swap:
    """Two rows that stand the other way round here than in the paper."""

    upper: Row
    """Higher in the paper."""
    lower: Row

    @property
    def theirs(self) -> float:
        """Points by which the paper has the upper row ahead."""
        return self.upper.paper - self.lower.paper

    @property
    def ours(self) -> float:
        """Points by which it is behind here."""
        return self.lower.mean - self.upper.mean

    @property
    def spread(self) -> float:
        """What the seeds of both rows leave open: the sum of their half-ranges."""
        return self.upper.spread + self.lower.spread

    @property
    def paper_decides(self) -> bool:
        """Whether the paper's seeds tell the two apart."""
        return self.theirs > max(TOLD_APART, self.upper.paper_spread + self.lower.paper_spread)

    @property
    def we_decide(self) -> bool:
        """Whether ours do."""
        return self.ours > self.spread and min(len(self.upper.ours), len(self.lower.ours)) > 1


def swaps(rows: Sequence[Row]) -> list[Swap]:
    """Every pair that stands the other way round; ties on either side are none."""
    pairs = ((a, b) if a.paper > b.paper else (b, a) for a, b in itertools.combinations(rows, 2) if a.paper != b.paper)
    return [Swap(upper, lower) for upper, lower in pairs if upper.mean < lower.mean]


def decided(rows: Sequence[Row]) -> tuple[int, int]:
    """How many pairs that the paper's seeds tell apart stand in the paper's order here, and how many such there are."""
    told = [
        Swap(upper, lower)
        for a, b in itertools.combinations(rows, 2)
        for upper, lower in [(a, b) if a.paper >= b.paper else (b, a)]
    ]
    told = [pair for pair in told if pair.paper_decides]
    return sum(pair.ours < 0 for pair in told), len(told)


def sentences(rows: Sequence[Row]) -> list[str]:
    """A sentence for each row that disagrees: the fewest rows, greedily, that have a part in every swapped pair."""
    left = swaps(rows)
    said = []
    while left:
        row = max(rows, key=lambda row: (sum(row in (s.upper, s.lower) for s in left), -row.paper))
        mine = [swap for swap in left if row in (swap.upper, swap.lower)]
        left = [swap for swap in left if swap not in mine]
        said.append(_sentence(row, mine))
    return said


def _sentence(row: Row, mine: Sequence[Swap]) -> str:
    worst = max(mine, key=lambda swap: (swap.paper_decides and swap.we_decide, swap.ours))
    up = worst.lower is row
    other = worst.upper if up else worst.lower
    others = [s.upper.name if s.lower is row else s.lower.name for s in mine if s is not worst]
    with_others = f" (and with {_listed(others)})" if others else ""
    n = min(len(row.ours), len(other.ours))
    if n < 2:
        weight = "one seed does not say whether that is chance"
    elif worst.we_decide:
        weight = f"more than the seeds' spread of {worst.spread:.1f}"
    else:
        weight = f"within the seeds' spread of {worst.spread:.1f}"
    theirs = "" if worst.paper_decides else ", which the paper's own seeds do not tell apart"
    return (
        f"**{row.name}** is swapped with {other.name}{with_others}: in the paper {worst.theirs:.1f} points "
        f"{'below' if up else 'above'} it{theirs}, here {worst.ours:.1f} {'above' if up else 'below'} ({weight})."
    )


def _listed(names: Sequence[str], most: int = 3) -> str:
    if len(names) <= most:
        return "; ".join(names)
    return f"{'; '.join(names[:most])}; and {len(names) - most} more"
