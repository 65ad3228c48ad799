"""The verdict as a page: accuracy over labels, one line per row of the table, in one self-contained HTML file."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from byol.evals.verdict import ALL, Score, Verdict
from byol.report.axis import Axis
from byol.report.chart import Plot, chart
from byol.report.document import Block, Figure, Grid, Note, Paragraph, literal, page
from byol.report.marks import BLUE, GRAY, GREEN, ORANGE, PURPLE, SHAPES, YELLOW, Level, Line, Mark, Points, Ranges
from byol.report.svg import Svg
from byol.runtime.checkpoint import write_atomically

COLORS = (ORANGE, GRAY, BLUE, GREEN, YELLOW, PURPLE)


def write_plot(path: Path, verdict: Verdict, title: str) -> None:
    """Write the page atomically: the paragraph, the figure, the table, what was left out.

    Raises:
        UserError: the disk is full or not writable.
    """
    caption = "Each point is the mean over random draws of the labels; strokes span one standard deviation."
    blocks: list[Block] = [
        Paragraph(literal(verdict.paragraph)),
        Figure(plot(verdict), caption),
        _table(verdict),
        *(Note(literal(note)) for note in verdict.notes),
    ]
    write_atomically(path, page(title, blocks))


def plot(verdict: Verdict) -> Svg:
    """Top-1 accuracy over labels per class, which stand on a logarithmic axis."""
    counts = {column: max(1.0, count) for column, count in verdict.labels.items()}
    best = max(score.mean + score.std for scores in verdict.table.values() for score in scores.values())
    top = min(100, 10 * math.ceil(10 * best + 1e-9))
    words = {counts[name]: f"all ({count:,.0f})" if name == ALL else name for name, count in verdict.labels.items()}
    labels = Axis.around(counts.values(), log=True, label="labels per class", margin=0.03)
    labels = replace(labels, ticks=words, grid=False)
    percent: dict[float, str] = {value: f"{value} %" for value in range(0, top + 1, 10)}
    accuracy = Axis(low=0, high=top, label="top-1 accuracy on unseen images", ticks=percent)
    marks = [Level(value=100 * verdict.chance, words="chance"), *_marks(verdict, counts)]
    return chart(
        [Plot(x=labels, y=accuracy, marks=marks)],
        "Accuracy over the number of labels",
        f"Top-1 accuracy of {', '.join(verdict.table)}, with {', '.join(verdict.labels)} labels per class.",
    )


def _marks(verdict: Verdict, counts: dict[str, float]) -> Iterator[Mark]:
    for number, (row, scores) in enumerate(verdict.table.items()):
        color, shape = COLORS[number % len(COLORS)], SHAPES[number % len(SHAPES)]
        means = [(counts[column], 100 * score.mean) for column, score in scores.items()]
        yield Line(points=means, color=color, name=row)
        yield Ranges(
            ends=[
                ((counts[column], 100 * (score.mean - score.std)), (counts[column], 100 * (score.mean + score.std)))
                for column, score in scores.items()
            ],
            color=color,
        )
        yield Points(points=means, color=color, name=row, shape=shape)


def _table(verdict: Verdict) -> Grid:
    head = ("top-1, % (labels per class:)", *verdict.labels)
    rows = tuple((row, *map(Score.as_percent, scores.values())) for row, scores in verdict.table.items())
    return Grid(head, rows)
