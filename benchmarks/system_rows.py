"""Rows of `byol paper pretext` for the page of the systems: one system beside an untrained network."""

from functools import cache
from pathlib import Path

from byol.paper.catalog import TABLES
from byol.paper.scales import scale_named
from byol.paper.summary import TableResult, gather
from byol.paper.systems import UNTRAINED
from byol.paper.systems_table import METRICS, metrics_of, published_of
from byol.report.document import Grid, Note, markdown
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
    head = ("", *METRICS.values(), "published, ImageNet")
    shown = [(rows[one].cell.title, *metrics_of(rows[one]), published_of(rows[one].cell)) for one in names]
    seeds = "1 seed" if found.seeds == (1, 1) else f"{found.seeds[0]} to {found.seeds[1]} seeds"
    origin = Note(f"`byol paper pretext --scale {found.scale.name}`, {seeds}")
    return f"\n{markdown([Grid(head, tuple(shown)), origin])}\n"


@cache
def _measured(folder: Path) -> TableResult:
    for scale in SCALES:
        found = gather(folder, scale_named(scale), {"pretext": TABLES["pretext"]}).table("pretext")
        if found is not None:
            return found
    raise KeyError("pretext")
