"""Folders, lists, Parquet and tensors give the right images, labels and messages."""

import io
import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from byol.data.formats.decode import decode
from byol.data.sample import evenly
from byol.data.sources.open import (
    FileSource,
    FolderSource,
    ListSource,
    ParquetSource,
    Source,
    TensorSource,
    open_source,
)
from byol.errors import BadImage, UserError, nearest
from byol.evals.labels import labeled_parts

DATA = Path(os.environ.get("BYOL_DATA", Path(__file__).parents[2] / "shared" / "data"))


def blob(value: int, mode: str = "RGB", kind: str = "PNG") -> bytes:
    """A 6 x 4 image of one value."""
    buffer = io.BytesIO()
    Image.new(mode, (6, 4), value if mode == "L" else (value, value, value)).save(buffer, kind)
    return buffer.getvalue()


def write(root: Path, *paths: str, mode: str = "RGB") -> None:
    """Images at these paths; the n-th has the value n."""
    for number, path in enumerate(paths):
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(blob(number, mode))


def values(source: Source) -> list[int]:
    return [int(source.image(index)[0, 0, 0]) for index in range(len(source))]


def table(
    count: int,
    labels: Sequence[object] | None = None,
    names: list[str] | None = None,
    start: int = 0,
    mode: str = "RGB",
) -> pa.Table:
    """Images in the layout of Hugging Face; the n-th has the value start + n."""
    rows = [{"bytes": blob(start + number, mode), "path": f"{number}.png"} for number in range(count)]
    columns: dict[str, object] = {"image": rows}
    features: dict[str, object] = {"image": {"_type": "Image"}}
    if labels is not None:
        columns["label"] = list(labels)
        if names is not None:
            features["label"] = {"names": names, "_type": "ClassLabel"}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    result = pa.table(columns).replace_schema_metadata(metadata)
    assert isinstance(result, pa.Table)
    return result


# Folders


def test_folder_of_any_depth_in_order_without_hidden_files(tmp_path: Path) -> None:
    write(tmp_path, "a/b/c/one.png", "a/two.PNG", "three.jpg", ".hidden.png", ".git/four.png", "a/.x/five.png")
    (tmp_path / "notes.txt").write_text("no image")
    source = open_source(tmp_path)
    assert isinstance(source, FolderSource)
    assert [Path(source.where(index)).relative_to(tmp_path).as_posix() for index in range(3)] == [
        "a/b/c/one.png",
        "a/two.PNG",
        "three.jpg",
    ]
    assert values(source) == [0, 1, 2]
    assert source.labels is None
    assert source.classes is None
    assert source.read(1) == blob(1)
    assert source.name == str(tmp_path)


def test_sub_folders_are_labels(tmp_path: Path) -> None:
    write(tmp_path, "dog/1.png", "dog/deeper/2.png", "cat/3.png", "ant/4.png")
    source = open_source(str(tmp_path))
    assert source.classes == ["ant", "cat", "dog"]
    assert source.labels == [0, 1, 2, 2]
    assert values(source) == [3, 2, 0, 1]


@pytest.mark.parametrize("paths", [("only/1.png", "only/2.png"), ("cat/1.png", "dog/2.png", "3.png")])
def test_sub_folders_that_are_no_labels(tmp_path: Path, paths: tuple[str, ...]) -> None:
    write(tmp_path, *paths)
    assert open_source(tmp_path).labels is None


def test_a_stray_image_beside_folders_of_classes_is_told(tmp_path: Path) -> None:
    write(tmp_path, *(f"{name}/{number}.png" for name in ("cat", "dog") for number in range(6)), "thumb.png")
    source = open_source(tmp_path)
    assert source.labels is None
    assert source.remark == (
        "1 of 13 images lies outside its 2 folders, such as 'thumb.png', so these are not taken for classes"
    )
    with pytest.raises(UserError, match=r"or one class only \(1 of 13 images lies outside"):
        labeled_parts(source, source)
    write(tmp_path, "2.png", "3.png")
    assert open_source(tmp_path).remark == "", "so many are no strays"


def test_folders_of_parts_are_no_classes(tmp_path: Path) -> None:
    write(tmp_path, "test/cat/1.png", "test/dog/2.png", "Train/cat/3.png", "Train/dog/4.png")
    with pytest.raises(UserError, match=r"several parts \(Train, test\); give one of them, for example '.*Train'"):
        open_source(tmp_path)
    assert open_source(tmp_path / "Train").classes == ["cat", "dog"]


def test_an_image_lies_where_it_lies_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a/1.png")
    monkeypatch.chdir(tmp_path)
    assert open_source("a").where(0) == str(tmp_path / "a" / "1.png")


def test_folders_that_link_in_a_circle(tmp_path: Path) -> None:
    write(tmp_path, "a/1.png")
    (tmp_path / "a" / "again").symlink_to(tmp_path, target_is_directory=True)
    assert len(open_source(tmp_path)) == 1


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is empty; give a folder with images \(jpg, png,"):
        open_source(tmp_path)


def test_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "a.doc").write_text("")
    (tmp_path / "b.pdf").write_text("")
    with pytest.raises(UserError, match=r"holds no images, only 2 other files \(\.doc, \.pdf\); give a folder"):
        open_source(tmp_path)


def test_folder_whose_parquet_lies_deeper(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    pq.write_table(table(2), tmp_path / "data" / "x.parquet")
    with pytest.raises(UserError, match="lie deeper"):
        open_source(tmp_path)


def test_folder_without_permission(tmp_path: Path) -> None:
    write(tmp_path, "a/1.png", "closed/2.png")
    (tmp_path / "closed").chmod(0)
    try:
        if os.access(tmp_path / "closed", os.R_OK):
            pytest.skip("this user may read everything")
        with pytest.raises(UserError, match="cannot be read"):
            open_source(tmp_path)
    finally:
        (tmp_path / "closed").chmod(0o700)


def test_an_image_that_vanished_is_bad(tmp_path: Path) -> None:
    write(tmp_path, "1.png", "2.png")
    source = open_source(tmp_path)
    (tmp_path / "2.png").unlink()
    with pytest.raises(BadImage, match="cannot be read: No such file"):
        source.image(1)
    assert len(source.fingerprint()) == 16


# Channels


def test_channels_follow_the_images(tmp_path: Path) -> None:
    write(tmp_path / "gray", "1.png", "2.png", mode="L")
    write(tmp_path / "mixed", "1.png", mode="L")
    write(tmp_path / "mixed", "2.png", "3.png")
    assert open_source(tmp_path / "gray").channels == 1
    assert open_source(tmp_path / "mixed").channels == 3
    asked = open_source(tmp_path / "gray", channels=3)
    assert asked.image(0).shape == (3, 4, 6)
    assert open_source(tmp_path / "mixed").image(0).shape == (3, 4, 6)
    assert open_source(tmp_path / "mixed", channels=1).image(2).shape == (1, 4, 6)


def test_arrays_keep_their_channels(tmp_path: Path) -> None:
    for number in range(3):
        np.save(tmp_path / f"{number}.npy", np.full((5, 4, 6), number, np.uint8))
    source = open_source(tmp_path)
    assert source.channels == 6
    assert source.image(2).shape == (6, 5, 4)


def test_unreadable_images_do_not_stop_opening(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"")
    (tmp_path / "2.png").write_bytes(b"junk")
    assert open_source(tmp_path).channels == 3


# Lists


def test_list_with_comments_blanks_and_labels(tmp_path: Path) -> None:
    write(tmp_path, "a/one.png", "two with space.png", "three.png")
    file = tmp_path / "list.txt"
    file.write_text("# my images\n\na/one.png\tdog\r\ntwo with space.png\tcat\n\nthree.png\tdog\n", encoding="utf-8")
    source = open_source(file)
    assert isinstance(source, ListSource)
    assert values(source) == [0, 1, 2]
    assert source.classes == ["cat", "dog"]
    assert source.labels == [1, 0, 1]


def test_a_file_whose_name_begins_like_a_comment_is_in_the_list(tmp_path: Path) -> None:
    write(tmp_path, "#1.png", "#plates/2.png", "3.png")
    (tmp_path / "list.txt").write_text("# plates of May\n#1.png\tb\n#plates/2.png\ta\n#4.png\ta\n3.png\tb\n")
    source = open_source(tmp_path / "list.txt")
    assert values(source) == [0, 1, 2]
    assert source.labels == [1, 0, 1]


def test_list_labels_that_are_numbers_are_ordered_as_numbers(tmp_path: Path) -> None:
    write(tmp_path, "1.png", "2.png", "3.png")
    (tmp_path / "list.txt").write_text("1.png\t10\n2.png\t9\n3.png\t10\n")
    source = open_source(tmp_path / "list.txt")
    assert source.classes == ["9", "10"]
    assert source.labels == [1, 0, 1]


def test_folders_that_are_numbers_are_ordered_as_numbers(tmp_path: Path) -> None:
    write(tmp_path, *(f"{number}/{number}.png" for number in range(12)))
    source = open_source(tmp_path)
    assert source.classes == [str(number) for number in range(12)]
    assert [source.where(index).rsplit("/", 2)[1] for index in range(12)] == [str(label) for label in source.labels]


def test_list_without_labels_and_with_absolute_paths(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere", "1.png")
    (tmp_path / "list.txt").write_text(f"{tmp_path / 'elsewhere' / '1.png'}\n")
    source = open_source(tmp_path / "list.txt")
    assert values(source) == [0]
    assert source.labels is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1.png\tcat\n2.png\n", "line 2 of .* has no label, unlike the lines before"),
        ("1.png\n2.png\tcat\n", "line 2 of .* has a label, unlike"),
        ("# nothing\n\n", "names no image"),
        ("", "names no image"),
        ("Dear diary,\ntoday was fine\n", "names 'Dear diary,', which is not there .2 of 2 looked at"),
    ],
)
def test_lists_that_are_wrong(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, "1.png", "2.png")
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        open_source(tmp_path / "list.txt")


def test_a_missing_image_in_a_list_is_left_to_reading(tmp_path: Path) -> None:
    write(tmp_path, "1.png", "2.png")
    (tmp_path / "list.txt").write_text("1.png\n2.png\ngone.png\n")
    source = open_source(tmp_path / "list.txt")
    with pytest.raises(BadImage, match="cannot be read"):
        source.image(2)


def test_binary_file_is_no_list(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(b"\xff\xfe\x00\x80" * 20)
    with pytest.raises(UserError, match="neither an image list nor Parquet"):
        open_source(tmp_path / "x.bin")


# Parquet


def test_parquet_as_hugging_face_writes_it(tmp_path: Path) -> None:
    file = tmp_path / "train.parquet"
    pq.write_table(table(5, [1, 0, 1, 2, 0], ["a", "b", "c"]), file, row_group_size=2)
    source = open_source(file)
    assert isinstance(source, ParquetSource)
    assert values(source) == [0, 1, 2, 3, 4]
    assert source.read(3) == blob(3)
    assert source.labels == [1, 0, 1, 2, 0]
    assert source.classes == ["a", "b", "c"]
    assert source.where(3) == f"{file} row 3"
    assert source.channels == 3


def test_several_parquet_files_by_list_folder_and_pattern(tmp_path: Path) -> None:
    pq.write_table(table(3, [0, 0, 0]), tmp_path / "part-0.parquet", row_group_size=2)
    pq.write_table(table(2, [1, 1], start=3), tmp_path / "part-1.parquet")
    files = [tmp_path / "part-0.parquet", tmp_path / "part-1.parquet"]
    sources = [open_source(files), open_source(tmp_path), open_source(f"{tmp_path}/part-*.parquet")]
    for source in sources:
        assert values(source) == [0, 1, 2, 3, 4]
        assert source.labels == [0, 0, 0, 1, 1]
        assert source.classes is None
        assert source.where(2) == f"{files[0]} row 2"
        assert source.where(3) == f"{files[1]} row 0"
    assert len({source.fingerprint() for source in sources}) == 1


def test_folder_with_train_and_test_is_not_mixed(tmp_path: Path) -> None:
    for name in ("train-00000-of-00001", "test-00000-of-00001", "readme"):
        pq.write_table(table(2), tmp_path / f"{name}.parquet")
    with pytest.raises(UserError, match=r"several parts \(train, test\); give one of them, .*train\*\.parquet"):
        open_source(tmp_path)


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_plain_binary_column(tmp_path: Path, kind: pa.DataType) -> None:
    columns = {"id": [1, 2], "jpg": pa.array([blob(5), blob(6)], kind), "class": ["dog", "cat"]}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    source = open_source(tmp_path / "x.parquet")
    assert values(source) == [5, 6]
    assert source.classes == ["cat", "dog"]
    assert source.labels == [1, 0]


def test_label_in_a_dictionary_column(tmp_path: Path) -> None:
    labels = pa.array(["dog", "cat", "dog"]).dictionary_encode()
    pq.write_table(pa.table({"image": [blob(0)] * 3, "label": labels}), tmp_path / "x.parquet")
    source = open_source(tmp_path / "x.parquet")
    assert source.labels == [1, 0, 1]
    assert source.classes == ["cat", "dog"]


@pytest.mark.parametrize("labels", [[None, None, None], [-1, -1, -1], [[1], [2], [3]], [0.5, 1.0, 2.0]])
def test_labels_that_are_none(tmp_path: Path, labels: list[object]) -> None:
    pq.write_table(table(3, labels), tmp_path / "x.parquet")
    assert open_source(tmp_path / "x.parquet").labels is None


def test_images_that_are_paths(tmp_path: Path) -> None:
    write(tmp_path, "a/0.png", "a/1.png", "a/2.png")
    paths = ["a/0.png", "a/1.png", "a/2.png"]
    pq.write_table(pa.table({"file_name": paths}), tmp_path / "strings.parquet")
    rows = [{"bytes": None, "path": path} for path in paths]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    pq.write_table(pa.table({"image": pa.array(rows, kind)}), tmp_path / "structs.parquet")
    rows[1] = {"bytes": blob(9), "path": "never/read.png"}
    rows.append({"bytes": None, "path": None})
    pq.write_table(pa.table({"image": pa.array(rows, kind)}), tmp_path / "mixed.parquet")
    assert values(open_source(tmp_path / "strings.parquet")) == [0, 1, 2]
    assert values(open_source(tmp_path / "structs.parquet")) == [0, 1, 2]
    mixed = open_source(tmp_path / "mixed.parquet")
    assert values(mixed.subset([0, 1, 2])) == [0, 9, 2]
    with pytest.raises(BadImage, match="the row is empty"):
        mixed.image(3)


def test_a_list_of_images_in_a_row_is_several_images(tmp_path: Path) -> None:
    pictures = [
        [{"bytes": blob(0), "path": None}, {"bytes": blob(1), "path": None}],
        [],
        [{"bytes": blob(2), "path": None}],
    ]
    kind = pa.list_(pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    columns = {"images": pa.array(pictures, kind), "label": ["dog", "ant", "cat"]}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet", row_group_size=2)
    source = open_source(tmp_path / "x.parquet")
    assert values(source) == [0, 1, 2]
    assert source.classes == ["ant", "cat", "dog"]
    assert source.labels == [2, 2, 1]
    assert [source.where(index).rsplit(" ", 1)[1] for index in range(3)] == ["0", "0", "2"]
    assert source.notes == ("Parquet: each image of the lists in the column 'images' is read by itself",)
    pq.write_table(pa.table({"images": pa.array([[blob(5), blob(6)]])}), tmp_path / "y.parquet")
    assert values(open_source(tmp_path / "y.parquet")) == [5, 6]


def test_a_path_in_parquet_that_is_not_there_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": ["a/gone.png"]}), tmp_path / "x.parquet")
    with pytest.raises(BadImage, match=rf"^{tmp_path}/a/gone.png cannot be read: .*; paths in Parquet are relative"):
        open_source(tmp_path / "x.parquet").read(0)


@pytest.mark.parametrize("labels", [[1, None, 0], [1, -1, 0], [True, None, False]])
def test_one_label_that_is_none_leaves_the_others(tmp_path: Path, labels: list[object]) -> None:
    pq.write_table(table(3, labels), tmp_path / "x.parquet")
    assert open_source(tmp_path / "x.parquet").labels == [1, -1, 0]


def test_the_image_column_is_the_one_called_so(tmp_path: Path) -> None:
    columns = {"mask": [blob(1)], "image": [blob(2)]}
    features = {name: {"_type": "Image"} for name in columns}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), tmp_path / "x.parquet")
    assert values(open_source(tmp_path / "x.parquet")) == [2]


@pytest.mark.parametrize("metadata", [b"not json", b"{}", b'{"info": {"features": {"label": 3}}}', b"[]"])
def test_odd_metadata_is_passed_over(tmp_path: Path, metadata: bytes) -> None:
    rows = pa.table({"image": [blob(1)], "label": [4]}).replace_schema_metadata({b"huggingface": metadata})
    pq.write_table(rows, tmp_path / "x.parquet")
    source = open_source(tmp_path / "x.parquet")
    assert source.labels == [4]
    assert source.classes is None


def test_parquet_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        open_source(tmp_path / "x.parquet")
    pq.write_table(table(4), tmp_path / "y.parquet")
    whole = (tmp_path / "y.parquet").read_bytes()
    (tmp_path / "y.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        open_source(tmp_path / "y.parquet")


def test_parquet_without_images_or_rows(tmp_path: Path) -> None:
    pq.write_table(pa.table({"name": ["x"], "size": [3]}), tmp_path / "x.parquet")
    with pytest.raises(UserError, match=r"no column of images \(columns: name, size\)"):
        open_source(tmp_path / "x.parquet")
    pq.write_table(table(2).slice(0, 0), tmp_path / "y.parquet")
    with pytest.raises(UserError, match="has no rows"):
        open_source(tmp_path / "y.parquet")


def test_parquet_files_of_two_kinds(tmp_path: Path) -> None:
    pq.write_table(table(2), tmp_path / "x.parquet")
    pq.write_table(table(2, [0, 1]), tmp_path / "y.parquet")
    with pytest.raises(UserError, match="has other columns"):
        open_source(tmp_path)


@pytest.mark.skipif(
    not (DATA / "cifar10" / "test.parquet").is_file(), reason="needs cifar10/test.parquet in $BYOL_DATA"
)
def test_parquet_rows_from_many_threads() -> None:
    source = open_source(DATA / "cifar10" / "test.parquet")
    assert len(source) == 10_000
    assert source.classes is not None
    assert source.classes[:2] == ["airplane", "automobile"]
    alone = [source.read(index) for index in range(0, 10_000, 7)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(source.read, range(0, 10_000, 7)))
    assert alone == together
    rows = pq.read_table(DATA / "cifar10" / "test.parquet").slice(7000, 1).to_pylist()
    assert source.read(7000) == rows[0]["image"]["bytes"]
    assert source.labels is not None
    assert source.labels[7000] == rows[0]["label"]


# Tensors


def test_tensor_source_gives_its_images() -> None:
    images = torch.arange(5 * 3 * 2 * 2, dtype=torch.uint8).reshape(5, 3, 2, 2)
    source = TensorSource(images, [0, 1, 0, 1, 0], ["a", "b"], "mine")
    assert torch.equal(source.image(3), images[3])
    assert source.where(3) == "mine image 3"
    assert source.channels == 3
    part = source.subset(range(1, 4))
    assert isinstance(part, TensorSource)
    assert part.images.data_ptr() == images[1].data_ptr()
    assert part.labels == [1, 0, 1]
    assert torch.equal(source.subset([4, 0]).image(0), images[4])
    with pytest.raises(NotImplementedError):
        source.read(0)
    assert open_source(source) is source


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(3, 4, 4), r"shape \(3, 4, 4\)"),
        (torch.zeros(0, 3, 4, 4), "none of them 0"),
        (torch.full((1, 3, 2, 2), 255.0), r"values from 255 to 255 were given; scale them to \[0, 1\]"),
        (torch.full((1, 3, 2, 2), float("nan")), "values from nan"),
        (torch.zeros(1, 3, 2, 2, dtype=torch.int64), "images of torch.int64"),
    ],
)
def test_tensors_that_are_no_images(images: torch.Tensor, message: str) -> None:
    with pytest.raises(UserError, match=message):
        TensorSource(images)


def test_tensor_with_too_few_labels() -> None:
    with pytest.raises(UserError, match="1 labels were given for 2 images"):
        TensorSource(torch.zeros(2, 3, 4, 4), [0])


# What they share


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_floats_of_any_precision_become_float32(dtype: torch.dtype) -> None:
    images = torch.rand(4, 3, 6, 6).to(dtype)
    source = TensorSource(images)
    assert source.images.dtype == source.image(0).dtype == torch.float32
    assert torch.equal(source.images, images.float())


def test_nothing_there(tmp_path: Path) -> None:
    write(tmp_path, "photos/1.png")
    with pytest.raises(UserError, match=r"is not there; give a folder.* Did you mean 'photos'\?"):
        open_source(tmp_path / "fotos")
    with pytest.raises(UserError, match=r"Did you mean 'cifar100'\?"):
        open_source("cifar-100")
    with pytest.raises(UserError, match="matches no file"):
        open_source(f"{tmp_path}/*.parquet")
    with pytest.raises(UserError, match="matches no file"):
        open_source([])


def test_one_image_is_not_enough(tmp_path: Path) -> None:
    write(tmp_path, "1.png", "2.png")
    with pytest.raises(UserError, match="is a single image"):
        open_source(tmp_path / "1.png")
    source = open_source([tmp_path / "1.png", tmp_path / "2.png"])
    assert isinstance(source, FileSource)
    assert values(source) == [0, 1]
    assert values(open_source(f"{tmp_path}/[12].png")) == [0, 1]
    (tmp_path / "x.txt").write_text("1.png\n")
    with pytest.raises(UserError, match=r"several kinds were given \(\.png, \.txt\)"):
        open_source([tmp_path / "1.png", tmp_path / "x.txt"])


def test_a_folder_goes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "photos/1.png")
    monkeypatch.chdir(tmp_path)
    assert len(open_source("photos")) == 1
    with pytest.raises(UserError, match="is not there"):
        open_source("no/photos")


def test_fingerprint_moves_with_the_data_and_notices_changes(tmp_path: Path) -> None:
    write(tmp_path / "here", "cat/1.png", "dog/2.png")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    first = open_source(tmp_path / "here").fingerprint()
    assert first == open_source(tmp_path / "there").fingerprint()
    (tmp_path / "there" / "dog" / "2.png").rename(tmp_path / "there" / "cat" / "2.png")
    (tmp_path / "there" / "dog" / "3.png").write_bytes(blob(1))
    assert first != open_source(tmp_path / "there").fingerprint()
    (tmp_path / "here" / "cat" / "1.png").write_bytes(blob(1) + b"x")
    assert first != open_source(tmp_path / "here").fingerprint()


def test_fingerprint_of_tensors_notices_a_pixel() -> None:
    images = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    first = TensorSource(images.clone(), [0, 1]).fingerprint()
    assert first == TensorSource(images.clone(), [0, 1]).fingerprint()
    assert first != TensorSource(images.clone(), [1, 0]).fingerprint()
    images[1, 0, 2, 2] = 1
    assert first != TensorSource(images, [0, 1]).fingerprint()


@pytest.fixture(scope="module")
def all_kinds(tmp_path_factory: pytest.TempPathFactory) -> list[Source]:
    """The same ten labeled images as each kind of source."""
    root = tmp_path_factory.mktemp("kinds")
    names = [f"{'ab'[number % 2]}/{number}.png" for number in range(10)]
    write(root / "folder", *names)
    (root / "folder" / "list.txt").write_text("".join(f"{name}\t{name[0]}\n" for name in names))
    pq.write_table(table(10, [number % 2 for number in range(10)], ["a", "b"]), root / "x.parquet", row_group_size=3)
    images = torch.stack([decode(blob(number)) for number in range(10)])
    return [
        open_source(root / "folder"),
        open_source(root / "folder" / "list.txt"),
        open_source(root / "x.parquet"),
        TensorSource(images, [number % 2 for number in range(10)], ["a", "b"]),
    ]


@settings(deadline=None, max_examples=50)
@given(
    st.integers(0, 3),
    st.lists(st.integers(0, 9), min_size=1, max_size=12).flatmap(
        lambda outer: st.tuples(
            st.just(outer), st.lists(st.integers(0, len(outer) - 1), min_size=1, max_size=len(outer))
        )
    ),
)
def test_subsets_agree_with_their_base(all_kinds: list[Source], kind: int, chosen: tuple[list[int], list[int]]) -> None:
    base = all_kinds[kind]
    outer, inner = chosen
    part = base.subset(outer).subset(inner)
    assert len(part) == len(inner)
    assert part.channels == base.channels
    assert part.classes == base.classes
    assert base.labels is not None
    for number, index in enumerate(inner):
        assert torch.equal(part.image(number), base.image(outer[index]))
        assert part.labels is not None
        assert part.labels[number] == base.labels[outer[index]]
        assert part.header(number) == base.header(outer[index])
        if not isinstance(base, TensorSource):
            assert part.where(number) == base.where(outer[index])
            assert part.read(number) == base.read(outer[index])
    assert part.fingerprint() == base.subset([outer[index] for index in inner]).fingerprint()


def test_all_kinds_hold_the_same_images(all_kinds: list[Source]) -> None:
    for source in all_kinds:
        assert source.labels is not None
        pairs = sorted(zip(values(source), source.labels, strict=True))
        assert pairs == [(number, number % 2) for number in range(10)]
        assert repr(source).endswith("10 images)")


def test_subsets_of_other_images_have_another_fingerprint(all_kinds: list[Source]) -> None:
    for source in all_kinds:
        assert source.subset([1, 2]).fingerprint() != source.subset([2, 1]).fingerprint()
        with pytest.raises(AssertionError):
            source.subset([10])


@given(st.integers(1, 5000), st.integers(1, 200))
def test_evenly(count: int, sample: int) -> None:
    chosen = evenly(count, sample)
    assert len(chosen) == min(count, sample)
    assert chosen == sorted(set(chosen))
    assert chosen[0] == 0
    if sample > 1:
        assert chosen[-1] == count - 1


def test_nearest() -> None:
    assert nearest("resnet81", ["resnet18", "vit"]) == " Did you mean 'resnet18'?"
    assert nearest("CIFAR10", ["cifar10"]) == " Did you mean 'cifar10'?"
    assert nearest("zebra", ["resnet18", "vit"]) == ""
    assert nearest("x", []) == ""
