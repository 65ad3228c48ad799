"""Folders of `Dataset.save_to_disk`: the files that they name, in order, with their labels."""

import io
import json
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

from byol.data.sources.arrow import ArrowSource
from byol.data.sources.open import open_source
from byol.data.sources.parts import SeveralParts
from byol.errors import UserError

FEATURES = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
METADATA = {b"huggingface": json.dumps({"info": {"features": FEATURES}}).encode()}


def blob(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (6, 4), value).save(file, "PNG")
    return file.getvalue()


def write(file: Path, values: list[int], labels: list[int], batch: int = 2) -> None:
    """A file as `datasets` writes it: Arrow's stream format, in small batches."""
    images = pa.array([{"bytes": blob(value), "path": None} for value in values])
    table = pa.table({"image": images, "label": pa.array(labels, pa.int64())}).replace_schema_metadata(METADATA)
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=batch)


def save(folder: Path, *shards: list[int]) -> None:
    """A folder as `save_to_disk` leaves it; the label of an image is 1 where its value is odd."""
    folder.mkdir(parents=True)
    names = [f"data-{number:05d}-of-{len(shards):05d}.arrow" for number in range(len(shards))]
    for name, values in zip(names, shards, strict=True):
        write(folder / name, values, [value % 2 for value in values])
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text("{}")
    (folder / "cache-1234.arrow").write_bytes(b"of another time")


def test_a_saved_data_set_has_its_images_in_order(tmp_path: Path) -> None:
    save(tmp_path / "pets", [10, 11, 12], [13, 14])
    source = open_source(tmp_path / "pets")
    assert isinstance(source, ArrowSource)
    assert [int(source.image(index).max()) for index in range(len(source))] == [10, 11, 12, 13, 14]
    assert (source.channels, source.labels, source.classes) == (1, [0, 1, 0, 1, 0], ["cat", "dog"])
    assert source.where(3) == f"{tmp_path / 'pets' / 'data-00001-of-00002.arrow'} row 0"
    assert source.labels_from == "the column 'label'"


def test_the_parts_of_a_saved_dictionary_are_parts(tmp_path: Path) -> None:
    for number, part in enumerate(("train", "validation", "test")):
        save(tmp_path / "set" / part, [20 + number, 21 + number])
    (tmp_path / "set" / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "validation", "test"]}))
    with pytest.raises(SeveralParts) as found:
        open_source(tmp_path / "set")
    assert found.value.training == str(tmp_path / "set" / "train")
    assert found.value.readings == [str(tmp_path / "set" / "validation"), str(tmp_path / "set" / "test")]
    assert int(open_source(tmp_path / "set" / "test").image(0).max()) == 22
    save(tmp_path / "one" / "train", [5])
    (tmp_path / "one" / "dataset_dict.json").write_text(json.dumps({"splits": ["train"]}))
    assert len(open_source(tmp_path / "one")) == 1


def test_files_of_the_cache_have_their_parts_in_their_names(tmp_path: Path) -> None:
    for part in ("train-00000-of-00002", "train-00001-of-00002", "test"):
        write(tmp_path / f"cifar-{part}.arrow", [1, 2], [0, 1])
    with pytest.raises(SeveralParts) as found:
        open_source(tmp_path)
    assert found.value.training is not None
    assert (len(open_source(found.value.training)), len(open_source(found.value.readings[0]))) == (4, 2)
    assert len(open_source(tmp_path / "cifar-test.arrow")) == 2


def test_the_file_format_of_arrow_is_read_too(tmp_path: Path) -> None:
    table = pa.table({"image": pa.array([blob(7), blob(9)])})
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    assert int(open_source(tmp_path / "a.arrow").image(1).max()) == 9


def test_broken_and_missing_files(tmp_path: Path) -> None:
    save(tmp_path / "cut", [1, 2, 3, 4])
    file = tmp_path / "cut" / "data-00000-of-00001.arrow"
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(UserError, match="cannot be read as Arrow"):
        open_source(tmp_path / "cut")
    save(tmp_path / "lacks", [1], [2])
    (tmp_path / "lacks" / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(UserError, match=r"lacks 'data-00001-of-00002.arrow', which its state.json names"):
        open_source(tmp_path / "lacks")
