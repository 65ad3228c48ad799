"""Results gathered from the files: by table and row at a scale, and the points that methods lose."""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any

from byol.paper.cells import Cell, Table
from byol.paper.plan import ResultStore
from byol.paper.ranks import Row, on_shared_seeds
from byol.paper.results import measured_with
from byol.paper.scales import Scale

Line = Mapping[str, Any]


@dataclass(frozen=True)
class RowResult:
    """A row and its results, one line per seed."""

    cell: Cell
    lines: tuple[Line, ...]

    def by_seed(self, metric: str) -> dict[int, float]:
        """Seed to a metric, in percent."""
        return {line["seed"]: _per_cent(line, metric) for line in self.lines}

    @property
    def ours(self) -> tuple[float, ...]:
        """The metric of the row in percent, one value per seed."""
        return tuple(self.by_seed(self.cell.metric).values())

    @property
    def knn(self) -> tuple[float, ...]:
        """20-NN accuracy in percent, one value per seed."""
        return tuple(self.by_seed("knn").values())

    @property
    def stages(self) -> dict[str, int]:
        """Name of the best stage to the number of seeds in which it is best; none where it was not measured."""
        return dict(Counter(line["layer"] for line in self.lines if line.get("layer")).most_common())

    @property
    def minutes(self) -> float:
        """Mean duration of a training, by the clock of the machine."""
        return fmean(line["seconds"]["training"] for line in self.lines) / 60

    @property
    def verdicts(self) -> dict[str, int]:
        """Verdict to the number of seeds that got it."""
        return dict(Counter(line["verdict"] for line in self.lines))

    def ranked(self, metric: str) -> Row:
        """The row for `byol.paper.ranks`, which needs the paper's number."""
        assert self.cell.paper is not None
        return Row(self.cell.title, self.cell.paper.value, self.by_seed(metric), self.cell.paper.spread or 0.0)


def _per_cent(line: Line, metric: str) -> float:
    """A metric in percent; chance for an encoder whose features are not finite."""
    part, _, share_of_labels = metric.partition("_")
    if metric == "layer":  # the stage that is best on held-out images
        share = None if line["layers"] is None else line["layers"][line["layer"]]
    else:
        share = line[part][share_of_labels] if share_of_labels else line[part]
    return 100 * (1 / line["data"]["classes"] if share is None else float(share))


@dataclass(frozen=True)
class TableResult:
    """A table at a scale: its rows with results, in the table's order."""

    table: Table
    scale: Scale
    rows: tuple[RowResult, ...]
    missing: tuple[Cell, ...]
    stale: int
    """Number of lines of other settings, which are ignored."""
    corrupt: int
    others: int = 0
    """Number of lines of other images, which are ignored."""

    @property
    def seeds(self) -> tuple[int, int]:
        """Least and largest number of seeds of a row."""
        counts = [len(row.lines) for row in self.rows]
        return min(counts), max(counts)

    def comparable(self, method: str | None = None) -> list[Row]:
        """Rows with a number in the paper, each with all its seeds; of one method, or of all."""
        rows = [row for row in self.rows if method is None or row.cell.group == method]
        return [row.ranked(row.cell.metric) for row in rows if row.cell.paper is not None]

    def ranked(self, method: str | None = None) -> list[Row]:
        """The comparable rows, on the seeds that all of them have."""
        return on_shared_seeds(self.comparable(method))

    def ranked_by_method(self) -> dict[str, list[Row]]:
        """Method to its own ranked rows; empty if the table has a single method."""
        methods = dict.fromkeys(row.cell.group for row in self.rows)
        return {method: self.ranked(method) for method in methods} if len(methods) > 1 else {}

    def ranked_by_knn(self) -> list[Row]:
        """The ranked rows by 20-NN accuracy; rows that the paper fine-tunes are left out."""
        return self.ranked_by("knn")

    def ranked_by(self, metric: str) -> list[Row]:
        """The ranked rows by a metric of frozen features; rows that the paper fine-tunes are left out."""
        rows = [row for row in self.rows if row.cell.paper is not None and row.cell.metric == "linear"]
        return on_shared_seeds([row.ranked(metric) for row in rows])

    def seconds(self) -> float:
        """Duration of all lines; each training counts once."""
        lines = [line for row in self.rows for line in row.lines]
        taken = {measured_with(line): sum(line["seconds"].values()) for line in lines}
        return float(sum(taken.values()))


@dataclass
class Gathered:
    """All tables with results of a scale."""

    scale: Scale
    tables: list[TableResult] = field(default_factory=list)

    def lines(self) -> list[Line]:
        """The lines of all rows."""
        return [line for table in self.tables for row in table.rows for line in row.lines]

    def table(self, name: str) -> TableResult | None:
        """The table of this name; None if it has no results."""
        return next((found for found in self.tables if found.table.name == name), None)

    def row(self, name: str) -> RowResult | None:
        """The row `table/cell`; None if it has no results."""
        table, _, cell = name.partition("/")
        found = self.table(table)
        return next((row for row in found.rows if row.cell.name == cell), None) if found is not None else None


def gather(folder: Path, scale: Scale, tables: Mapping[str, Table]) -> Gathered:
    """Read all results files of a scale. If they have several data sets, the one with most lines is used."""
    every = ResultStore(folder, scale, None)
    used = Counter(
        (line["data"]["fingerprint"], line["data"]["images"]) for name in tables for line in every.lines(name).found
    )
    data, images = used.most_common(1)[0][0] if used else (None, scale.train_images)
    scale = dataclasses.replace(scale, train_images=images)  # a run may use fewer images
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
    """Duration of a cell, and whether it is measured (the median over the table's lines) or the scale's estimate."""
    done = ResultStore(folder, scale, None)
    own = [sum(line["seconds"].values()) for line in done.lines(table.name).found]
    return (median(own), True) if own else (scale.estimated_seconds(), False)


def drops(result: TableResult) -> dict[str, list[Row]]:
    """Method to the points that each of its rows loses from its first row, in the paper and here.

    Seeds count that both rows have; rows without a shared seed are left out.
    """
    found: dict[str, list[Row]] = {}
    for group in dict.fromkeys(row.cell.group for row in result.rows):
        rows = [row for row in result.rows if row.cell.group == group]
        base = rows[0]
        if base.cell != next(cell for cell in result.table.cells(result.scale) if cell.group == group):
            continue  # the method's baseline has no results
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
