"""Damaged files of every format: each is read, or counted and listed, and none ends a run or holds it up."""

import importlib
import io
import random
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from byol.data.sources.open import open_source
from byol.errors import BadImage, UserError

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
STACK = np.random.default_rng(0).integers(0, 256, (6, 20, 20, 3)).astype(np.uint8)


@pytest.fixture
def damaged_files(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for name in ("astropy", "av", "h5py", "imagecodecs", "nibabel", "openslide", "pi_heif", "pydicom"):
        pytest.importorskip(name, reason=f"damaged files are made with {name}")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("damaged_files")


def test_damaged_files_are_read_or_listed(damaged_files: ModuleType, tmp_path: Path) -> None:
    rows = {
        row.name: row for row in importlib.import_module("damaged").main(["--files", "250", "--out", str(tmp_path)])
    }
    for name in ("that ended the process", "that took over 60 s", "with another error than a sentence"):
        assert rows[f"files {name}"].values == [0.0], name
    lost = rows["files that are neither read nor listed"]
    assert lost.values == [0.0]
    assert lost.config["read"] + lost.config["listed"] == 250
    assert lost.config["read"] > 25, "a tenth is whole, and more can be read"
    assert all(row.met for row in rows.values())


def test_damage_is_what_it_is_called(damaged_files: ModuleType) -> None:
    data, rng = bytes(range(256)) * 8, random.Random(0)
    for _ in range(20):
        flipped = damaged_files.damaged(data, "flipped", rng)
        assert len(flipped) == len(data)
        assert sum(a != b for a, b in zip(data, flipped, strict=True)) <= 20
        assert data.startswith(damaged_files.damaged(data, "truncated", rng))
    assert damaged_files.damaged(data, "renamed", rng) == damaged_files.damaged(data, "intact", rng) == data


def test_a_stack_that_is_damaged_is_told_in_a_sentence(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.savez_compressed(file, images=STACK)
    data = bytearray(file.getvalue())
    data[200:220] = bytes(20)
    (tmp_path / "a.npz").write_bytes(data)
    (tmp_path / "b.npy").write_bytes(b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': '|u1', (" + bytes(200))
    for name in ("a.npz", "b.npy"):
        with pytest.raises(UserError, match=rf"{name}' cannot be read \(.*\); it may be cut short or damaged"):
            open_source(tmp_path / name)


def test_a_damaged_chunk_of_hdf5_costs_its_image_alone(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="HDF5 takes h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("images", data=STACK, chunks=(1, 20, 20, 3), compression="gzip")
        offset = file["images"].id.get_chunk_info(2).byte_offset
    with (tmp_path / "a.h5").open("r+b") as raw:
        raw.seek(offset)
        raw.write(bytes(40))
    source: Any = open_source(tmp_path / "a.h5")
    for index in range(6):
        if index == 2:
            with pytest.raises(BadImage):
                source.image(index)
        else:
            np.testing.assert_array_equal(source.image(index).permute(1, 2, 0), STACK[index])


@pytest.mark.parametrize("word", [b"image", b"label"])
def test_columns_of_parquet_whose_names_are_no_text(word: bytes, tmp_path: Path) -> None:
    file = io.BytesIO()
    pq.write_table(pa.table({"image": [b"1", b"2"], "label": [0, 1]}), file)
    data = file.getvalue()
    at = data.index(word, data.index(word) + 1)
    (tmp_path / "a.parquet").write_bytes(data[: at + 2] + b"\xd5" + data[at + 3 :])
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        open_source(tmp_path / "a.parquet")


def test_columns_of_arrow_whose_names_are_no_text(tmp_path: Path) -> None:
    file = io.BytesIO()
    table = pa.table({"image": [b"1", b"2"], "label": [0, 1]})
    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    (tmp_path / "a.arrow").write_bytes(file.getvalue().replace(b"label", b"l\xb5bel"))
    with pytest.raises(UserError, match="cannot be read as Arrow"):
        open_source(tmp_path / "a.arrow")
