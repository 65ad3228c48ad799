"""Stage 4, the paper's tables at the scale `small`, through `byol paper`: the headline claims first."""

import dataclasses
from collections.abc import Iterator
from functools import partial

from byol.config.values import replace
from byol.paper.catalog import table_named
from byol.paper.cells import Cell, Table
from byol.paper.data import open_data
from byol.paper.plan import ResultStore
from byol.paper.runner import Paths, RunOptions, run
from byol.paper.scales import Scale, scale_named, watched
from campaign.quality import TINY
from campaign.setting import Setting
from campaign.unit import Broken, Measured, Unfinished, Unit
from results_file import Row

FIRST = {
    "batch-size": ("4096", "256", "1024", "64"),
    "augmentations": ("baseline", "color", "gray", "crop"),
    "targets": (),
    "bridge": (),
}
"""Tables in order of worth, and the rows of each that come first, of BYOL and of SimCLR: the ends of each range."""
NAMES = {"linear": "linear", "knn": "20-NN"}
"""Keys of a line of the results, and what they are called here."""
TINY_CELLS = 1
"""Rows of each table that a tiny campaign measures."""


def units(setting: Setting) -> list[Unit]:
    """One unit for each row; rows that several tables share are trained once."""
    scale = scale_of(setting)
    return [
        Unit(
            stage="paper",
            what=f"{table.name}, {cell.name}",
            seconds=scale.estimated_seconds(),
            work=partial(measure, table, cell, scale, setting),
            resumes=True,
        )
        for table, cell in in_order(scale, setting)
    ]


def scale_of(setting: Setting) -> Scale:
    """The scale `small`, or a tiny one with the same rows."""
    scale = scale_named("small")
    if not setting.tiny:
        return scale
    config = watched(replace(scale.config, **TINY, epochs=1, optim__accumulate=1), 120)
    return dataclasses.replace(scale, name="tiny", config=config, train_images=120, penalties=(0.01, 1.0))


def in_order(scale: Scale, setting: Setting) -> Iterator[tuple[Table, Cell]]:
    """All rows, the most telling ones first; BYOL and SimCLR in turn."""
    for name, first in FIRST.items():
        table = table_named(name)
        ranks = {row: rank for rank, row in enumerate(first)}
        cells = sorted(
            table.cells(scale), key=lambda cell, ranks=ranks: ranks.get(cell.name.partition("-")[2], len(ranks))
        )
        for cell in cells[:TINY_CELLS] if setting.tiny else cells:
            yield table, cell


def measure(table: Table, cell: Cell, scale: Scale, setting: Setting) -> Measured:
    """Train and evaluate one row; its line goes into the results of `byol paper`.

    Raises:
        Unfinished: the training was stopped in time.
        Broken: it failed.
    """
    data = open_data(setting.train, setting.test, scale.images)
    results = setting.out / "paper"
    paths = Paths(train=setting.train, test=setting.test, results=results, runs=setting.work / "paper")
    summary = run([table], scale, paths, RunOptions(only=(cell.name,), processes=1), data=data)
    if summary.interrupted:
        raise Unfinished("stopped in time; the next call on this machine goes on with it")
    if summary.failed:
        raise Broken(summary.failed[0], [])
    line = ResultStore(results, scale, data.fingerprint).line(table, cell, seed=0)
    assert line is not None, "a row that was run has a line"
    about = {"scale": scale.name, "epochs": scale.config.epochs, "verdict": line["verdict"], "seconds": line["seconds"]}
    rows = [
        Row(f"paper: {table.name}", f"{cell.title}: {name}", "accuracy", [line[key]], about)
        for key, name in NAMES.items()
        if line[key] is not None  # features that are NaN or infinite
    ]
    figures = [f"{name} {100 * line[key]:.1f} %" for key, name in NAMES.items() if line[key] is not None]
    return Measured(rows, ", ".join([*figures, line["verdict"]]))
