"""The page of a set of images: the map, near-duplicates, outliers, label suspects; one file that opens anywhere.

Names and labels are data of strangers. They stand in one block of JSON, which a browser never runs, and the script puts
them into the page as text. A content security policy lets no other script run.
"""

import base64
import hashlib
import html
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import chain
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from byol.data.sample import evenly
from byol.data.sources.open import Source
from byol.explore.findings import Findings, counted, in_words
from byol.explore.projection import Projection
from byol.explore.thumbnails import ACROSS, Sheets, make_sheets
from byol.report.axis import Axis
from byol.report.chart import Plot, chart
from byol.report.marks import BLUE, ORANGE, Bars, Line
from byol.runtime.device import cores

PICTURED = 10_000
"""Images with a picture in the page at most."""
GROUPS, MEMBERS, LISTED = 40, 12, 60
"""Groups of near-duplicates on the page, images of each, and images of every other list; the tables have all."""
SCRIPTS = ("page.js", "page_lists.js")
"""Parts of the page's script, one after the other."""
BINS = 40
"""Of the chart of likeness."""


@dataclass(frozen=True)
class Finding:
    """A list on the page: groups of rows, each with words below its picture."""

    title: str
    note: str
    groups: list[list[tuple[Any, ...]]]

    def rows(self) -> Iterable[int]:
        """The rows that it shows."""
        return (entry[0] for group in self.groups for entry in group)


def explore_page(title: str, source: Source, found: Findings, projection: Projection) -> str:
    """The page as HTML.

    Args:
        title: plain text.
        source: where the pictures are.
        found: what there is to show.
        projection: where each image lies on the map.
    """
    rows = found.part.rows
    findings = _findings(found)
    wanted = list(dict.fromkeys(chain(*(finding.rows() for finding in findings), evenly(len(rows), PICTURED))))
    sheets = make_sheets(source, [rows.indices[row] for row in wanted[:PICTURED]], cores())
    data = _data(found, projection, findings, wanted, sheets)
    here = files("byol.explore")
    script = "".join(here.joinpath(name).read_text(encoding="utf-8") for name in SCRIPTS)
    style = here.joinpath("page.css").read_text(encoding="utf-8")
    hashed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src blob:; style-src 'unsafe-inline'; script-src 'sha256-{hashed}'"
    name = html.escape(title)
    said = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in in_words(found))
    kept = "" if np.isnan(projection.kept) else f" It keeps {projection.kept:.0%} of the ten nearest neighbors."
    pictured = (
        f"{sheets.count:,} of {counted(len(rows), 'image')} {'has' if sheets.count == 1 else 'have'} a picture here."
    )
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"/>
<meta http-equiv="Content-Security-Policy" content="{policy}"/>
<meta name="viewport" content="width=device-width"/><title>{name}</title><style>{style}</style></head>
<body><h1>{name}</h1><ul>{said}</ul>
<div class="bar"><label>Color by <select id="color"></select></label>
<label>Find <input id="filter" type="search" placeholder="part of a name or label"/></label>
<button id="lasso" aria-pressed="false">Lasso</button><button id="all">Select shown</button>
<button id="in" aria-label="Zoom in">+</button>
<button id="out" aria-label="Zoom out">−</button><button id="reset">Reset</button>
<span id="shown" role="status"></span></div>
<div class="view"><div class="stage"><canvas id="map" tabindex="0" aria-label="Map of the images"></canvas>
<svg aria-hidden="true"><path id="lasso-path" fill="#8883" stroke="currentColor"/></svg>
<div id="tip" class="tip" hidden="hidden"></div></div><div class="side legend" id="legend"></div></div>
<p class="note">Each point is an image; the map is made by {projection.method} from the encoder's features.{kept}
Near points are alike; distances between far points say little. Drag to pan, turn the wheel or press + and − to zoom,
arrows move, Enter shows the image in the middle. {pictured}</p>
<div class="bar"><span id="selected" role="status"></span><button id="copy" disabled="disabled">Copy paths</button>
<button id="download" disabled="disabled">Download CSV</button>
<button id="clear" disabled="disabled">Clear</button></div><div class="cards" id="chosen"></div>
<div id="findings"></div>{_likeness_chart(found)}
<script type="application/json" id="data">{data}</script>
<script>{script}</script></body></html>
"""


def _data(
    found: Findings, projection: Projection, findings: Sequence[Finding], wanted: Sequence[int], sheets: Sheets
) -> str:
    rows = found.part.rows
    picture = np.full(len(rows), -1, dtype=np.int32)
    picture[np.array(wanted[: sheets.count], dtype=np.int64)] = np.arange(sheets.count)
    first, last = min(rows.paths), max(rows.paths)  # what these two share all share
    shared = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), 0)
    prefix = first[: first.rfind("/", 0, shared) + 1]
    content = {
        "count": len(rows),
        "points": _encoded((projection.points * 65535).round().numpy(), np.uint16),
        "indices": rows.indices,
        "prefix": prefix,
        "names": [path[len(prefix) :] for path in rows.paths],
        "columns": _columns(found),
        "pictures": _encoded(picture, np.int32),
        "pictured": sheets.count,
        "across": ACROSS,
        "sheets": [base64.b64encode(file).decode() for file in sheets.files],
        "findings": [vars(finding) for finding in findings],
    }
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _columns(found: Findings) -> list[dict[str, Any]]:
    """What points can be colored by."""
    rows, columns = found.part.rows, []
    folders: list[str | None] = [PurePath(path).parent.name for path in rows.paths]
    if rows.labeled:
        columns.append(_named("label", rows.labels))
    if len(set(folders)) > 1 and folders != rows.labels:
        columns.append(_named("folder", folders))
    doubled = set(chain(*found.duplicates.groups))
    suspects = set(found.suspects.rows)
    columns.append(_numbers("outlier distance", found.outliers.score))
    columns.append(_numbers("likeness to a neighbor", found.duplicates.best))
    columns.append(_named("near-duplicate", ["yes" if row in doubled else "no" for row in range(len(rows))]))
    if rows.labeled:
        columns.append(_named("label suspect", ["yes" if row in suspects else "no" for row in range(len(rows))]))
        columns.append(_numbers("probability of the label", found.suspects.probability))
    return columns


def _named(name: str, values: Sequence[str | None]) -> dict[str, Any]:
    names = sorted({value for value in values if value is not None})
    number = {value: place for place, value in enumerate(names)}
    numbers = [-1 if value is None else number[value] for value in values]
    return {"name": name, "kind": "name", "names": names, "values": _encoded(numbers, np.int32)}


def _numbers(name: str, values: Tensor) -> dict[str, Any]:
    return {"name": name, "kind": "number", "values": _encoded(values.float().numpy(), np.float32)}


def _encoded(values: ArrayLike, kind: type[np.generic]) -> str:
    little = np.asarray(values).astype(np.dtype(kind).newbyteorder("<"))
    return base64.b64encode(little.tobytes()).decode()


def _findings(found: Findings) -> list[Finding]:
    rows, copies, suspects = found.part.rows, found.duplicates, found.suspects
    label = [name or "" for name in rows.labels]
    groups = [
        [(row, label[row], f"likeness {copies.likeness_of(row):.2f}") for row in group[:MEMBERS]]
        for group in copies.groups[:GROUPS]
    ]
    farthest = found.outliers.score.nan_to_num(-1).argsort(descending=True, stable=True)[:LISTED].tolist()
    listed = len(found.outliers.rows)
    far = "1 stands out" if listed == 1 else f"{listed:,} stand out"
    distances = [(row, label[row], f"distance {found.outliers.score[row]:.3f}") for row in farthest]
    shown = [
        Finding("Near-duplicates", _more("duplicates.csv", len(copies.groups), GROUPS, "group"), groups),
        Finding(
            "Farthest from their neighbors",
            f"{_more('outliers.csv', len(rows), LISTED, 'image')} {far} in this set.",
            [distances] if len(rows) > 1 else [],
        ),
    ]
    if rows.labeled:
        names = dict(zip(found.part.labels.tolist(), label, strict=True))
        doubtful = [
            (row, f"{label[row]} → {names[int(suspects.suggested[row])]}", f"p {suspects.probability[row]:.3f}")
            for row in suspects.rows[:LISTED]
        ]
        note = (
            f"{_more('suspects.csv', len(suspects.rows), LISTED, 'image')} A classifier that has not seen the image "
            "and its neighbors agree on another label; p is the probability of the given one."
        )
        shown.append(Finding("Label suspects", note, [doubtful] if doubtful else []))
    if found.leaks is not None and found.test is not None:
        order = found.leaks.likeness.argsort(descending=True, stable=True)[:LISTED].tolist()
        pairs = [(found.leaks.rows[pair].tolist(), float(found.leaks.likeness[pair])) for pair in order]
        leaked = [
            (row, f"= {PurePath(found.test.paths[test]).name}", f"likeness {likeness:.2f}")
            for (row, test), likeness in pairs
        ]
        note = _more("leaks.csv", len(found.leaks.likeness), LISTED, "pair") + " Images that the test part has too."
        shown.append(Finding("Leaks", note, [leaked] if leaked else []))
    if found.suggested:
        picked = [(row, f"{rank}", label[row]) for rank, row in enumerate(found.suggested[:LISTED], 1)]
        note = _more("suggested.csv", len(found.suggested), LISTED, "image")
        shown.append(Finding("Label these first", note, [picked]))
    return shown


def _more(file: str, count: int, limit: int, what: str) -> str:
    if count == 0:
        return "None."
    if count <= limit:
        return f"{counted(count, what)}, {'listed' if count == 1 else 'all'} in {file}."
    return f"The first {limit} of {counted(count, what)}; all are in {file}."


def _likeness_chart(found: Findings) -> str:
    """How alike images are to their most alike neighbor, and where near-duplicates begin."""
    best = found.duplicates.best[found.duplicates.best > -1].clamp(0, 1)
    if not len(best):
        return ""
    counts = torch.histc(best.float(), BINS, 0, 1).tolist()
    high = max(1.0, np.log10(max(counts) + 1))
    ticks: dict[float, str] = {float(np.log10(10**power + 1)): f"{10**power:,}" for power in range(int(high) + 1)}
    middles = [((number + 0.5) / BINS, float(np.log10(count + 1))) for number, count in enumerate(counts)]
    at, top = found.duplicates.threshold, 1.05 * high
    drawn = chart(
        [
            Plot(
                x=Axis(low=0, high=1, label="likeness to the most alike neighbor"),
                y=Axis(low=0, high=top, label="images", ticks=ticks),
                marks=[
                    Bars(points=middles, color=BLUE, width=0.9 / BINS, name="images"),
                    Line(points=[(at, 0.0), (at, top)], color=ORANGE, dashed=True, name=f"threshold {at:.2f}"),
                ],
            )
        ],
        "Likeness of images to their neighbors",
        f"Images by their likeness; near-duplicates begin at {at:.2f}.",
    )
    return f"<h2>Where near-duplicates begin</h2><figure>{drawn.inline()}</figure>"
