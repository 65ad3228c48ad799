"""Rows of `byol paper pretext` for the page of the systems: one system beside an untrained network."""

from functools import cache
from pathlib import Path

from byol.paper.catalog import TABLES
from byol.paper.scales import scale_named
from byol.paper.summary import RowResult, TableResult, gather
from byol.paper.systems import UNTRAINED
from byol.paper.systems_table import METRICS
from results_file import REPOSITORY

RESULTS = REPOSITORY / "results" / "paper"
SCALES = ("cpu", "cpu-short")
"""The first of which has results is shown."""


def table(name: str, folder: Path = RESULTS) -> str:
    """Accuracy of a system and of an untrained network, in percent, after the same passes.

    Args:
        name: of a row of the table `pretext`, or `all`.
        folder: of the results.

    Raises:
        KeyError: it was not run.
    """
    found = _measured(folder)
    rows = {row.cell.name: row for row in found.rows}
    names = list(rows) if name == "all" else [UNTRAINED, name]
    head = ["", *METRICS.values(), "published, ImageNet"]
    lines = [_line(head), _line(["---", *["---:"] * (len(head) - 1)])]
    lines += [_line([rows[one].cell.title, *_figures(rows[one])]) for one in names]
    seeds = "1 seed" if found.seeds == (1, 1) else f"{found.seeds[0]} to {found.seeds[1]} seeds"
    return "\n" + "\n".join(lines) + f"\n\n*`byol paper pretext --scale {found.scale.name}`, {seeds}*\n\n"


@cache
def _measured(folder: Path) -> TableResult:
    for scale in SCALES:
        found = gather(folder, scale_named(scale), {"pretext": TABLES["pretext"]}).table("pretext")
        if found is not None:
            return found
    raise KeyError("pretext")


def _figures(row: RowResult) -> list[str]:
    figures = []
    for metric in METRICS:
        values = row.by_seed(metric).values()
        figures.append(f"{sum(values) / len(values):.1f}")
    figures[-1] += f" ({', '.join(row.stages)})"
    return [*figures, "" if row.cell.paper is None else f"{row.cell.paper.value:g}"]


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
