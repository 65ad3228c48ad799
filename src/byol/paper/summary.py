"""What the results files say of a table at a scale, and of the paper's two headline claims."""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from byol.paper.cells import Cell, Table
from byol.paper.plan import ResultStore
from byol.paper.ranks import Row, on_shared_seeds
from byol.paper.results import measured_with
from byol.paper.scales import Scale

Line = Mapping[str, Any]


@dataclass(frozen=True)
class RowResult:
    """One row with its results, by seed."""

    cell: Cell
    lines: tuple[Line, ...]

    def by_seed(self, metric: str) -> dict[int, float]:
        """A figure in percent."""
        return {line["seed"]: _per_cent(line, metric) for line in self.lines}

    @property
    def ours(self) -> tuple[float, ...]:
        """What the row is measured by, in percent, one per seed."""
        return tuple(self.by_seed(self.cell.metric).values())

    @property
    def knn(self) -> tuple[float, ...]:
        """20-NN accuracy in percent, one per seed."""
        return tuple(self.by_seed("knn").values())

    @property
    def verdicts(self) -> dict[str, int]:
        """How many seeds got which word."""
        return dict(Counter(line["verdict"] for line in self.lines))

    def ranked(self, metric: str) -> Row:
        """For `byol.paper.ranks`."""
        assert self.cell.paper is not None
        return Row(self.cell.title, self.cell.paper.value, self.by_seed(metric), self.cell.paper.spread or 0.0)


def _per_cent(line: Line, metric: str) -> float:
    """A figure in percent; an encoder that gives no numbers knows no more than chance."""
    part, _, share_of_labels = metric.partition("_")
    share = line[part][share_of_labels] if share_of_labels else line[part]
    return 100 * (1 / line["data"]["classes"] if share is None else float(share))


@dataclass(frozen=True)
class TableResult:
    """A table at a scale: the rows that have results, in the table's order."""

    table: Table
    scale: Scale
    rows: tuple[RowResult, ...]
    missing: tuple[Cell, ...]
    stale: int
    """Lines of other settings, which count for nothing."""
    corrupt: int
    others: int = 0
    """Lines of other images, which count for nothing either."""

    @property
    def seeds(self) -> tuple[int, int]:
        """Fewest and most seeds of a row."""
        counts = [len(row.lines) for row in self.rows]
        return min(counts), max(counts)

    def comparable(self, method: str | None = None) -> list[Row]:
        """Rows that the paper has a number for, with the seeds that each has; of one method, or all."""
        rows = [row for row in self.rows if method is None or row.cell.group == method]
        return [row.ranked(row.cell.metric) for row in rows if row.cell.paper is not None]

    def ranked(self, method: str | None = None) -> list[Row]:
        """The same, on the seeds that all of them have."""
        return on_shared_seeds(self.comparable(method))

    def ranked_by_method(self) -> dict[str, list[Row]]:
        """The same for each method alone; nothing where a table has one."""
        methods = dict.fromkeys(row.cell.group for row in self.rows)
        return {method: self.ranked(method) for method in methods} if len(methods) > 1 else {}

    def ranked_by_knn(self) -> list[Row]:
        """The same by 20-NN accuracy; nothing where the paper's figure is of fine-tuning."""
        rows = [row for row in self.rows if row.cell.paper is not None and row.cell.metric == "linear"]
        return on_shared_seeds([row.ranked("knn") for row in rows])

    def seconds(self) -> float:
        """What all lines took, each training counted once."""
        lines = [line for row in self.rows for line in row.lines]
        taken = {measured_with(line): sum(line["seconds"].values()) for line in lines}
        return float(sum(taken.values()))


@dataclass
class Gathered:
    """All tables of a scale that have results."""

    scale: Scale
    tables: list[TableResult] = field(default_factory=list)

    def lines(self) -> list[Line]:
        """Every line that counts."""
        return [line for table in self.tables for row in table.rows for line in row.lines]

    def table(self, name: str) -> TableResult | None:
        """One of them."""
        return next((found for found in self.tables if found.table.name == name), None)


def gather(folder: Path, scale: Scale, tables: Mapping[str, Table]) -> Gathered:
    """Read every results file of a scale; of the data sets in them, the one with most lines counts."""
    every = ResultStore(folder, scale, None)
    used = Counter(
        (line["data"]["fingerprint"], line["data"]["images"]) for name in tables for line in every.lines(name).found
    )
    data, images = used.most_common(1)[0][0] if used else (None, scale.train_images)
    scale = dataclasses.replace(scale, train_images=images)  # a run may have taken fewer
    done = ResultStore(folder, scale, data)
    gathered = Gathered(scale)
    for name, table in tables.items():
        rows, missing = [], []
        for cell in table.cells(scale):
            seeds = sorted({line["seed"] for line in done.lines(name).found if line["cell"] == cell.name})
            found = [line for line in (done.line(table, cell, seed) for seed in seeds) if line is not None]
            if found:
                rows.append(RowResult(cell, tuple(found)))
            else:
                missing.append(cell)
        if rows:
            lines = done.lines(name)
            of_others = sum(line["data"]["fingerprint"] != data for line in lines.found)
            stale = done.stale(table) - of_others
            gathered.tables.append(
                TableResult(
                    table, scale, tuple(rows), tuple(missing), max(0, stale), len(lines.corrupt), others=of_others
                )
            )
    return gathered


def seconds_of_a_cell(folder: Path, scale: Scale, table: Table) -> tuple[float, bool]:
    """What a cell of a table takes, and whether that was measured: the median over its lines, else over the scale's."""
    done = ResultStore(folder, scale, None)
    own = [sum(line["seconds"].values()) for line in done.lines(table.name).found]
    return (median(own), True) if own else (scale.estimated_seconds(), False)


def drops(result: TableResult) -> dict[str, list[Row]]:
    """By method, how many points each row loses from the method's first row, the paper's and ours.

    Of seeds that both have; rows without one are left out.
    """
    found: dict[str, list[Row]] = {}
    for group in dict.fromkeys(row.cell.group for row in result.rows):
        rows = [row for row in result.rows if row.cell.group == group]
        base = rows[0]
        if base.cell != next(cell for cell in result.table.cells(result.scale) if cell.group == group):
            continue  # without the method's baseline there is nothing to lose
        at_base = base.by_seed(base.cell.metric)
        found[group] = []
        for row in rows:
            values = row.by_seed(row.cell.metric)
            lost = {seed: at_base[seed] - value for seed, value in values.items() if seed in at_base}
            assert row.cell.paper is not None
            assert base.cell.paper is not None
            if lost:
                found[group].append(Row(row.cell.row, base.cell.paper.value - row.cell.paper.value, lost))
    return found
