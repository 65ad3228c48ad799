"""The paper's figures: the rows of a table, the paper's numbers beside ours; and the points that methods lose."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from byol.paper.cells import GROUPS
from byol.paper.ranks import Row
from byol.paper.summary import TableResult
from byol.report.axis import Axis
from byol.report.chart import Plot, chart
from byol.report.marks import BLUE, GRAY, ORANGE, SHAPES, Line, Mark, Points, Ranges
from byol.report.svg import Svg

COLORS = {"byol": BLUE, "simclr": ORANGE}
"""By method, where a table compares two; rows of other tables are blue."""
ROW_HEIGHT, PANEL_WIDTH = 22, 250
"""Pixels of a row and of each of the two panels of `rows_figure`."""


def rows_figure(result: TableResult) -> Svg:
    """Each row of a table on a line of its own: the paper's number in the left panel, ours in the right one.

    The panels have different axes: the order of rows is what can be compared, not the accuracy.
    """
    rows = result.rows
    names = [_shortened(row.cell.title) for row in rows]
    fine_tunes = rows[0].cell.fine_tunes
    printed = [row.cell.paper for row in rows if row.cell.paper is not None]
    theirs = [paper.value + sign * (paper.spread or 0.0) for paper in printed for sign in (-1, 1)]
    ours = [value for row in rows for value in (*row.ours, *row.knn)]
    panels = [
        Plot(
            x=Axis.around(theirs, label="top-1 accuracy, %"),
            y=Axis.of_names(names, backward=True),
            marks=_paper_marks(result),
            title="the paper",
            width=PANEL_WIDTH,
            height=ROW_HEIGHT * len(rows),
            x_on_top=True,
        ),
        Plot(
            x=Axis.around(ours, label=f"top-1 accuracy, %: ● {'fine-tuned' if fine_tunes else 'linear'}, ○ 20-NN"),
            y=Axis.of_names([""] * len(rows), backward=True),
            marks=_our_marks(result),
            title="here",
            width=PANEL_WIDTH,
            height=ROW_HEIGHT * len(rows),
            x_on_top=True,
        ),
    ]
    title = f"{result.table.title}: the paper and here"
    return chart(panels, title, f"Accuracy of {len(rows)} rows of the paper's {result.table.source}, theirs and ours.")


def _paper_marks(result: TableResult) -> list[Mark]:
    """The paper's numbers, with the half-ranges that it prints."""
    printed = [(number, row.cell.paper) for number, row in enumerate(result.rows) if row.cell.paper is not None]
    spans = [
        ((paper.value - paper.spread, float(number)), (paper.value + paper.spread, float(number)))
        for number, paper in printed
        if paper.spread
    ]
    points = [(paper.value, float(number)) for number, paper in printed]
    return [Ranges(ends=spans, color=GRAY, width=2), Points(points=points, color=GRAY, radius=4)]


def _our_marks(result: TableResult) -> list[Mark]:
    """Our means, with the range over seeds; hollow for 20-NN."""
    marks: list[Mark] = []
    for number, row in enumerate(result.rows):
        color = COLORS.get(row.cell.group, BLUE)
        marks += [
            Points(points=[(fmean(row.knn), number)], color=color, hollow=True),
            Ranges(ends=[((min(row.ours), number), (max(row.ours), number))], color=color, width=2),
            Points(points=[(fmean(row.ours), number)], color=color, radius=4),
        ]
    return marks


def drops_figure(lost: Mapping[str, Sequence[Row]], title: str) -> Svg:
    """What each method loses from its own first row, in points, downward.

    Ours in full lines with the range over seeds, the paper's dashed.
    """
    names = list(dict.fromkeys(drop.name for rows in lost.values() for drop in rows))
    values = [value for rows in lost.values() for drop in rows for value in (drop.paper, *drop.ours)]
    low, high = min(0.0, *values), max(1.0, *values)
    margin = 0.05 * (high - low)
    change = Axis(low=-high - margin, high=-low + margin, label="change from the method's own baseline, points")
    marks: list[Mark] = []
    for (group, rows), shape in zip(lost.items(), SHAPES, strict=False):
        color = COLORS.get(group, BLUE)
        at = [float(names.index(drop.name)) for drop in rows]
        paper = [(x, -drop.paper) for x, drop in zip(at, rows, strict=True)]
        here = [(x, -drop.mean) for x, drop in zip(at, rows, strict=True)]
        spans = [((x, -max(drop.ours)), (x, -min(drop.ours))) for x, drop in zip(at, rows, strict=True)]
        marks += [
            Line(points=paper, color=color, name=f"{GROUPS[group]}, paper", dashed=True),
            Line(points=here, color=color, name=f"{GROUPS[group]}, here"),
            Ranges(ends=spans, color=color),
            Points(points=here, color=color, name=f"{GROUPS[group]}, here", shape=shape),
        ]
    x = Axis.of_names([_shortened(name, 40) for name in names], grid=False)
    methods = " and ".join(GROUPS[group] for group in lost)
    description = f"Points that {methods} lose in {len(names)} rows, here (full) and in the paper (dashed)."
    return chart([Plot(x=x, y=change, marks=marks, height=320)], title, description)


def _shortened(name: str, most: int = 46) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"
