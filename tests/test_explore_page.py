"""The map and the page: true coordinates, bounded pictures, and nothing in a name that runs."""

import base64
import hashlib
import importlib.util
import io
import json
import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.color import rgb2lab

import byol
from byol.encoders.load import open_encoder
from byol.errors import UserError
from byol.explore.findings import ExploreConfig, Findings, explore
from byol.explore.neighbors import find_others
from byol.explore.page import explore_page
from byol.explore.projection import check_map, principal, project
from byol.explore.thumbnails import ACROSS, make_sheets
from conftest import picture
from evals_data import CPU, colored

HOSTILE = "</script><script>document.title='ran'</script><img src=x onerror=document.title='ran'>"
CONFIG = ExploreConfig(map="pca", suggest=2)


@pytest.fixture(autouse=True)
def _features_below_a_folder_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYOL_HOME", str(tmp_path / "home"))


def hostile_source(tmp_path: Path) -> byol.Source:
    """24 pictures of two classes; labels and one name are markup."""
    lines = []
    for number in range(24):
        name = f"{'<img src=x onerror=alert(1)>' if number == 3 else number}.png"
        picture(number % 22).save(tmp_path / name)
        lines.append(f"{name}\t{HOSTILE if number % 2 else 'plain & simple'}")
    (tmp_path / "list.txt").write_text("\n".join(lines))
    return byol.open_source(tmp_path / "list.txt", 3)


def made(source: byol.Source, title: str = "Images") -> tuple[str, Findings]:
    found = explore(open_encoder("pixels@16"), source, CONFIG, CPU)
    return explore_page(title, source, found, project(found.part.values, found.neighbors, "pca")), found


class Elements(HTMLParser):
    """The scripts, elements and attributes of a page as a browser takes it apart."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.tags: list[str] = []
        self.handlers: list[str] = []
        self._inside: dict[str, str | None] | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        if tag == "script":
            self._inside = dict(attrs)
            self.scripts.append((self._inside, ""))

    def handle_endtag(self, tag: str) -> None:
        self._inside = None if tag == "script" else self._inside

    def handle_data(self, text: str) -> None:
        if self._inside is not None:
            attributes, before = self.scripts[-1]
            self.scripts[-1] = attributes, before + text


def content(page: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Elements(page).scripts[0][1])
    return found


def values(text: str, kind: type[np.generic]) -> list[Any]:
    return np.frombuffer(base64.b64decode(text), kind).tolist()


def test_nothing_in_a_name_or_a_label_is_markup(tmp_path: Path) -> None:
    page, _ = made(hostile_source(tmp_path), f"Images {HOSTILE}")
    elements = Elements(page)
    assert [attributes.get("type") for attributes, _ in elements.scripts] == ["application/json", None]
    assert "img" not in elements.tags
    assert elements.handlers == []
    script = elements.scripts[1][1]
    hashed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; img-src blob:; style-src 'unsafe-inline'; script-src 'sha256-{hashed}'" in page
    assert "innerHTML" not in script
    assert not re.search(r"(src|href)\s*=\s*[\"']?https?:", page), "the page needs no network"
    data = content(page)
    assert data["names"][3] == "<img src=x onerror=alert(1)>.png"
    label = data["columns"][0]
    assert [label["names"][v] for v in values(label["values"], np.int32)[:2]] == ["plain & simple", HOSTILE]


def test_the_page_has_the_values_of_the_findings(tmp_path: Path) -> None:
    page, found = made(hostile_source(tmp_path))
    data = content(page)
    assert data["count"] == 24
    assert data["prefix"] == f"{tmp_path}/"
    columns = {column["name"]: column for column in data["columns"]}
    np.testing.assert_allclose(
        values(columns["outlier distance"]["values"], np.float32), found.outliers.score, rtol=1e-6
    )
    doubled = values(columns["near-duplicate"]["values"], np.int32)
    assert [row for row, yes in enumerate(doubled) if yes] == [0, 1, 22, 23], "two pictures are there twice"
    duplicates = next(finding for finding in data["findings"] if finding["title"] == "Near-duplicates")
    assert [[entry[0] for entry in group] for group in duplicates["groups"]] == [[0, 22], [1, 23]]
    points = np.array(values(data["points"], np.uint16)).reshape(-1, 2) / 65535
    projection = project(found.part.values, found.neighbors, "pca")
    np.testing.assert_allclose(points, projection.points, atol=1e-4)
    assert "near-duplicates: 4 images in 2 groups" in page


def test_pictures_of_the_page_are_those_of_the_images(tmp_path: Path) -> None:
    source = hostile_source(tmp_path)
    page, _ = made(source)
    data = content(page)
    number = values(data["pictures"], np.int32)
    assert sorted(number) == list(range(24)), "each image has one"
    sheet = Image.open(io.BytesIO(base64.b64decode(data["sheets"][0])))
    assert sheet.size == (20 * 40, 2 * 40)
    left, top = number[7] % ACROSS * 40, number[7] // ACROSS * 40
    seen = np.asarray(sheet.crop((left + 2, top, left + 38, top + 40)), dtype=float)  # 36 of 40 px are the image
    wanted = np.asarray(Image.open(tmp_path / "7.png").convert("RGB"), dtype=float)
    assert np.abs(seen - wanted).mean() < 10, "JPEG has half the colors' resolution"
    assert np.abs(seen - np.asarray(Image.open(tmp_path / "8.png").convert("RGB"), dtype=float)).mean() > 40


def test_pictures_are_bounded_in_bytes() -> None:
    source = colored(400, 3, size=16)
    whole = make_sheets(source, list(range(1200)), 1)
    assert (whole.count, len(whole.files), whole.side) == (1200, 3, 16)
    limited = make_sheets(source, list(range(1200)), 1, most_bytes=2 * max(map(len, whole.files)))
    assert (limited.count, len(limited.files)) == (800, 2)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_pictures_of_any_number_of_channels(channels: int) -> None:
    images = torch.rand(3, channels, 10, 20)
    sheets = make_sheets(byol.TensorSource(images), [0, 1, 2], 1)
    pixels = np.asarray(Image.open(io.BytesIO(sheets.files[0])), dtype=float)
    assert sheets.side == 20
    assert np.abs(pixels[:4, :60] - 128).mean() < 12, "gray above an image that is wider than high"


def test_principal_components_are_those_of_the_covariance() -> None:
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor([5.0, 3.0, 0.5, 0.1])
    features = torch.randn(200, 4, generator=generator) * scale
    found = principal(features).double()
    covariance = found.T @ found
    assert abs(covariance[0, 1]) < 1e-2 * covariance[0, 0]
    largest = torch.linalg.eigvalsh(torch.cov(features.T).double())[-2:].flip(0)
    torch.testing.assert_close(covariance.diagonal() / 199, largest, rtol=1e-4, atol=0)


def test_a_map_says_how_many_neighbors_it_keeps() -> None:
    angle = torch.linspace(0, 1.5, 60)
    features = torch.stack([angle.cos(), angle.sin()], dim=1)  # an arc: in the plane already
    found = project(features, find_others(features), "pca")
    assert found.kept > 0.95
    assert found.points.min() == 0
    assert found.points.max() == 1
    assert np.isnan(project(features[:1], find_others(features[:1]), "pca").kept)


def test_umap_is_asked_for_by_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"run pip install 'byol\[explore\]'"):
        check_map("umap")
    features = torch.eye(60)
    assert project(features, find_others(features)).method == "principal components"


@pytest.mark.slow
def test_umap_keeps_clusters_apart() -> None:
    pytest.importorskip("umap")
    labels = torch.arange(150) % 3
    features = torch.eye(8)[labels] + 0.1 * torch.randn(150, 8, generator=torch.Generator().manual_seed(0))
    near = find_others(features)
    found, again = project(features, near, "umap"), project(features, near, "umap")
    assert found.method == "UMAP"
    assert torch.equal(found.points, again.points)
    assert (labels[find_others(found.points - 0.5, 1).rows[:, 0]] == labels).float().mean() > 0.9
    assert found.kept > project(features, near, "pca").kept


@pytest.mark.parametrize("kind", ["one", "identical", "unlabeled", "one each"])
def test_sets_with_little_to_find_have_a_page(kind: str) -> None:
    images, labels = colored(1, 3).images, [0, 1, 2]
    if kind == "one":
        source = byol.TensorSource(images[:1])
    elif kind == "identical":
        source = byol.TensorSource(images[:1].repeat(60, 1, 1, 1), [0, 1] * 30)
    else:
        source = byol.TensorSource(images, labels if kind == "one each" else None)
    found = explore(open_encoder("pixels@16"), source, ExploreConfig(), CPU)
    projection = project(found.part.values, found.neighbors, "pca")
    data = content(explore_page("Images", source, found, projection))
    assert data["count"] == len(source)
    assert (data["columns"][0]["name"] == "label") == (source.labels is not None)
    assert len(found.duplicates.groups) == (kind == "identical")


VISIONS = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
"""Linear RGB as it is seen without one kind of cone (Machado, Oliveira and Fernandes, 2009, severity 1)."""


@pytest.mark.parametrize("vision", [None, *VISIONS])
def test_classes_have_colors_that_any_color_vision_tells_apart(vision: str | None) -> None:
    script = files("byol.explore").joinpath("page.js").read_text()
    palette = np.array(json.loads(re.findall(r"const PALETTE = (.*);", script)[0])) / 255
    assert len(palette) == 8
    linear = np.where(palette <= 0.04045, palette / 12.92, ((palette + 0.055) / 1.055) ** 2.4)
    seen = (linear @ np.array(VISIONS[vision] if vision else np.eye(3)).T).clip(0, 1)
    lab = rgb2lab(np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055))
    distance = np.linalg.norm(lab[:, None] - lab[None], axis=2)[np.triu_indices(8, 1)]
    assert distance.min() > 14, "2.3 is what an eye just notices"
