"""The plan of a call: which trainings to run, in which order, and which already have results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.errors import UserError
from byol.paper.catalog import chosen
from byol.paper.cells import Cell, Extras, Table
from byol.paper.evaluation import evaluation_of
from byol.paper.results import Lines, append_line, fits, latest, read_lines, result_config, results_file
from byol.paper.scales import Scale


@dataclass
class Job:
    """One training and the rows that it serves: many tables share BYOL's own row."""

    config: PretrainConfig
    """Includes the seed."""
    rows: list[tuple[Table, Cell]]

    @property
    def extras(self) -> Extras:
        return extras_of(self.rows)

    @property
    def name(self) -> str:
        table, cell = self.rows[0]
        return f"{table.name}-{cell.name}-seed-{self.config.seed}"


def extras_of(rows: Sequence[tuple[Table, Cell]]) -> Extras:
    """What is measured for at least one of the rows."""
    return frozenset().union(*(cell.extras for _, cell in rows))


def plan(tables: Sequence[Table], scale: Scale, seeds: int, only: tuple[str, ...] = ()) -> list[Job]:
    """All trainings, each once: seed 0 of all tables, then seed 1, so that an interrupted run has complete tables.

    Raises:
        UserError: the patterns match no cell, or there are none at this scale.
    """
    jobs: dict[PretrainConfig, Job] = {}
    for seed in range(seeds):
        for table in tables:
            for cell in chosen(table, scale, only):
                config = replace(cell.config(scale), seed=seed)
                jobs.setdefault(result_config(config), Job(config, [])).rows.append((table, cell))
    if not jobs and not any(table.cells(scale) for table in tables):
        raise UserError(
            f"{tables[0].name} has no rows at the scale {scale.name}, where the cost of a pass was not measured "
            "(benchmarks/system_costs.py); give another --scale, or another table."
        )
    if not jobs:
        names = ", ".join(cell.name for cell in tables[0].cells(scale))
        raise UserError(f"No cell is called {' or '.join(only)}; the cells of {tables[0].name} are: {names}.")
    return list(jobs.values())


def part_of(jobs: list[Job], part: str) -> list[Job]:
    """One part of the jobs: `1/4` takes every fourth job, so that all parts end at about the same time.

    Raises:
        UserError: there is no such part.
    """
    number, slash, of = part.partition("/")
    if not (slash and number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise UserError(f"part is {part!r}, but must be a part and a count, such as 1/4, 2/4, 3/4 or 4/4.")
    return jobs[int(number) - 1 :: int(of)]


class ResultStore:
    """The results of a scale, read from and appended to its results files."""

    def __init__(self, folder: Path, scale: Scale, data: str | None) -> None:
        self.folder, self.scale, self.data = folder, scale, data
        self._files: dict[str, Lines] = {}

    def lines(self, table: str) -> Lines:
        """The results file of a table; read once."""
        if table not in self._files:
            self._files[table] = read_lines(results_file(self.folder, table, self.scale.name))
        return self._files[table]

    def complaints(self, tables: Sequence[Table]) -> list[str]:
        """A sentence per file with corrupt lines, and one per file with stale lines."""
        said = []
        for table in tables:
            lines = self.lines(table.name)
            if lines.corrupt:
                said.append(lines.complaint())
            stale = self.stale(table)
            if stale:
                said.append(
                    f"{lines.path}: {stale} line{'s are' if stale > 1 else ' is'} of other settings or images; cells "
                    "without a result run again."
                )
        return said

    def stale(self, table: Table) -> int:
        """Number of lines that no longer fit the cell of their name."""
        cells = {cell.name: cell for cell in table.cells(self.scale)}
        return sum(
            line["cell"] not in cells or not self._fits(line, cells[line["cell"]], line["seed"])
            for line in self.lines(table.name).found
        )

    def line(self, table: Table, cell: Cell, seed: int) -> Mapping[str, Any] | None:
        """The latest result of a cell that still fits; None if there is none."""
        return latest(
            line
            for line in self.lines(table.name).found
            if (line["cell"], line["seed"]) == (cell.name, seed) and self._fits(line, cell, seed)
        )

    def missing(self, job: Job) -> list[tuple[Table, Cell]]:
        """Rows of a job without a result."""
        return [row for row in job.rows if self.line(*row, job.config.seed) is None]

    def reuse(self, job: Job) -> bool:
        """Copy another table's result of the same training to the rows without one; whether all rows have one now."""
        missing = self.missing(job)
        wanted = evaluation_of(self.scale, extras_of(missing))
        found = latest(
            line
            for path in sorted(self.folder.glob(f"*-{self.scale.name}.jsonl"))
            for line in self.lines(path.name.removesuffix(f"-{self.scale.name}.jsonl")).found
            if fits(line, result_config(job.config), wanted, self.data)
        )
        if missing and found is not None:
            for table, cell in missing:
                self.add(table, cell, found)
        return not missing or found is not None

    def add(self, table: Table, cell: Cell, line: Mapping[str, Any]) -> None:
        """Append a result for a row."""
        whole = {"table": table.name, "cell": cell.name}
        whole |= {key: value for key, value in line.items() if key not in whole}
        append_line(results_file(self.folder, table.name, self.scale.name), whole)
        self.lines(table.name).found.append(whole)

    def _fits(self, line: Mapping[str, Any], cell: Cell, seed: int) -> bool:
        config = result_config(replace(cell.config(self.scale), seed=seed))
        return fits(line, config, evaluation_of(self.scale, cell.extras), self.data)
