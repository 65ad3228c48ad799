"""A chart: one plot or several side by side, with axes, tick labels that do not collide, and a legend."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from byol.report.axis import Axis
from byol.report.marks import Area, Mark, legend_of
from byol.report.svg import Svg, element, label, number, text_width

SMALL = 12
"""Font size of tick labels, in pixels."""
PIXELS_PER_TICK = 45
"""Length of an axis for each of its round numbers."""
LINE, GAP, EDGE = 17, 8, 6
"""Height of a line of text, space between parts, and space around the drawing, in pixels."""
APART = 5
"""Pixels between two tick labels of a row, at least."""
SLANT = 35
"""Degrees by which tick labels are turned where they do not fit side by side."""
FAINT: dict[str, str | float] = {"stroke": "currentColor", "stroke_opacity": 0.16}
ZERO: dict[str, str | float] = {"stroke": "currentColor", "stroke_opacity": 0.6}
"""Grid lines, and the one at 0 of an axis of numbers."""


@dataclass(frozen=True, kw_only=True)
class Plot:
    """One pair of axes and what stands between them."""

    x: Axis
    y: Axis
    marks: Sequence[Mark]
    title: str = ""
    width: float = 520
    """Of the area between the axes, in pixels; labels come on top."""
    height: float = 340
    x_on_top: bool = False
    """Put the x axis above, where a reader of a long plot starts."""


def chart(plots: Sequence[Plot], title: str, description: str = "") -> Svg:
    """Plots side by side, and one legend for all marks with a name to the right of them.

    Each plot is a group of its own with the upper left corner of its area as the origin: inside, a point is at
    `x.share * width` and `(1 - y.share) * height`.

    Args:
        plots: from left to right.
        title: what the drawing is called; not drawn, but read out and shown by browsers.
        description: what it shows, for readers who cannot see it.
    """
    frames = [_Frame(plot) for plot in plots]
    top = max(frame.above for frame in frames) + EDGE
    left, body = float(EDGE), []
    for frame in frames:
        left += frame.before
        body.append(element("g", frame.draw(), transform=f"translate({number(left)} {number(top)})"))
        left += frame.plot.width + frame.after
    entries = legend_of(mark for plot in plots for mark in plot.marks)
    legend, legend_width = _legend(entries, left + 6, top + 8)
    height = top + max(*(frame.plot.height + frame.below for frame in frames), 8 + LINE * len(entries) + 4) + EDGE
    return Svg(math.ceil(left + legend_width + EDGE), math.ceil(height), title, description, "".join(body) + legend)


def _legend(entries: dict[str, list[Mark]], left: float, top: float) -> tuple[str, float]:
    """The legend and the width it takes."""
    drawn = []
    for row, (name, marks) in enumerate(entries.items()):
        y = top + (LINE + 3) * row
        drawn += [mark.sample(left + 11, y) for mark in marks]
        drawn.append(label(left + 30, y + 4, name))
    width = max((40 + text_width(name) for name in entries), default=0.0)
    return element("g", "".join(drawn), class_="legend") if drawn else "", width


class _Frame:
    """A plot with its labels laid out: the space they take on each side, in pixels, and the drawing."""

    def __init__(self, plot: Plot) -> None:
        self.plot = plot
        self.area = Area(plot.x, plot.y, plot.width, plot.height)
        self.x_ticks = _Ticks(plot.x, plot.width)
        self.y_ticks = plot.y.marked(max(2, round(plot.height / PIXELS_PER_TICK)))
        widest = max((text_width(words, SMALL) for words in self.y_ticks.values() if words), default=0.0)
        self.y_label_at = -(widest + GAP + LINE)
        self.before = max(widest + GAP + (LINE + GAP if plot.y.label else 0), self.x_ticks.overhang[0])
        self.after = max(GAP, self.x_ticks.overhang[1])
        x_side = self.x_ticks.height + (LINE + GAP if plot.x.label else 0)
        self.above = (x_side if plot.x_on_top else GAP) + (LINE + GAP if plot.title else 0)
        self.below = GAP if plot.x_on_top else x_side

    def draw(self) -> str:
        plot = self.plot
        marks = element("g", "".join(mark.draw(self.area) for mark in plot.marks), class_="marks")
        title = ""
        if plot.title:
            title = label(plot.width / 2, -self.above + LINE - 4, plot.title, text_anchor="middle", font_weight="600")
        return self._y_axis() + self._x_axis() + title + marks

    def _y_axis(self) -> str:
        plot, drawn = self.plot, []
        for value, words in self.y_ticks.items():
            y = (1 - plot.y.share(value)) * plot.height
            if plot.y.grid:
                look = ZERO if value == 0 and plot.y.ticks is None else FAINT
                drawn.append(element("path", d=f"M0 {number(y)}H{number(plot.width)}", **look))
            if words:
                drawn.append(label(-GAP, y + 4, words, text_anchor="end", font_size=SMALL))
        if plot.y.label:
            x, y = self.y_label_at, plot.height / 2
            turned = f"rotate(-90 {number(x)} {number(y)})"
            drawn.append(label(x, y, plot.y.label, text_anchor="middle", transform=turned))
        return element("g", "".join(drawn), class_="y")

    def _x_axis(self) -> str:
        plot, drawn = self.plot, []
        edge = 0.0 if plot.x_on_top else plot.height
        for value in self.x_ticks.values:
            x = number(plot.x.share(value) * plot.width)
            drawn.append(element("path", d=f"M{x} 0V{number(plot.height)}", **FAINT) if plot.x.grid else "")
            drawn.append(element("path", d=f"M{x} {number(edge)}v{-4 if plot.x_on_top else 4}", stroke="currentColor"))
        drawn.append(element("path", d=f"M0 {number(edge)}H{number(plot.width)}", stroke="currentColor"))
        drawn.append(self.x_ticks.draw(edge, up=plot.x_on_top))
        if plot.x.label:
            y = -self.x_ticks.height - GAP if plot.x_on_top else plot.height + self.x_ticks.height + LINE
            drawn.append(label(plot.width / 2, y, plot.x.label, text_anchor="middle"))
        return element("g", "".join(drawn), class_="x")


class _Ticks:
    """Tick labels of an x axis: in one row, in two where they would touch, or slanted where even that is too narrow."""

    def __init__(self, axis: Axis, length: float) -> None:
        marked = axis.marked(max(2, round(length / PIXELS_PER_TICK)))
        self.values = list(marked)
        self.labels = sorted((axis.share(value) * length, words) for value, words in marked.items() if words)
        self.rows = _rows(self.labels)
        self.slanted = max(self.rows, default=0) > 1
        widths = [(x, text_width(words, SMALL)) for x, words in self.labels]
        if self.slanted:
            angle = math.radians(SLANT)
            self.height = max(width for _, width in widths) * math.sin(angle) + LINE
            self.overhang = max(width * math.cos(angle) - x for x, width in widths), 0.0
        else:
            self.height = 4 + LINE * (1 + max(self.rows, default=0))
            self.overhang = (
                max((width / 2 - x for x, width in widths), default=0.0),
                max((x + width / 2 - length for x, width in widths), default=0.0),
            )

    def draw(self, edge: float, *, up: bool) -> str:
        drawn = []
        for (x, words), row in zip(self.labels, self.rows, strict=True):
            if self.slanted:
                y = edge + (-GAP if up else LINE)
                turned = f"rotate({SLANT if up else -SLANT} {number(x)} {number(y)})"
                drawn.append(label(x, y, words, text_anchor="end", font_size=SMALL, transform=turned))
            else:
                y = edge - GAP - LINE * row if up else edge + LINE * (row + 1)
                drawn.append(label(x, y, words, text_anchor="middle", font_size=SMALL))
        return "".join(drawn)


def _rows(labels: Sequence[tuple[float, str]]) -> list[int]:
    """For each label, centered on a position in pixels, the first row in which it touches no earlier one."""
    ends: list[float] = []
    rows = []
    for x, words in labels:
        half = text_width(words, SMALL) / 2
        row = next((row for row, end in enumerate(ends) if end + APART <= x - half), len(ends))
        ends[row : row + 1] = [x + half]
        rows.append(row)
    return rows
