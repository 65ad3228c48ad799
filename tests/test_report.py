"""Documents and charts: a mark's place follows from its axes, text is escaped, and a page needs no other file."""

import base64
import io
import math
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any
from xml.etree.ElementTree import Element

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from byol.evals.draws import mean_and_std
from byol.report.axis import Axis, log_ticks, ticks
from byol.report.chart import Plot, chart
from byol.report.document import (
    Block,
    Commands,
    Figure,
    Grid,
    Heading,
    Items,
    Note,
    Paragraph,
    Picture,
    literal,
    markdown,
    page,
)
from byol.report.marks import BLUE, ORANGE, Bars, Level, Line, Points, Ranges
from byol.report.svg import element, label, number, text_width

METRICS: list[dict[str, Any]] = [
    {"step": 0, "loss": 4.0, "health/spread": 0.9},
    {"step": 50, "loss": 2.0, "health/spread": 0.8, "knn/sample_accuracy": 0.25},
    {"step": 100, "loss": None, "health/spread": 0.5},
    {"step": 200, "loss": 1.0, "health/spread": 0.6, "knn/sample_accuracy": 0.5},
]
"""Lines of a metrics.jsonl; null is a loss that is not finite."""


def series(key: str) -> list[tuple[float, float]]:
    return [(line["step"], math.nan if line[key] is None else line[key]) for line in METRICS if key in line]


def run_page(name: str, picture: bytes) -> str:
    """What a page of a run comes down to: curves, a table, a picture."""
    steps = Axis(low=0, high=200, label="step")
    loss = Plot(
        x=steps,
        y=Axis(low=1, high=4, log=True, label="loss"),
        marks=[Line(points=series("loss"), color=BLUE, name="loss")],
        width=400,
        height=200,
    )
    share = Plot(
        x=steps,
        y=Axis(low=0, high=1, label="share"),
        marks=[
            Line(points=series("health/spread"), color=BLUE, name="spread"),
            Points(points=series("knn/sample_accuracy"), color=ORANGE, name="k-NN <accuracy>"),
        ],
        width=400,
        height=200,
    )
    blocks: list[Block] = [
        Paragraph("Trained in " + literal("C:\\runs\\*a*") + ", see `a<b`."),
        Figure(chart([loss], "Loss & co", "Falls from 4 to 1"), "The **loss**"),
        Figure(chart([share], "Spread and k-NN")),
        Grid(("setting", "value"), (("lr", "0.2"), ("name|of", "<b>"))),
        Picture(picture, 'views "T" and T\''),
        Commands("byol pretrain photos --out 'a & b'"),
    ]
    return page(name, blocks)


@pytest.fixture
def made() -> str:
    file = io.BytesIO()
    Image.new("RGB", (3, 2), (255, 0, 0)).save(file, "PNG")
    return run_page('<run> & "co"', file.getvalue())


def figures(text: str) -> list[Element]:
    return [ElementTree.fromstring(found) for found in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]


def group(figure: Element, name: str) -> Element:
    return next(part for part in figure.iter() if part.get("class") == name)


def corners(part: Element) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (point.split(",") for point in part.attrib["points"].split())]


def test_curves_of_a_run_stand_where_their_axes_put_them(made: str) -> None:
    """x = step / 200 * 400; a logarithmic y from 1 to 4 is 200 * (1 - log4(loss)); the missing loss breaks the line."""
    loss, share = figures(made)
    first, second = group(loss, "marks").iter("polyline")
    assert corners(first) == [(0, 0), (100, 100)]
    assert corners(second) == [(400, 200)]
    (spread,) = group(share, "marks").iter("polyline")
    assert corners(spread) == [(0, 20), (100, 40), (200, 100), (400, 80)]
    found = [(float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in group(share, "marks").iter("circle")]
    assert found == [(100, 150), (400, 100)]


def test_tick_labels_stand_where_their_values_are(made: str) -> None:
    _, share = figures(made)
    steps = {text.text: float(text.attrib["x"]) for text in group(share, "x").iter("text")}
    assert steps.pop("step") == 200
    assert len(steps) > 3
    assert all(x == 2 * float(words) for words, x in steps.items())
    shares = {text.text: float(text.attrib["y"]) for text in group(share, "y").iter("text") if text.text != "share"}
    assert all(y == pytest.approx(200 * (1 - float(words)) + 4) for words, y in shares.items())
    assert [text.text for text in group(share, "legend").iter("text")] == ["spread", "k-NN <accuracy>"]


def test_a_page_is_well_formed_and_refers_to_nothing_outside(made: str) -> None:
    root = ElementTree.fromstring(made)
    assert root.tag == "html"
    for part in root.iter():
        for name, value in part.attrib.items():
            assert name not in ("href", "{http://www.w3.org/1999/xlink}href")
            assert name != "src" or value.startswith("data:image/png;base64,")
    assert not re.search(r"https?:|@import|url\(", made)
    HTMLParser().feed(made)
    (image,) = root.iter("img")
    content = base64.b64decode(image.attrib["src"].partition(",")[2])
    with Image.open(io.BytesIO(content)) as found:
        assert (found.size, found.getpixel((0, 0))) == ((3, 2), (255, 0, 0))
    assert image.attrib["alt"] == 'views "T" and T\''


def test_text_is_escaped_everywhere(made: str) -> None:
    root = ElementTree.fromstring(made)
    assert root.findtext("head/title") == root.findtext("body/h1") == '<run> & "co"'
    assert "".join(next(root.iter("p")).itertext()) == "Trained in C:\\runs\\*a*, see a<b."
    assert [cell.text for cell in root.iter("td")] == ["lr", "0.2", "name|of", "<b>"]
    assert root.findtext(".//pre/code") == "byol pretrain photos --out 'a & b'"
    loss = figures(made)[0]
    assert (loss.findtext("title"), loss.findtext("desc")) == ("Loss & co", "Falls from 4 to 1")
    assert loss.attrib["aria-label"] == "Loss & co"
    assert "<figcaption>The <strong>loss</strong></figcaption>" in made


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Co", "Cn"]), max_size=30))
def test_literal_text_comes_out_as_it_went_in(text: str) -> None:
    root = ElementTree.fromstring(page("t", [Paragraph(literal(text)), Commands(text)]))
    assert "".join(next(root.iter("p")).itertext()) == text
    assert "".join(next(root.iter("pre")).itertext()) == text


def test_blocks_are_escaped_as_markdown_and_as_a_page() -> None:
    blocks: list[Block] = [
        Heading("A `b`", 3),
        Paragraph("a < b, `c<d>`, *so* and **bold**"),
        Note("see below"),
        Grid(("x", "y"), (("p|q", "1"),)),
        Items(("one", "2 * 3 * 4")),
        Figure(chart([Plot(x=Axis(low=0, high=1), y=Axis(low=0, high=1), marks=[])], "Empty"), "nothing", "x.svg"),
        Figure(chart([Plot(x=Axis(low=0, high=1), y=Axis(low=0, high=1), marks=[])], "On the page only")),
        Commands("byol demo"),
    ]
    assert markdown(blocks) == (
        "### A `b`\n\na < b, `c<d>`, *so* and **bold**\n\n*see below*\n\n"
        "| x | y |\n| --- | ---: |\n| p\\|q | 1 |\n\n- one\n- 2 * 3 * 4\n\n![nothing](x.svg)\n\n```sh\nbyol demo\n```\n"
    )
    text = page("<t>", blocks)
    assert "<h3>A <code>b</code></h3>" in text
    assert "<p>a &lt; b, <code>c&lt;d&gt;</code>, <em>so</em> and <strong>bold</strong></p>" in text
    assert '<p class="note">see below</p>' in text
    assert "<li>2 * 3 * 4</li>" in text
    assert "<title>&lt;t&gt;</title>" in text


def test_a_figure_in_a_file_is_svg_on_white() -> None:
    svg = chart([Plot(x=Axis(low=0, high=1), y=Axis(low=0, high=1), marks=[])], "Empty")
    assert "xmlns" not in svg.inline()
    root = ElementTree.fromstring(svg.standalone())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "background:#fff" in root.attrib["style"]
    assert root.attrib["viewBox"] == f"0 0 {svg.width:g} {svg.height:g}"


@pytest.mark.parametrize(
    ("axis", "shares"),
    [
        (Axis(low=10, high=30), {10: 0, 15: 0.25, 30: 1}),
        (Axis(low=30, high=10), {10: 1, 15: 0.75, 30: 0}),
        (Axis(low=1, high=1000, log=True), {1: 0, 10: 1 / 3, 1000: 1}),
        (Axis(low=5, high=5), {5: 0.5}),
        (Axis.of_names(["a", "b"]), {0: 0.25, 1: 0.75}),
        (Axis.of_names(["a", "b"], backward=True), {0: 0.75, 1: 0.25}),
        (Axis.around([0, 100, math.nan], margin=0.1), {-10: 0, 110: 1}),
        (Axis.around([-1, 1, 10], log=True, margin=0.0), {1: 0, 10: 1}),
        (Axis.around([3]), {2: 0, 4: 1}),
        (Axis.around([]), {0: 0, 1: 1}),
        (Axis.around([0], log=True), {1: 0, 10: 1}),
    ],
)
def test_where_values_lie_on_an_axis(axis: Axis, shares: dict[float, float]) -> None:
    assert {value: axis.share(value) for value in shares} == pytest.approx(shares)


def test_values_without_a_place() -> None:
    assert [Axis(low=1, high=2, log=True).shows(value) for value in (1.5, 0.0, -1.0, math.inf)] == [True] + 3 * [False]
    assert [Axis(low=1, high=2).shows(value) for value in (-1.0, math.nan)] == [True, False]
    assert [Axis(low=3, high=1).clamped(value) for value in (0, 2, 4)] == [1, 2, 3]


@given(st.floats(-100, 100), st.floats(0.01, 200))
def test_ticks_are_few_round_and_inside(low: float, length: float) -> None:
    found = ticks(low, low + length)
    assert 1 <= len(found) <= 7
    assert all(low - 1e-6 <= tick <= low + length + 1e-6 for tick in found)


def test_ticks_of_known_ranges() -> None:
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert ticks(0, 3e-6, 3) == [0, 1e-6, 2e-6, 3e-6]
    assert log_ticks(1, 1000) == [1, 10, 100, 1000]
    assert log_ticks(0.9, 21) == [1, 2, 5, 10, 20]
    assert log_ticks(6, 9, 3) == [6, 7, 8, 9]
    assert log_ticks(1, 1e9, 3) == [1, 1e3, 1e6, 1e9]
    marked = Axis(low=0, high=20000).marked(4)
    assert list(marked.values()) == ["0", "5000", "10,000", "15,000", "20,000"]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=8, unique=True), st.integers(1, 30))
def test_tick_labels_do_not_collide(values: list[float], length: int) -> None:
    """Labels of one row keep apart; where they cannot, they are slanted."""
    axis = Axis(low=0, high=100, ticks=dict.fromkeys(values, "m" * length))
    svg = chart([Plot(x=axis, y=Axis(low=0, high=1, ticks={}), marks=[], width=300)], "t")
    texts = list(group(ElementTree.fromstring(svg.inline()), "x").iter("text"))
    assert len(texts) == len(values)
    rows: dict[float, list[float]] = {}
    for text in texts:
        if "transform" not in text.attrib:
            rows.setdefault(float(text.attrib["y"]), []).append(float(text.attrib["x"]))
    width = text_width("m" * length, 12)
    assert all(b - a >= width for row in rows.values() for a, b in pairwise(sorted(row)))


def test_a_drawing_holds_its_labels() -> None:
    """Left and right of the area there is room for the labels, and the legend."""
    axis = Axis.of_names(["a long name of a row", "b"], backward=True)
    marks = [Points(points=[(0, 0), (1, 1)], color=BLUE, name="a name in the legend")]
    svg = chart([Plot(x=Axis(low=0, high=1), y=axis, marks=marks, width=100, height=50)], "t")
    root = ElementTree.fromstring(svg.inline())
    left, top = map(float, re.findall(r"[\d.]+", next(root.iter("g")).attrib["transform"]))
    assert left >= text_width("a long name of a row", 12)
    assert svg.width >= left + 100 + text_width("a name in the legend")
    assert svg.height >= top + 50
    first, second = group(root, "marks").iter("circle")
    assert [float(dot.attrib["cy"]) for dot in (first, second)] == [12.5, 37.5], "the first name is on top"


def test_plots_side_by_side_do_not_overlap() -> None:
    plot = Plot(x=Axis(low=0, high=1), y=Axis(low=0, high=1, label="y"), marks=[], title="one", width=100, height=50)
    root = ElementTree.fromstring(chart([plot, plot], "two").inline())
    places = [re.findall(r"[\d.]+", part.attrib["transform"]) for part in root.findall("g")]
    (x1, y1), (x2, y2) = [(float(x), float(y)) for x, y in places]
    assert y1 == y2
    assert x2 >= x1 + 100 + text_width("0.8", 12)


def test_marks_by_their_closed_form() -> None:
    x, y = Axis(low=0, high=10), Axis(low=0, high=2)
    marks = [
        Bars(points=[(5, 1)], color=BLUE, width=2),
        Ranges(ends=[((1, -1), (1, 1.5))], color=BLUE),
        Level(value=0.5, words="chance"),
        Points(points=[(5, 1)], color=BLUE, shape="square", radius=10),
    ]
    root = ElementTree.fromstring(chart([Plot(x=x, y=y, marks=marks, width=100, height=40)], "t").inline())
    drawn = group(root, "marks")
    (bar,) = drawn.iter("rect")
    assert [float(bar.attrib[name]) for name in ("x", "y", "width", "height")] == [40, 20, 20, 20]
    (span,) = drawn.iter("line")
    assert [float(span.attrib[name]) for name in ("x1", "y1", "x2", "y2")] == [10, 40, 10, 10], "cut off at the axis"
    (level,) = drawn.iter("path")
    assert level.attrib["d"] == "M0 30H100"
    assert drawn.findtext("text") == "chance"
    (square,) = drawn.iter("polygon")
    assert corners(square) == [(41, 11), (59, 11), (59, 29), (41, 29)]


def test_elements() -> None:
    assert [number(value) for value in (1, 1.005, -0.001, 2.50, -3.14159)] == ["1", "1", "0", "2.5", "-3.14"]
    assert element("path", d='"<', stroke_width=2, fill="") == '<path d="&quot;&lt;" stroke-width="2"/>'
    assert label(1, 2, "a<b", class_="c") == '<text x="1" y="2" class="c">a&lt;b</text>'


def test_mean_and_spread_over_draws() -> None:
    assert mean_and_std([1.0, 2.0, 4.0]) == pytest.approx((7 / 3, math.sqrt(7 / 3)))
    assert mean_and_std([0.5]) == (0.5, 0.0)
