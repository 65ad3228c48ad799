"""The systems before BYOL side by side: after the same passes and after the same minutes, judged in four ways."""

import math
from collections.abc import Collection
from statistics import fmean

from byol.paper.cells import Cell
from byol.paper.chance import p_value
from byol.paper.ranks import each_seed, mean_of, tau_of, tau_p
from byol.paper.summary import RowResult, TableResult
from byol.paper.systems import UNTRAINED
from byol.report.document import Block, Grid, Heading, Items, Paragraph

METRICS = {"linear": "linear", "knn": "20-NN", "few": "10-shot", "layer": "best layer"}
"""Metrics of a line that a row of this table has, and their names."""


PLACES = {"linear": "with features of the last layer", "layer": "each at its best layer"}
"""Metrics by which a system is compared with an untrained network, in words."""


def systems_blocks(passes: TableResult | None, minutes: TableResult | None) -> list[Block]:
    """Both conditions in one table, their orders beside the published one, and who is above an untrained network.

    Nothing if neither has results. A row that has been run under one condition only has gaps.
    """
    both = {when: found for when, found in (("passes", passes), ("minutes", minutes)) if found is not None}
    if not both:
        return []
    first = next(iter(both.values()))
    head = ("system", "published", *(f"same {when}: {name}" for when in both for name in _columns(when)))
    return [
        Heading(f"The systems side by side ({first.scale.name})", 3),
        Paragraph(
            "*Linear*: a classifier on the encoder's features, fitted to all labels. *20-NN*: the vote of the 20 "
            "nearest neighbors. *10-shot*: a linear classifier on ten labels per class, mean of five draws. *Best "
            "layer*: a linear classifier on the encoder's stage that does best on held-out training images, and that "
            "stage. Accuracy in percent, mean of the seeds, with half the range. *Minutes* are of training on this "
            "machine, whatever else it did. After the *same minutes* a row has the passes over the images (epochs) "
            "that it gets through in BYOL's time."
        ),
        Grid(head, tuple(_row(name, both) for name in _names(both.values()))),
        *_orders(both),
        Items(tuple(dict.fromkeys(_above_untrained(when, found, by) for when, found in both.items() for by in PLACES))),
    ]


def _columns(when: str) -> tuple[str, ...]:
    return (*METRICS.values(), "epochs", "minutes") if when == "minutes" else (*METRICS.values(), "minutes")


def _names(found: Collection[TableResult]) -> list[str]:
    """Names of the cells with results, in the table's order."""
    measured = {row.cell.name for result in found for row in result.rows}
    first = next(iter(found))
    return [cell.name for cell in first.table.cells(first.scale) if cell.name in measured]


def _row(name: str, both: dict[str, TableResult]) -> tuple[str, ...]:
    rows = {when: next((row for row in found.rows if row.cell.name == name), None) for when, found in both.items()}
    cell = next(row.cell for row in rows.values() if row is not None)
    figures: list[str] = []
    for when, row in rows.items():
        figures += [""] * len(_columns(when)) if row is None else _figures(when, row)
    return cell.title, published_of(cell), *figures


def _figures(when: str, row: RowResult) -> list[str]:
    epochs = [f"{row.lines[0]['config']['epochs']:g}"] if when == "minutes" else []
    return [*metrics_of(row), *epochs, f"{row.minutes:.1f}"]


def metrics_of(row: RowResult) -> list[str]:
    """A row's metrics in the order of `METRICS`, in percent, the last one with the stages that were best."""
    figures = [mean_of(tuple(row.by_seed(metric).values())) for metric in METRICS]
    if row.stages:
        figures[-1] += f" ({', '.join(row.stages)})"
    return figures


def published_of(cell: Cell) -> str:
    """What the system's authors published, in percent; empty where there is nothing."""
    return "" if cell.paper is None else f"{cell.paper.value:g}"


def _orders(both: dict[str, TableResult]) -> list[Block]:
    """Kendall's tau-b between the published figures and ours, by each metric under each condition."""
    ranked = {(metric, when): found.ranked_by(metric) for metric in METRICS for when, found in both.items()}
    if all(math.isnan(tau_of(rows)) for rows in ranked.values()):
        return []
    count = max(len(rows) for rows in ranked.values())
    grid = [
        (
            name,
            *(
                "" if math.isnan(tau_of(rows)) else f"{tau_of(rows):.2f} (p {p_value(tau_p(rows))}; {each_seed(rows)})"
                for rows in (ranked[metric, when] for when in both)
            ),
        )
        for metric, name in METRICS.items()
    ]
    return [
        Paragraph(
            f"Kendall's tau-b between the published ImageNet figures of {count} rows and ours, over the seeds that all "
            "of them have, with its p by permutation and that of each seed alone:"
        ),
        Grid(("by", *(f"same {when}" for when in both)), tuple(grid)),
    ]


def _above_untrained(when: str, found: TableResult, metric: str) -> str:
    """A sentence: which systems are above an untrained network by a metric of `PLACES`, and which are not."""
    base = next((row for row in found.rows if row.cell.name == UNTRAINED), None)
    others = [row for row in found.rows if row.cell.name != UNTRAINED]
    gains = {} if base is None else {row.cell.title: _gain(row, base, metric) for row in others}
    known = {title: gain for title, gain in gains.items() if not math.isnan(gain)}
    if not known:
        return f"Same {when}: the untrained network was not run, or nothing beside it."
    below = [f"{title} ({gain:+.1f})" for title, gain in known.items() if gain <= 0]
    above = len(known) - len(below)
    rest = f"; not: {', '.join(below)}" if below else ""
    return f"Same {when}: {above} of {len(known)} systems are above an untrained network, {PLACES[metric]}{rest}."


def _gain(row: RowResult, base: RowResult, metric: str) -> float:
    """Points by which a row is above the base by a metric, on the seeds that both have; NaN without one."""
    ours, theirs = row.by_seed(metric), base.by_seed(metric)
    shared = sorted(set(ours) & set(theirs))
    return fmean(ours[seed] - theirs[seed] for seed in shared) if shared else math.nan
