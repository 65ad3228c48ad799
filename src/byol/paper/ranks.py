"""Do our rows stand in the paper's order? Kendall's tau-b, over all seeds and seed by seed, and which rows disagree."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

FEWEST_ROWS = 3
"""Rows below which a rank correlation says nothing."""
UNPRINTED = 0.25
"""Half-range of a number that the paper prints without one: it leaves out what is not above it."""


def tau_b(x: Sequence[float], y: Sequence[float]) -> float:
    """Kendall's tau-b of two lists of equal length, in [-1, 1]: pairs in the same order less pairs swapped, over the
    geometric mean of the pairs that are untied in each (Kendall 1945); NaN where one of them is all ties."""
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
    """One per seed, one at least."""
    paper_spread: float = 0.0

    @property
    def ours(self) -> tuple[float, ...]:
        return tuple(self.by_seed.values())

    @property
    def mean(self) -> float:
        return sum(self.ours) / len(self.ours)

    @property
    def spread(self) -> float:
        """Half of best minus worst, as the paper prints it."""
        return (max(self.ours) - min(self.ours)) / 2


def on_shared_seeds(rows: Sequence[Row]) -> list[Row]:
    """Rows with the seeds that all of them have: a seed's weights and order of images are the same in each.

    No row where they share no seed.
    """
    shared = set.intersection(*(set(row.by_seed) for row in rows)) if rows else set()
    if not shared:
        return []
    return [Row(row.name, row.paper, {s: row.by_seed[s] for s in sorted(shared)}, row.paper_spread) for row in rows]


def tau_of(rows: Sequence[Row]) -> float:
    """Tau-b between the paper's rows and ours; NaN of too few."""
    return tau_b([row.paper for row in rows], [row.mean for row in rows]) if len(rows) >= FEWEST_ROWS else math.nan


def tau_by_seed(rows: Sequence[Row]) -> dict[int, float]:
    """Tau-b of each seed alone, of rows that share their seeds."""
    paper = [row.paper for row in rows]
    return {seed: tau_b(paper, [row.by_seed[seed] for row in rows]) for seed in (rows[0].by_seed if rows else ())}


@dataclass(frozen=True)
class Swap:
    """Two rows, on the seeds that both have, that stand the other way round here than in the paper."""

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
    def paper_decides(self) -> bool:
        """Whether the paper's seeds tell the two apart."""
        return self.theirs > sum(max(UNPRINTED, row.paper_spread) for row in (self.upper, self.lower))

    @property
    def weight(self) -> str:
        """In how many seeds it is so."""
        behind = [self.lower.by_seed[seed] > self.upper.by_seed[seed] for seed in self.upper.by_seed]
        return in_seeds(behind)


def in_seeds(holds: Sequence[bool]) -> str:
    """In how many seeds something is so, in words."""
    if len(holds) == 1:
        return "one seed, which does not say whether that is chance"
    return f"in {'each' if all(holds) else sum(holds)} of {len(holds)} seeds"


def swaps(rows: Sequence[Row]) -> list[Swap]:
    """Every pair that stands the other way round; ties on either side are none."""
    return [swap for swap in _pairs(rows) if swap.theirs > 0 and swap.ours > 0]


def decided(rows: Sequence[Row]) -> tuple[int, int]:
    """How many pairs that the paper's seeds tell apart stand in the paper's order here, and how many such there are."""
    told = [pair for pair in _pairs(rows) if pair.paper_decides]
    return sum(pair.ours < 0 for pair in told), len(told)


def _pairs(rows: Sequence[Row]) -> list[Swap]:
    return [Swap(a, b) if a.paper >= b.paper else Swap(b, a) for a, b in itertools.combinations(rows, 2)]


def sentences(rows: Sequence[Row]) -> list[str]:
    """Who disagrees: a sentence for each of the fewest rows, greedily, that have a part in every swapped pair."""
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
    theirs = "" if worst.paper_decides else ", which the paper's own seeds do not tell apart"
    return (
        f"**{row.name}** is swapped with {other.name}: in the paper {worst.theirs:.1f} points "
        f"{'below' if up else 'above'} it{theirs}, here {worst.ours:.1f} {'above' if up else 'below'} "
        f"({worst.weight}).{also}"
    )


def _listed(names: Sequence[str], most: int = 3) -> str:
    if len(names) <= most:
        return "; ".join(names)
    return f"{'; '.join(names[:most])}; and {len(names) - most} more"
