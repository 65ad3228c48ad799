"""How fast a page of `byol explore` opens and moves in Chromium, by the browser's own tracing.

    python benchmarks/explore_speed.py --only explore --keep /tmp/page
    python benchmarks/explore_browser.py /tmp/page/explore.html          # half a minute
    python benchmarks/explore_browser.py page.html --quick               # does it run at all; writes nothing

Opens the page in a window of 1600 x 1000 px and drags the map about for some seconds. "First paint" and "map drawn" are
from the start of the navigation; frames are those that the browser drew while the map was dragged. Needs playwright and
a Chromium of the system. Writes benchmarks/results/explore-browser.json.
"""

import itertools
import json
import math
import shutil
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from options import common_options
from results_file import Row, show, write

PAINT_GOAL, FRAMES_GOAL = 2.0, 30.0
CATEGORIES = [
    "blink.user_timing",
    "loading",
    "devtools.timeline",
    "disabled-by-default-devtools.timeline",
    "disabled-by-default-devtools.timeline.frame",
]
WINDOW = {"width": 1600, "height": 1000}


@dataclass(frozen=True)
class Seen:
    """One opening of the page."""

    first_paint: float
    """Seconds."""
    map_drawn: float
    """Seconds."""
    frames: float
    """Per second while the map is dragged."""
    slow_frame: float
    """Milliseconds between two frames that one of 20 exceeds."""
    images: int
    browser: str


def main(arguments: list[str] | None = None) -> list[Row]:
    """Measure, print, and write."""
    parser = common_options(__doc__, 5)
    parser.add_argument("page", type=Path, help="explore.html")
    options = parser.parse_args(arguments)
    rounds, seconds = (1, 0.5) if options.quick else (options.rounds, 4.0)
    seen = [look(options.page, seconds) for _ in range(rounds)]
    about = {
        "images": seen[0].images,
        "megabytes": round(options.page.stat().st_size / 1e6, 2),
        "window": f"{WINDOW['width']} x {WINDOW['height']}",
        "browser": seen[0].browser,
        "seconds": seconds,
    }
    rows = [
        Row("browser", "first paint", "s", [each.first_paint for each in seen], about, PAINT_GOAL, at_most=True),
        Row("browser", "map drawn", "s", [each.map_drawn for each in seen], about),
        Row("browser", "frames while panning", "frames/s", [each.frames for each in seen], about, FRAMES_GOAL),
        Row("browser", "slowest 5 % of frames", "ms", [each.slow_frame for each in seen], about),
    ]
    for row in rows:
        show(row)
    if not options.quick:
        print(f"written to {write('explore-browser', rows, options.out)}")
    return rows


def look(path: Path, seconds: float) -> Seen:
    """Open a page in a new browser, drag its map, and read the trace."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.exit("no Chromium on this machine; install one from the system's packages")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        view = browser.new_page(viewport=WINDOW)
        browser.start_tracing(page=view, categories=CATEGORIES)
        view.goto(path.resolve().as_uri())
        view.wait_for_function("data.frames >= 1")
        view.evaluate("performance.mark('panning')")
        drag(view, seconds)
        view.evaluate("performance.mark('panned')")
        images = view.evaluate("data.count")
        trace = json.loads(browser.stop_tracing())["traceEvents"]
        version = browser.version
        browser.close()
    return read(trace, images, version)


def drag(view: Any, seconds: float) -> None:
    """Move the pressed pointer around a circle on the map."""
    box = view.locator("#map").bounding_box()
    x, y, radius = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, 0.3 * box["height"]
    view.mouse.move(x + radius, y)
    view.mouse.down()
    began = time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds:
        view.mouse.move(x + radius * math.cos(2 * spent), y + radius * math.sin(2 * spent))
    view.mouse.up()


def read(trace: list[dict[str, Any]], images: int, version: str) -> Seen:
    """What a trace says, whose times are in microseconds."""

    def times(name: str) -> list[float]:
        return sorted(event["ts"] / 1e6 for event in trace if event["name"] == name)

    start = max(
        event["ts"] / 1e6
        for event in trace
        if event["name"] == "navigationStart" and "file:" in json.dumps(event.get("args", {}))
    )
    first, last = times("panning")[0], times("panned")[0]
    drawn = [moment for moment in times("DrawFrame") if first <= moment <= last]
    between = [1000 * (b - a) for a, b in itertools.pairwise(drawn)]
    return Seen(
        first_paint=min(moment for moment in times("firstPaint") if moment > start) - start,
        map_drawn=times("map")[0] - start,
        frames=len(drawn) / (last - first),
        slow_frame=statistics.quantiles(between, n=20)[-1],
        images=images,
        browser=f"Chromium {version}",
    )


if __name__ == "__main__":
    main()
