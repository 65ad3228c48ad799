"""Compare the order of our rows with the paper's: Kendall's tau-b, over all seeds and by seed, and swapped rows."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from byol.paper.chance import order_p

FEWEST_ROWS = 3
"""Least number of rows for a rank correlation."""
UNPRINTED = 0.25
"""Half-range of a number that the paper prints without one: it omits half-ranges up to this."""


def tau_b(x: Sequence[float], y: Sequence[float]) -> float:
    """Kendall's tau-b of two lists of equal length, in [-1, 1]; NaN if all values of a list are equal.

    Pairs in the same order minus swapped pairs, divided by the geometric mean of the numbers of untied pairs in each
    list (Kendall 1945).
    """
    pairs = [(_sign(x[i] - x[j]), _sign(y[i] - y[j])) for i, j in itertools.combinations(range(len(x)), 2)]
    untied = math.sqrt(sum(abs(a) for a, _ in pairs) * sum(abs(b) for _, b in pairs))
    return sum(a * b for a, b in pairs) / untied if untied else math.nan


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


@dataclass(frozen=True)
class Row:
    """One row of a table: the paper's number and ours, in percent."""

    name: str
    paper: float
    by_seed: Mapping[int, float]
    """Seed to our number; at least one."""
    paper_spread: float = 0.0

    @property
    def ours(self) -> tuple[float, ...]:
        return tuple(self.by_seed.values())

    @property
    def mean(self) -> float:
        return sum(self.ours) / len(self.ours)

    @property
    def spread(self) -> float:
        """Half the range, as the paper prints it."""
        return (max(self.ours) - min(self.ours)) / 2


def on_shared_seeds(rows: Sequence[Row]) -> list[Row]:
    """The rows, reduced to the seeds that all of them have; no rows if they share no seed.

    Rows are comparable seed by seed: a seed gives all of them the same initial weights and order of images.
    """
    shared = set.intersection(*(set(row.by_seed) for row in rows)) if rows else set()
    if not shared:
        return []
    return [Row(row.name, row.paper, {s: row.by_seed[s] for s in sorted(shared)}, row.paper_spread) for row in rows]


def tau_of(rows: Sequence[Row]) -> float:
    """Tau-b between the paper's numbers and our means; NaN for too few rows."""
    return tau_b([row.paper for row in rows], [row.mean for row in rows]) if len(rows) >= FEWEST_ROWS else math.nan


def tau_p(rows: Sequence[Row]) -> float:
    """One-sided p of `tau_of` by permutation of the rows; NaN where there is no tau-b."""
    if math.isnan(tau_of(rows)):
        return math.nan
    return order_p([row.paper for row in rows], [row.mean for row in rows])


def tau_by_seed(rows: Sequence[Row]) -> dict[int, float]:
    """Seed to the tau-b of that seed alone; all rows must have the same seeds."""
    paper = [row.paper for row in rows]
    return {seed: tau_b(paper, [row.by_seed[seed] for row in rows]) for seed in (rows[0].by_seed if rows else ())}


def each_seed(rows: Sequence[Row]) -> str:
    """Tau-b of each seed alone, if there are several."""
    taus = tau_by_seed(rows).values()
    return ", ".join(f"{tau:.2f}" for tau in taus) if len(taus) > 1 else "one seed"


@dataclass(frozen=True)
class Swap:
    """Two rows in the paper's order, with the same seeds."""

    upper: Row
    """The row with the higher number in the paper."""
    lower: Row

    @property
    def theirs(self) -> float:
        """Points by which the upper row leads in the paper."""
        return self.upper.paper - self.lower.paper

    @property
    def ours(self) -> float:
        """Points by which the upper row trails here; negative if it leads."""
        return self.lower.mean - self.upper.mean

    @property
    def paper_decides(self) -> bool:
        """Whether the difference in the paper exceeds both half-ranges."""
        return self.theirs > sum(max(UNPRINTED, row.paper_spread) for row in (self.upper, self.lower))

    @property
    def weight(self) -> str:
        """In how many seeds the upper row trails, in words."""
        behind = [self.lower.by_seed[seed] > self.upper.by_seed[seed] for seed in self.upper.by_seed]
        return in_seeds(behind)


def in_seeds(holds: Sequence[bool]) -> str:
    """In how many seeds something holds, in words."""
    if len(holds) == 1:
        return "one seed, which may be chance"
    return f"in {'each' if all(holds) else sum(holds)} of {len(holds)} seeds"


def points(value: float) -> str:
    """Points with their sign; `0.0` if they round to zero."""
    return "0.0" if abs(value) < 0.05 else f"{value:+.1f}"


def mean_of(values: Sequence[float]) -> str:
    """The mean of the seeds, with half their range."""
    return f"{sum(values) / len(values):.1f}" + (f" ± {(max(values) - min(values)) / 2:.1f}" if len(values) > 1 else "")


def swaps(rows: Sequence[Row]) -> list[Swap]:
    """All pairs in reversed order; ties on either side do not count."""
    return [swap for swap in _pairs(rows) if swap.theirs > 0 and swap.ours > 0]


def decided(rows: Sequence[Row]) -> tuple[int, int]:
    """Of the pairs that the paper decides: how many are in the paper's order here, and how many there are."""
    told = [pair for pair in _pairs(rows) if pair.paper_decides]
    return sum(pair.ours < 0 for pair in told), len(told)


def _pairs(rows: Sequence[Row]) -> list[Swap]:
    return [Swap(a, b) if a.paper >= b.paper else Swap(b, a) for a, b in itertools.combinations(rows, 2)]


def sentences(rows: Sequence[Row]) -> list[str]:
    """A sentence per misplaced row. Rows are chosen greedily until each swapped pair contains one of them."""
    left = swaps(rows)
    said = []
    while left:
        row = max(rows, key=lambda row: (sum(row in (s.upper, s.lower) for s in left), -row.paper))
        mine = [swap for swap in left if row in (swap.upper, swap.lower)]
        left = [swap for swap in left if swap not in mine]
        said.append(_sentence(row, mine))
    return said


def _sentence(row: Row, mine: Sequence[Swap]) -> str:
    worst = max(mine, key=lambda swap: (swap.paper_decides, swap.ours))
    up = worst.lower is row
    other = worst.upper if up else worst.lower
    others = [s.upper.name if s.lower is row else s.lower.name for s in mine if s is not worst]
    also = f" Also with {_listed(others)}." if others else ""
    theirs = "" if worst.paper_decides else " (within the paper's own spread)"
    return (
        f"**{row.name}** is swapped with {other.name}: in the paper {worst.theirs:.1f} points "
        f"{'below' if up else 'above'} it{theirs}, here {worst.ours:.1f} {'above' if up else 'below'} "
        f"({worst.weight}).{also}"
    )


def _listed(names: Sequence[str], most: int = 3) -> str:
    if len(names) <= most:
        return "; ".join(names)
    return f"{'; '.join(names[:most])}; and {len(names) - most} more"
