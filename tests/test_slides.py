"""Whole-slide images: which tiles are tissue, at which scale, over white, by value."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from byol.config.reading import ReadingConfig
from byol.data.formats import extras
from byol.data.formats.header import Header
from byol.data.reading import reading_as
from byol.data.sources.base import Source
from byol.data.sources.open import open_source
from byol.errors import BadImage, UserError

openslide = pytest.importorskip("openslide", reason="slides take openslide")

PURPLE, PINK = (120, 60, 140), (220, 150, 180)


def slide(path: Path, values: Any, power: str = "AppMag = 20|MPP = 0.5") -> None:
    """A slide as Aperio writes it: one tiled level, without loss."""
    height, width, _ = values.shape
    said = f"Aperio Image Library v1\r\n{width}x{height} [0,0 {width}x{height}] (256x256) none|{power}"
    tifffile.imwrite(path, values, photometric="rgb", tile=(256, 256), description=said, metadata=None)


def glass() -> Any:
    """1024 x 1300 px of glass with two fields of tissue, tiles (1, 2) and (2, 0) of 256 px, and 39 % of tile (0, 1)."""
    values = np.full((1024, 1300, 3), 244, dtype=np.uint8)
    values[256:512, 512:768] = PURPLE
    values[512:768, :256] = PINK
    values[:100, 256:512] = PURPLE
    values[600:700, 600:700] = 30  # a line of a pen
    return values


def read(path: Path, **reading: Any) -> Source:
    with reading_as(ReadingConfig(**reading)):
        return open_source(path)


def test_tiles_of_tissue_are_images(tmp_path: Path) -> None:
    slide(tmp_path / "a.svs", glass())
    source = read(tmp_path, microns=0.5)
    # 4 rows and 5 columns of whole tiles: (1, 2) is number 7, (2, 0) is number 10
    assert [source.where(index).rsplit(" ", 2)[1:] for index in range(len(source))] == [["tile", "7"], ["tile", "10"]]
    assert source.header(0) == Header(height=256, width=256, channels=3, depth="8-bit")
    for index, color in enumerate((PURPLE, PINK)):
        assert np.array_equal(np.unique(source.image(index).flatten(1), axis=1)[:, 0], color)
    assert "tiles of 256 px at 0.5 microns per pixel of which 50% or more is tissue" in source.notes[0]
    assert len(read(tmp_path, microns=0.5, tissue=0.35)) == 3, "100 of 256 rows are 39 %"
    every = read(tmp_path, microns=0.5, tissue=0)
    assert len(every) == 20
    assert np.array_equal(every.image(1).numpy(), glass()[:256, 256:512].transpose(2, 0, 1))


def test_the_scale_is_the_same_whatever_the_objective(tmp_path: Path) -> None:
    slide(tmp_path / "20.svs", glass())
    slide(tmp_path / "40.svs", glass().repeat(2, axis=0).repeat(2, axis=1), power="AppMag = 40")
    twenty, forty = (read(tmp_path / f"{power}.svs", microns=1, tile=64, tissue=0.9) for power in (20, 40))
    assert len(twenty) == len(forty) == 8, "a field of 256 px at 0.5 microns is 2 x 2 tiles of 64 px at 1 micron"
    for index in (0, 7):
        assert np.abs(twenty.image(index).numpy().astype(int) - forty.image(index).numpy()).max() <= 1
    assert twenty.image(0).flatten(1).float().mean(1).tolist() == list(PURPLE)


def test_slides_without_tissue_or_scale_or_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slide(tmp_path / "a.svs", glass())
    slide(tmp_path / "empty.svs", np.full((600, 600, 3), 244, dtype=np.uint8))
    slide(tmp_path / "unknown.svs", glass(), power="Title = none")
    (tmp_path / "text.svs").write_text("no slide")
    source = read(tmp_path, microns=0.5)
    assert len(source) == 2 + 2
    assert "1 of 4 files hold no image (1 with no tissue)" in source.remark
    with pytest.raises(BadImage, match="neither microns per pixel nor the objective's power"):
        source.image(3)
    with pytest.raises(BadImage):
        source.image(2)
    monkeypatch.setattr(extras, "_installed", lambda modules: False)
    with pytest.raises(UserError, match=r"pip install 'byol\[slides\]'"):
        open_source(tmp_path)
