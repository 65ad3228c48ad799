"""The pictures of a run's page are those of its images; the page is renewed while the run goes on."""

import io
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import byol
from byol.config.run import PretrainConfig
from byol.pretraining import live_page, pictures
from byol.pretraining.live_page import LivePage
from byol.pretraining.pictures import ASKED, FEWEST, GAP, NEIGHBOR_SIDE, SAMPLE, VIEW_SIDE, Pictures, sampled
from byol.pretraining.run_folder import RunFolder
from byol.pretraining.run_page import _map_by_label, write_run_page
from byol.runtime.seeds import generator_of
from conftest import TINY, WHOLE_IMAGES


@pytest.fixture(scope="module")
def written(class_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A run whose views are its images, and every page that it wrote while it went on."""
    out, pages = tmp_path_factory.mktemp("pictures") / "run", []

    def noted(path: Path, seconds: int | None = None) -> Path:
        page = write_run_page(path, seconds)
        pages.append(page.read_text())
        return page

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live_page, "write_run_page", noted)
        patch.setattr(live_page, "EVERY", 0)
        patch.setattr(live_page, "COST", 0)
        settings = {**TINY, "logging__page": True, **WHOLE_IMAGES}
        byol.pretrain(class_folder, recipe="cifar10-cpu", out=out, quiet=True, **settings)
    return out, pages


def sheet_of(run: Path, number: int) -> np.ndarray:
    sheet = Pictures.load(RunFolder(run)).sheets[number]
    return np.asarray(Image.open(io.BytesIO(sheet.jpeg)).convert("RGB"), dtype=float)


def tile(sheet: np.ndarray, row: int, column: int, side: int) -> np.ndarray:
    top, left = row * (side + GAP), column * (side + GAP)
    return sheet[top : top + side, left : left + side]


def as_tile(path: str, side: int) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB").resize((side, side), Image.Resampling.BILINEAR), dtype=float)


def training_paths(folder: Path) -> list[str]:
    return [str(path) for path in sorted(folder.rglob("*.png"), key=str)]


def test_views_are_those_of_the_image_beside_them(written: tuple[Path, list[str]]) -> None:
    sheet = sheet_of(written[0], 0)
    assert sheet.shape == (6 * (VIEW_SIDE + GAP) - GAP, 4 * (VIEW_SIDE + GAP) - GAP, 3), "image, space, two views"
    for row in range(6):
        image, view1, view2 = (tile(sheet, row, column, VIEW_SIDE) for column in (0, 2, 3))
        assert np.abs(view1 - image).mean() < 8
        assert np.abs(view2 - image).mean() < 8
    assert np.abs(tile(sheet, 0, 2, VIEW_SIDE) - tile(sheet, 1, 0, VIEW_SIDE)).mean() > 16, "images differ"


def test_neighbors_are_the_nearest_by_the_encoder_that_was_kept(
    written: tuple[Path, list[str]], class_folder: Path
) -> None:
    paths = training_paths(class_folder)
    chosen = sorted(torch.randperm(160, generator=generator_of(0, "page"))[:FEWEST].tolist())
    vectors = byol.Embedder(written[0], precision="float32").transform([paths[index] for index in chosen])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = unit @ unit.T - 2 * np.eye(len(unit))
    asked = torch.randperm(FEWEST, generator=generator_of(0, "page neighbors"))[:ASKED].tolist()
    sheet = sheet_of(written[0], 1)
    assert sheet.shape[:2] == (ASKED * (NEIGHBOR_SIDE + GAP) - GAP, 13 * (NEIGHBOR_SIDE + GAP) - GAP)
    agree = 0
    for row, image in enumerate(asked):
        after = np.argsort(-cosine[image])[:5]
        for column, shown in ((0, image), *((8 + place, near) for place, near in enumerate(after))):
            wanted = as_tile(paths[chosen[shown]], NEIGHBOR_SIDE)
            assert np.abs(tile(sheet, row, column, NEIGHBOR_SIDE) - wanted).mean() < 8
        agree += sum(Path(paths[chosen[near]]).parent == Path(paths[chosen[image]]).parent for near in after)
    note = Pictures.load(RunFolder(written[0])).sheets[1].note
    assert f"and {agree} after have the label of their image" in note


def test_the_map_shows_images_where_they_lie(written: tuple[Path, list[str]], class_folder: Path) -> None:
    found = Pictures.load(RunFolder(written[0])).map
    assert found is not None
    chosen = sorted(torch.randperm(160, generator=generator_of(0, "page"))[:FEWEST].tolist())
    paths = training_paths(class_folder)
    assert found.labels == [Path(paths[index]).parent.name for index in chosen]
    sheet, across = sheet_of(written[0], 2), 14  # the root of 4 x 50 images
    assert sheet.shape[:2] == (14 * 32, 14 * 32)
    corner = max(range(FEWEST), key=lambda row: found.points[row][0])
    x, y = (min(across - 1, int(value * across)) for value in found.points[corner])
    shown = sheet[(across - 1 - y) * 32 : (across - y) * 32, x * 32 : (x + 1) * 32]
    there = [row for row, point in enumerate(found.points) if [int(v * across) for v in point] in ([x, y], [14, y])]
    assert min(np.abs(shown - as_tile(paths[chosen[row]], 32)).mean() for row in there) < 10


def test_the_page_is_renewed_and_comes_to_rest(written: tuple[Path, list[str]]) -> None:
    out, pages = written
    steps = [int(found[1]) for page in pages if (found := re.search(r"of update (\d+) of 20", page))]
    assert len(pages) == 21, "before the first update, after each but the last, and at rest"
    assert steps == sorted(steps)
    assert set(range(0, 20, 2)) <= set(steps), "metrics are written every second update"
    assert all('http-equiv="refresh" content="0"' in page for page in pages[:-1])
    assert all("Views as trained on" in page for page in pages)
    assert "The run goes on." in pages[0]
    for page in (pages[-1], (out / "report.html").read_text()):
        assert "refresh" not in page
        assert "The run goes on." not in page
        assert json.loads((out / "verdict.json").read_text())["sentence"] in page
        assert page.index("Views as trained on") < page.index("Neighbors before and after") < page.index("The map")


def test_what_differs_from_the_recipe(written: tuple[Path, list[str]]) -> None:
    page = (written[0] / "report.html").read_text()
    table = page.partition("What differs from the recipe cifar10-cpu")[2].partition("</table>")[0]
    assert "<tr><td>batch_size</td><td>16</td><td>128</td></tr>" in table
    assert '<tr><td>device</td><td>"cpu"</td><td>"auto"</td></tr>' in table
    assert "optim.warmup_epochs" not in table, "1.0 is 1"
    assert "method.tau" not in table


def test_a_page_comes_to_rest_when_the_run_fails(class_folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("byol.pretraining.finish.train", lambda *rest: (_ for _ in ()).throw(ZeroDivisionError))
    with pytest.raises(ZeroDivisionError):
        byol.pretrain(class_folder, recipe="cifar10-cpu", out=tmp_path / "run", quiet=True, logging__page=True, **TINY)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "refresh" not in page
    assert "No verdict yet" in page


def test_no_picture_where_none_is_wanted(class_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    settings = {**TINY, "epochs": 0.2, "logging__pictures": False, "logging__page": True}
    byol.pretrain(class_folder, recipe="cifar10-cpu", out=out, quiet=True, **settings)
    assert not (out / "pictures.json").exists()
    assert "<img" not in (out / "report.html").read_text()


def test_labels_on_the_map_are_text(written: tuple[Path, list[str]], tmp_path: Path) -> None:
    shutil.copytree(written[0], tmp_path / "run")
    content = json.loads((tmp_path / "run" / "pictures.json").read_text())
    content["map"]["labels"][:10] = ["<script>alert(1)</script>"] * 10
    content["sheets"][1]["note"] = "<script>alert(2)</script> **bold**"
    (tmp_path / "run" / "pictures.json").write_text(json.dumps(content))
    page = write_run_page(tmp_path / "run").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "**bold**" in page
    assert len(page) < 1_000_000


def test_the_sample_is_bounded_by_what_a_run_sees() -> None:
    def size(images: int, epochs: float) -> int:
        config = PretrainConfig(batch_size=10, epochs=epochs)
        source = byol.TensorSource(torch.zeros(images, 1, 1, 1, dtype=torch.uint8))
        run: Any = SimpleNamespace(config=config, images=images, source=source)
        return len(sampled(run))

    assert size(30, 100) == 30
    assert size(500, 1) == FEWEST
    assert size(4000, 2) == 400, "a twentieth of 8,000"
    assert size(4000, 100) == SAMPLE


class Broken(nn.Module):
    """Features that are not finite."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.full((len(images), 3), torch.nan)


def test_features_that_are_not_finite_have_no_neighbors(monkeypatch: pytest.MonkeyPatch) -> None:
    source = byol.TensorSource(torch.zeros(60, 3, 16, 16, dtype=torch.uint8))
    monkeypatch.setattr(pictures, "_views", lambda run: pictures.Sheet("Views", "", b""))
    passes = SimpleNamespace(device=torch.device("cpu"), batch_size=30, workers=1, autocast=False)
    config = PretrainConfig(batch_size=10, epochs=1, image_size=16)
    run: Any = SimpleNamespace(config=config, images=60, source=source, passes=passes)
    found = pictures.pictures_of(run, None, Broken())
    assert [sheet.title for sheet in found.sheets] == ["Views"]
    assert found.map is None
    found = pictures.pictures_of(run, None, nn.Flatten())  # identical images: every neighbor is as near
    assert [sheet.title for sheet in found.sheets] == ["Views", "Neighbors before and after", "The map"]
    assert found.sheets[1].note == (
        "Each row is one of 50 random training images, then its 5 nearest among them (no update was made)."
    )
    assert found.map is not None
    assert len(set(found.map.points)) == 1
    assert list(_map_by_label(found.map)) == [], "there are no labels"


def test_a_page_waits_a_hundred_times_as_long_as_it_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, wrote = [0.0], []

    def write(path: Path, seconds: int | None) -> None:
        wrote.append((clock[0], seconds))
        clock[0] += 0.5

    monkeypatch.setattr(live_page, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(live_page, "write_run_page", write)
    page = LivePage(RunFolder(tmp_path))
    for _ in range(120):
        page.renew()
        clock[0] += 1
    assert wrote == [(0.0, 15), (50.5, 15), (101.0, 15)]
    LivePage(None).renew()
    assert len(wrote) == 3


def test_a_full_disk_ends_the_pages_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(path: Path, seconds: int | None) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(live_page, "write_run_page", full)
    page = LivePage(RunFolder(tmp_path))
    page.renew()
    page.renew()
    assert [record.getMessage() for record in caplog.records] == [
        "the page is not kept up to date: No space left on device"
    ]
