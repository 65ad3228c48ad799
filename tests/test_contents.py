"""Images that change in place, with the size of their file: what digests and stored features notice."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from byol.data.contents import content_digest, holds, state_digest
from byol.data.sources.open import Source, TensorSource, open_source
from byol.data.sources.relabeled import Labels, relabeled
from byol.encoders.load import open_encoder
from byol.evals.cache import FeatureConfig, cached_features
from evals_data import CPU

COUNT, CHANGED = 100, 57
"""Of 100 images number 57 changes; no even sample of 32 has it."""


def pixels(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (9, 8, 3), dtype=np.uint8)


def save_array(file: Path, values: np.ndarray) -> None:
    np.save(file, values)


def save_picture(file: Path, values: np.ndarray) -> None:
    options = {"compress_level": 0} if file.suffix == ".png" else {}
    Image.fromarray(values).save(file, **options)


FORMATS: dict[str, Callable[[Path, np.ndarray], None]] = {
    "bmp": save_picture,
    "tif": save_picture,
    "ppm": save_picture,
    "png": save_picture,
    "npy": save_array,
}


def written(folder: Path, suffix: str, changed: int = CHANGED) -> Path:
    """A folder of images; `changed` is whose pixels number 57 has."""
    folder.mkdir(exist_ok=True)
    for number in range(COUNT):
        FORMATS[suffix](folder / f"{number:03d}.{suffix}", pixels(changed if number == CHANGED else number))
    return folder


def features(source: Source, home: Path) -> torch.Tensor:
    return cached_features(open_encoder("pixels@8"), source, FeatureConfig(folder=str(home)), CPU).values


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("times", ["new", "kept"])
def test_stored_features_are_not_those_of_a_file_before_it_changed(suffix: str, times: str, tmp_path: Path) -> None:
    folder, home = written(tmp_path / "images", suffix), tmp_path / "features"
    before = features(open_source(folder), home)
    source = open_source(folder)
    assert torch.equal(features(source, home), before)
    assert len(list(home.iterdir())) == 1, "unchanged files are not read again"
    names, file = source.fingerprint(), folder / f"{CHANGED:03d}.{suffix}"
    status = file.stat()
    FORMATS[suffix](file, pixels(1000))
    assert file.stat().st_size == status.st_size
    if times == "kept":
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    source = open_source(folder)
    assert source.fingerprint() == names
    after = features(source, home)
    rows = (after != before).any(dim=1).nonzero().flatten().tolist()
    assert rows == [CHANGED]
    assert torch.equal(after, cached_features(open_encoder("pixels@8"), source, FeatureConfig(cache=False), CPU).values)


@pytest.mark.parametrize("column", ["bytes", "paths"])
def test_rows_of_parquet_that_change_are_noticed(column: str, tmp_path: Path) -> None:
    states, contents = set(), set()
    for changed in (CHANGED, 1000):
        folder = written(tmp_path / "images", "bmp", changed)
        files = [folder / f"{number:03d}.bmp" for number in range(COUNT)]
        rows = [file.read_bytes() for file in files] if column == "bytes" else [f"images/{file.name}" for file in files]
        pq.write_table(pa.table({"image": rows}), tmp_path / "x.parquet")
        source = open_source(tmp_path / "x.parquet")
        states.add(state_digest(source.subset(range(COUNT))))
        contents.add(content_digest(relabeled(source, Labels(labels=[0] * COUNT))))
    assert len(states) == len(contents) == 2


def test_content_is_the_same_wherever_the_images_are(tmp_path: Path) -> None:
    one, two = (open_source(written(tmp_path / name, "bmp")) for name in ("one", "two"))
    assert content_digest(one) == content_digest(two)
    assert content_digest(open_source(written(tmp_path / "two", "bmp", 1000))) != content_digest(one)


def test_of_large_sets_an_even_sample_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source(written(tmp_path / "images", "bmp"))
    size = source.stored_bytes(0)
    assert size is not None
    monkeypatch.setattr("byol.data.contents.READ_MOST", 10 * size)
    read: list[int] = []
    monkeypatch.setattr(type(source), "read", lambda self, index: read.append(index) or b"")
    content_digest(source, opening=0)
    assert read == [0, 11, 22, 33, 44, 55, 66, 77, 88, 99]
    read.clear()
    content_digest(source, opening=size)  # each counts for two
    assert read == [0, 25, 50, 74, 99]


def test_runs_of_before_files_had_a_price_find_their_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source(written(tmp_path / "images", "bmp"))
    monkeypatch.setattr("byol.data.contents.READ_MOST", 10 * (source.stored_bytes(0) or 0))
    earlier, now = content_digest(source, opening=0), content_digest(source)
    assert earlier != now
    assert all(holds(source, noted) for noted in (earlier, now, None))
    assert not holds(source, "0" * 16)


def test_images_in_memory_are_told_by_their_pixels() -> None:
    one, two = torch.zeros(3, 1, 4, 4), torch.zeros(3, 1, 4, 4)
    two[1, 0, 2, 2] = 1
    for what in (content_digest, state_digest):
        assert what(TensorSource(one)) == what(TensorSource(one.clone())) != what(TensorSource(two))
