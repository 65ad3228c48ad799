"""What stands in a plot: lines, points, ranges, bars and levels, each with a sample for the legend."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from byol.report.axis import Axis
from byol.report.svg import element, label, number

BLUE, ORANGE, GREEN, PURPLE, YELLOW, GRAY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#7f7f7f"
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, YELLOW, GRAY)
"""Colors for series, told apart with any color vision (Okabe and Ito), and legible on white and on black."""

Shape = Literal["circle", "square", "triangle", "diamond"]
SHAPES: tuple[Shape, ...] = ("circle", "square", "triangle", "diamond")
Point = tuple[float, float]
"""x and y, in the axes' values."""


@dataclass(frozen=True)
class Area:
    """The rectangle of a plot: its axes, and its size in pixels. (0, 0) is the upper left corner."""

    x: Axis
    y: Axis
    width: float
    height: float

    def place(self, point: Point) -> Point:
        """Pixels of a point: `x.share * width` from the left, `y.share * height` from the bottom."""
        return self.x.share(point[0]) * self.width, (1 - self.y.share(point[1])) * self.height

    def shows(self, point: Point) -> bool:
        """Whether a point has a place: both values are finite, and positive on logarithmic axes."""
        return self.x.shows(point[0]) and self.y.shows(point[1])


class Mark(Protocol):
    """Something drawn in a plot. Marks of one name share an entry of the legend; without a name there is none."""

    @property
    def name(self) -> str: ...

    def draw(self, area: Area) -> str:
        """SVG elements, in the pixels of the area."""

    def sample(self, x: float, y: float) -> str:
        """The same look, 22 pixels wide and centered on a point, for the legend."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """Straight lines from point to point; broken where a point has no place, such as NaN."""

    points: Sequence[Point]
    color: str
    name: str = ""
    dashed: bool = False

    def draw(self, area: Area) -> str:
        parts: list[list[Point]] = [[]]
        for point in self.points:
            if area.shows(point):
                parts[-1].append(area.place(point))
            else:
                parts.append([])
        return "".join(
            element("polyline", points=" ".join(f"{number(x)},{number(y)}" for x, y in part), **self._look())
            for part in parts
            if part
        )

    def sample(self, x: float, y: float) -> str:
        return element("path", d=f"M{number(x - 11)} {number(y)}h22", **self._look())

    def _look(self) -> dict[str, str | float]:
        look: dict[str, str | float] = {"fill": "none", "stroke": self.color, "stroke_width": 2}
        return look | ({"stroke_width": 1.5, "stroke_dasharray": "5 4", "opacity": 0.7} if self.dashed else {})


@dataclass(frozen=True, kw_only=True)
class Points:
    """One symbol per point; points without a place are left out."""

    points: Sequence[Point]
    color: str
    name: str = ""
    shape: Shape = "circle"
    hollow: bool = False
    radius: float = 3.5
    """In pixels."""

    def draw(self, area: Area) -> str:
        return "".join(self.sample(*area.place(point)) for point in self.points if area.shows(point))

    def sample(self, x: float, y: float) -> str:
        look = {"fill": "none" if self.hollow else self.color, "stroke": self.color}
        r = self.radius
        if self.shape == "circle":
            return element("circle", cx=x, cy=y, r=r, **look)
        corners = {
            "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
            "triangle": ((0, -1.25), (1.15, 0.9), (-1.15, 0.9)),
            "diamond": ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
        }[self.shape]
        return element(
            "polygon", points=" ".join(f"{number(x + a * r)},{number(y + b * r)}" for a, b in corners), **look
        )


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """Strokes from one point to another, such as mean minus and plus a standard deviation; cut off where axes end."""

    ends: Sequence[tuple[Point, Point]]
    color: str
    name: str = ""
    width: float = 1.5
    """In pixels."""

    def draw(self, area: Area) -> str:
        drawn = []
        for ends in self.ends:
            if all(math.isfinite(value) for end in ends for value in end):
                (x1, y1), (x2, y2) = (area.place((area.x.clamped(x), area.y.clamped(y))) for x, y in ends)
                drawn.append(element("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=self.color, stroke_width=self.width))
        return "".join(drawn)

    def sample(self, x: float, y: float) -> str:
        return element("line", x1=x - 11, y1=y, x2=x + 11, y2=y, stroke=self.color, stroke_width=self.width)


@dataclass(frozen=True, kw_only=True)
class Bars:
    """Upright bars from a base to each point's y."""

    points: Sequence[Point]
    color: str
    name: str = ""
    width: float = 0.7
    """In values of the x axis."""
    base: float = 0.0

    def draw(self, area: Area) -> str:
        drawn = []
        for x, y in self.points:
            if area.shows((x, y)):
                corners = [(x - self.width / 2, y), (x + self.width / 2, self.base)]
                (left, top), (right, bottom) = (area.place((a, area.y.clamped(b))) for a, b in corners)
                top, bottom = sorted((top, bottom))
                drawn.append(element("rect", x=left, y=top, width=right - left, height=bottom - top, fill=self.color))
        return "".join(drawn)

    def sample(self, x: float, y: float) -> str:
        return element("rect", x=x - 7, y=y - 5, width=14, height=10, fill=self.color)


@dataclass(frozen=True, kw_only=True)
class Level:
    """A dashed line across the plot at one y, with words above its right end: chance, a goal.

    The words have the color of the page's text: gray would be hard to read in a light or in a dark scheme.
    """

    value: float
    words: str = ""
    name: str = ""
    color: str = GRAY

    def draw(self, area: Area) -> str:
        _, y = area.place((area.x.low, self.value))
        line = element("path", d=f"M0 {number(y)}H{number(area.width)}", stroke=self.color, stroke_dasharray="4 4")
        return line + (label(area.width - 4, y - 4, self.words, text_anchor="end") if self.words else "")

    def sample(self, x: float, y: float) -> str:
        return element("path", d=f"M{number(x - 11)} {number(y)}h22", stroke=self.color, stroke_dasharray="4 4")


def legend_of(marks: Iterable[Mark]) -> dict[str, list[Mark]]:
    """Name to the marks that have it, in their order."""
    found: dict[str, list[Mark]] = {}
    for mark in marks:
        if mark.name:
            found.setdefault(mark.name, []).append(mark)
    return found
