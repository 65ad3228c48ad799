"""The pages in Chromium: they draw without a word on the console, and their controls do what they say."""

import csv
import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import byol
from byol.encoders.load import open_encoder
from byol.evals.verdict import Score, Verdict
from byol.evals.verdict_plot import write_plot
from byol.explore.findings import ExploreConfig, Findings, explore
from byol.explore.page import explore_page
from byol.explore.projection import Projection, project
from conftest import TINY, picture
from evals_data import CPU, colored

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

HOSTILE = "</script><script>document.title='ran'</script><img src=x onerror=document.title='ran'>"
COUNT = 48
WIDE, NARROW = {"width": 1600, "height": 1000}, {"width": 400, "height": 800}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser without a window."""
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def explored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Findings, Projection]:
    """The page of 48 pictures, two of them copies; every second label, and one name, are markup."""
    folder = tmp_path_factory.mktemp("explored")
    lines = []
    for number in range(COUNT):
        name = f"{'<img src=x onerror=alert(1)>' if number == 3 else number}.png"
        picture(number % (COUNT - 2)).save(folder / name)
        lines.append(f"{name}\t{HOSTILE if number % 2 else 'plain & simple'}")
    (folder / "list.txt").write_text("\n".join(lines))
    source = byol.open_source(folder / "list.txt", 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BYOL_HOME", str(folder / "home"))
        found = explore(open_encoder("pixels@16"), source, ExploreConfig(map="pca", suggest=2), CPU)
    projection = project(found.part.values, found.neighbors, "pca")
    (folder / "page.html").write_text(explore_page("Images", source, found, projection))
    return folder / "page.html", found, projection


@pytest.fixture(scope="module")
def pages(
    explored: tuple[Path, Findings, Projection], class_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The page of a set, of a run, and of a verdict."""
    folder = tmp_path_factory.mktemp("pages")
    run = folder / f"a_run_whose_name_is_{'long' * 12}"
    byol.pretrain(class_folder, recipe="cifar10-cpu", out=run, quiet=True, **TINY)
    labels = {"1": 1.0, "10": 10.0, "all": 80.0}
    table = {
        name: {column: Score(level + 0.02 * place, 0.03, 5) for place, column in enumerate(labels)}
        for name, level in (("this encoder", 0.7), ("untrained", 0.5), ("pixels", 0.4))
    }
    verdict = Verdict(table=table, labels=labels, chance=0.5, tested=40, paragraph="It was <worth> it.", notes=("A.",))
    write_plot(folder / "verdict.html", verdict, "Was it worth it?")
    return {"explore": explored[0], "run": run / "report.html", "verdict": folder / "verdict.html"}


@contextmanager
def opened(chromium: Any, path: Path, size: dict[str, int] = WIDE, scheme: str = "light") -> Iterator[Any]:
    """A page in a window of a size; at its end nothing may have been said and no script of a name have run."""
    said: list[str] = []
    context = chromium.new_context(viewport=size, color_scheme=scheme)
    context.set_default_timeout(60_000)
    view = context.new_page()
    view.on("console", lambda message: said.append(message.text))
    view.on("pageerror", lambda error: said.append(str(error)))
    view.on("dialog", lambda dialog: said.append(dialog.message))
    view.on("requestfailed", lambda request: said.append(f"{request.url[:80]} failed"))
    view.goto(path.as_uri())
    yield view
    assert view.title() != "ran"
    context.close()
    assert said == []


SMALLEST = """() => Math.min(Infinity, ...[...document.querySelectorAll("svg text")].map((text) => {
  const svg = text.ownerSVGElement, shown = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
  return shown * parseFloat(getComputedStyle(text).fontSize); }))"""
"""The smallest size of the text in drawings, in pixels of the window."""


def place_of(view: Any, row: int) -> tuple[float, float]:
    """Where a point of the map lies in the window: coordinates are those of the view, which begins with the whole map
    in 94 % of the shorter side."""
    x, y = view.evaluate(
        "row => { const box = canvas.getBoundingClientRect(), s = 0.94 * view.zoom * Math.min(box.width, box.height);"
        "return [box.left + box.width / 2 + (xs[row] - view.x) * s,"
        "box.top + box.height / 2 - (ys[row] - view.y) * s]; }",
        row,
    )
    return x, y


def lasso(view: Any, corners: list[tuple[float, float]]) -> None:
    """Draw around an area of the map, given in shares of its width and height."""
    view.evaluate("scrollTo(0, 0)")
    box = view.locator("#map").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    view.mouse.move(*places[0])
    view.mouse.down()
    for place in places[1:]:
        view.mouse.move(*place)
    view.mouse.up()


WHOLE = [(0.001, 0.001), (0.999, 0.001), (0.999, 0.999), (0.001, 0.999)]
LEFT = [(0.001, 0.001), (0.5, 0.001), (0.5, 0.999), (0.001, 0.999)]


def test_a_point_shows_its_picture_and_names_are_text(
    chromium: Any, explored: tuple[Path, Findings, Projection]
) -> None:
    path, found, _ = explored
    with opened(chromium, path) as view:
        view.mouse.move(*place_of(view, 3))
        tip = view.inner_text("#tip")
        assert "<img src=x onerror=alert(1)>.png" in tip
        assert HOSTILE in tip
        assert f"outlier distance: {found.outliers.score[3]:.3g}" in tip
        view.wait_for_function("getComputedStyle(document.querySelector('#tip .thumb')).backgroundImage != 'none'")
        shown = Image.open(io.BytesIO(view.locator("#tip .thumb").screenshot())).convert("RGB").resize((12, 12))
        wanted = Image.open(path.parent / "<img src=x onerror=alert(1)>.png").convert("RGB").resize((12, 12))
        inner = (slice(2, 10), slice(2, 10))  # the picture is narrower than its square
        difference = np.abs(np.asarray(shown, dtype=float) - np.asarray(wanted, dtype=float))[inner]
        assert difference.mean() < 20, "the picture of this image"
        view.mouse.move(5, 5)
        assert view.locator("#tip").is_hidden()


def test_the_map_pans_with_the_pointer_and_zooms_around_it(
    chromium: Any, explored: tuple[Path, Findings, Projection]
) -> None:
    with opened(chromium, explored[0]) as view:
        x, y = map(round, place_of(view, 7))  # a wheel knows whole pixels
        before = place_of(view, 7)
        view.mouse.move(x, y)
        view.mouse.wheel(0, -400)
        view.wait_for_function("view.zoom > 1")
        assert view.evaluate("view.zoom") == pytest.approx(np.exp(0.6)), "exp(0.0015) for each pixel of the wheel"
        wanted = [at + (was - at) * np.exp(0.6) for at, was in zip((x, y), before, strict=True)]
        assert place_of(view, 7) == pytest.approx(wanted, abs=0.01), "what is below the pointer stays there"
        view.mouse.down()
        view.mouse.move(x + 90, y - 30, steps=3)
        view.mouse.up()
        moved = (wanted[0] + 90, wanted[1] - 30)
        assert place_of(view, 7) == pytest.approx(moved, abs=0.01), "the map goes with the pointer"
        view.click("#in")
        assert view.evaluate("view.zoom") == pytest.approx(1.5 * np.exp(0.6))
        view.click("#reset")
        assert view.evaluate("[view.x, view.y, view.zoom]") == [0.5, 0.5, 1]


def test_the_lasso_takes_what_is_inside(chromium: Any, explored: tuple[Path, Findings, Projection]) -> None:
    path, found, projection = explored
    with opened(chromium, path) as view:
        view.click("#lasso")
        assert view.get_attribute("#lasso", "aria-pressed") == "true"
        lasso(view, LEFT)
        left = (projection.points[:, 0] < 0.5).nonzero()[:, 0].tolist()
        assert 0 < len(left) < COUNT
        assert view.inner_text("#selected") == f"{len(left)} images selected"
        assert view.locator("#chosen .card").count() == len(left)
        with view.expect_download() as waiting:
            view.click("#download")
        rows = list(csv.DictReader(Path(waiting.value.path()).read_text().splitlines()))
        assert [int(row["index"]) for row in rows] == left
        assert [row["path"] for row in rows] == [found.part.rows.paths[row] for row in left]
        assert [row["label"] for row in rows] == [found.part.rows.labels[row] for row in left]
        scores = [float(row["outlier distance"]) for row in rows]
        np.testing.assert_allclose(scores, found.outliers.score[left], rtol=1e-6)
        view.click("#clear")
        assert view.is_disabled("#download")
        lasso(view, WHOLE)
        assert view.inner_text("#selected") == f"{COUNT} images selected"


def test_filter_legend_and_color(chromium: Any, explored: tuple[Path, Findings, Projection]) -> None:
    with opened(chromium, explored[0]) as view:
        view.fill("#filter", "SIMPLE")
        assert view.inner_text("#shown") == f"{COUNT // 2} of {COUNT} images"
        view.click("#all")
        assert view.inner_text("#selected") == f"{COUNT // 2} images selected"
        view.evaluate("document.execCommand = name => { window.done = [name, document.activeElement.value]; }")
        view.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
        view.click("#copy")
        view.wait_for_function("window.done")
        name, text = view.evaluate("window.done")
        wanted = [path for number, path in enumerate(explored[1].part.rows.paths) if number % 2 == 0]
        assert (name, text.split("\n")) == ("copy", wanted)
        view.fill("#filter", "")
        view.locator("#legend button").nth(1).click()
        assert view.inner_text("#shown") == f"{COUNT // 2} of {COUNT} images"
        view.select_option("#color", label="near-duplicate")
        assert view.inner_text("#shown") == f"{COUNT} images", "a class that was alone is alone no more"
        assert view.locator("#legend button").all_inner_texts() == [f"no · {COUNT - 4}", "yes · 4"]
        view.select_option("#color", label="outlier distance")
        assert "1st to 99th percentile" in view.inner_text("#legend")
        card = view.locator("#findings .group .card").first
        card.click()
        assert view.evaluate("[view.x, view.y]") == pytest.approx(view.evaluate("[xs[0], ys[0]]"), abs=1e-6)
        assert "0.png" in view.inner_text("#tip")


def test_everything_can_be_done_with_keys(chromium: Any, explored: tuple[Path, Findings, Projection]) -> None:
    with opened(chromium, explored[0]) as view:
        reached = []
        for _ in range(9):
            view.keyboard.press("Tab")
            reached.append(view.evaluate("document.activeElement.id || document.activeElement.textContent"))
            assert view.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid", reached[-1]
        assert reached[:8] == ["color", "filter", "lasso", "all", "in", "out", "reset", "map"]
        assert reached[8].endswith(f" · {COUNT // 2}"), "then the classes of the legend"
        view.keyboard.press("Shift+Tab")
        for key in ("+", "+", "ArrowLeft", "ArrowUp"):
            view.keyboard.press(key)
        zoom = 1.4**2
        assert view.evaluate("[view.x, view.y, view.zoom]") == pytest.approx([0.5 - 0.1 / zoom, 0.5 + 0.1 / zoom, zoom])
        view.keyboard.press("Enter")
        nearest = view.evaluate("marked")
        points = np.asarray(explored[2].points)
        distances = np.linalg.norm(points - [0.5 - 0.1 / zoom, 0.5 + 0.1 / zoom], axis=1)
        assert nearest == distances.argmin()
        assert view.locator("#tip").is_visible()
        view.keyboard.press("Escape")
        assert view.locator("#tip").is_hidden()
        view.keyboard.press("0")
        assert view.evaluate("view.zoom") == 1
        view.focus("#all")
        view.keyboard.press("Space")
        view.focus("#clear")
        assert view.inner_text("#selected") == f"{COUNT} images selected"


def test_two_fingers_zoom(chromium: Any, explored: tuple[Path, Findings, Projection]) -> None:
    with opened(chromium, explored[0], NARROW) as view:
        before = place_of(view, 5)
        x, y = before
        session = view.context.new_cdp_session(view)
        for kind, spread in (("touchStart", 40), ("touchMove", 60), ("touchMove", 80), ("touchEnd", None)):
            fingers = [] if spread is None else [{"x": x - spread, "y": y, "id": 0}, {"x": x + spread, "y": y, "id": 1}]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})
        assert view.evaluate("view.zoom") == pytest.approx(2, rel=0.01), "from 80 px apart to 160"
        assert place_of(view, 5) == pytest.approx(before, abs=0.5)


LUMINANCE = """() => {
  const channels = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const light = (color) => { const [r, g, b] = color.map((value) => {
    const share = value / 255; return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = channels(getComputedStyle(document.body).backgroundColor), paper = light(ground), worst = [];
  for (const each of document.querySelectorAll("h1, h2, p, li, td, button, label, figcaption, text")) {
    if (!each.textContent.trim() || !each.checkVisibility() || each.disabled) continue;
    const style = getComputedStyle(each), name = each.tagName.toLowerCase();
    const ink = channels(name === "text" ? style.fill : style.color);
    let opacity = 1;
    for (let at = each; at; at = at.parentElement) opacity *= Number(getComputedStyle(at).opacity);
    const seen = light(ink.map((value, i) => opacity * value + (1 - opacity) * ground[i]));
    const contrast = (Math.max(seen, paper) + 0.05) / (Math.min(seen, paper) + 0.05);
    worst.push([contrast, `${name} ${each.textContent.slice(0, 40)}`]);
  }
  return worst.sort((a, b) => a[0] - b[0])[0];
}"""
"""The least contrast of any text with the paper, as WCAG measures it, and where it is."""


@pytest.mark.parametrize("name", ["explore", "run", "verdict"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["narrow", "wide"])
def test_pages_are_readable(
    chromium: Any, pages: dict[str, Path], name: str, scheme: str, size: dict[str, int]
) -> None:
    with opened(chromium, pages[name], size, scheme) as view:
        assert view.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is cut off at the side"
        assert view.evaluate(SMALLEST) >= 8.5
        contrast, where = view.evaluate(LUMINANCE)
        assert contrast >= 4.5, where
        assert view.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
        if name == "explore":
            assert view.evaluate("data.frames") >= 1
            drawn = np.asarray(Image.open(io.BytesIO(view.locator("#map").screenshot())).convert("RGB"), dtype=int)
            assert (drawn.max(axis=2) - drawn.min(axis=2) > 60).mean() > 0.001, "points in color"


def few(kind: str, folder: Path) -> byol.Source:
    """A set with little to find in it."""
    images = colored(1, 3).images
    if kind == "one image":
        return byol.TensorSource(images[:1])
    if kind == "identical images":
        return byol.TensorSource(images[:1].repeat(60, 1, 1, 1), [0, 1] * 30)
    if kind == "no labels":
        return byol.TensorSource(colored(4, 3).images)
    if kind == "a label each":
        return byol.TensorSource(images, [0, 1, 2], ["<b>a</b>", "", "c" * 300])
    for number, mode in enumerate(("L", "RGB", "RGBA", "P", "I;16", "1")):
        name = "x" * 200 if mode == "P" else f"{number} & <i>"
        image = picture(number)
        gray = np.asarray(image.convert("L")).astype(np.uint16) * 257
        (Image.fromarray(gray) if mode == "I;16" else image.convert(mode)).save(folder / f"{name}.png")
    return byol.open_source(folder, 3)


SENTENCES = {
    "one image": ("1 image", "near-duplicates: 0 images in 0 groups", "1 of 1 image has a picture here."),
    "identical images": ("60 images", "near-duplicates: 60 images in 1 group ", "60 of 60 images have a picture here."),
    "no labels": ("12 images", "near-duplicates: 0 images in 0 groups", "12 of 12 images have a picture here."),
    "a label each": ("3 images", "label suspects: 0 of 0 labels", "3 of 3 images have a picture here."),
    "mixed kinds": ("6 images", "near-duplicates: 0 images in 0 groups", "6 of 6 images have a picture here."),
}


@pytest.mark.parametrize("kind", SENTENCES)
def test_sets_with_little_to_find_have_a_true_page(
    chromium: Any, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BYOL_HOME", str(tmp_path / "home"))
    (tmp_path / "images").mkdir()
    source = few(kind, tmp_path / "images")
    found = explore(open_encoder("pixels@8"), source, ExploreConfig(map="pca"), CPU)
    projection = project(found.part.values, found.neighbors, "pca")
    (tmp_path / "page.html").write_text(explore_page("<b>Few</b>", source, found, projection))
    shown, *said = SENTENCES[kind]
    with opened(chromium, tmp_path / "page.html", NARROW) as view:
        assert view.inner_text("h1") == "<b>Few</b>"
        assert view.inner_text("#shown") == shown
        for sentence in said:
            assert sentence in view.inner_text("body")
        assert view.evaluate("document.documentElement.scrollWidth <= innerWidth")
        view.focus("#map")
        view.keyboard.press("Enter")
        assert f"outlier distance: {'none' if kind == 'one image' else ''}" in view.inner_text("#tip")
        for option in view.locator("#color option").all_inner_texts():
            view.select_option("#color", label=option)
        view.select_option("#color", label="outlier distance")
        legend = view.inner_text("#legend")
        assert legend == "No image has a value here." if kind == "one image" else "percentile" in legend
