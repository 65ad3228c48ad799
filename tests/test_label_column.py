"""Labels in columns of Parquet: whole numbers in any type, missing ones, and files with names of their own."""

import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import byol
from byol.cli.main import main
from byol.data.sources.label_column import Column, read_labels
from byol.data.sources.open import Source, open_source
from byol.errors import UserError
from byol.evals.labels import labeled_parts
from conftest import TINY, picture


def encoded(tmp_path: Path, number: int) -> bytes:
    file = tmp_path / f".{number}.png"
    picture(number, 20, 20).save(file)
    return file.read_bytes()


def table(tmp_path: Path, labels: list[Any], names: list[str] | None = None, *, first: int = 0) -> pa.Table:
    """A row per label, each with another picture."""
    columns = {"image": [encoded(tmp_path, first + row) for row in range(len(labels))], "label": labels}
    features = {"label": {"_type": "ClassLabel", "names": names}} if names else {}
    return pa.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def opened(tmp_path: Path, *parts: tuple[list[Any], list[str] | None]) -> Source:
    """A data set of so many files."""
    for number, (labels, names) in enumerate(parts):
        pq.write_table(table(tmp_path, labels, names, first=10 * number), tmp_path / f"{number}.parquet")
    return open_source(tmp_path)


@pytest.mark.parametrize(
    ("stored", "labels"),
    [
        ([0.0, 2.0, 1.0], [0, 2, 1]),
        ([0.0, None, 1.0], [0, -1, 1]),
        ([3.0, math.nan, -1.0], [3, -1, -1]),
        ([True, False, True], [1, 0, 1]),
        ([True, None, False], [1, -1, 0]),
        ([Decimal("2"), Decimal("1"), None], [2, 1, -1]),
        ([5, None, -1, 7], [5, -1, -1, 7]),
        (["dog", None, "cat", ""], [1, -1, 0, -1]),
        (["10", "9", None], [1, 0, -1]),
    ],
)
def test_a_column_of_labels_of_any_type(tmp_path: Path, stored: list[Any], labels: list[int]) -> None:
    source = opened(tmp_path, (stored, None))
    assert source.labels == labels
    assert source.labels_from == "the column 'label'"


def test_numbers_below_minus_one_are_classes_of_their_own(tmp_path: Path) -> None:
    source = opened(tmp_path, ([-2, 4, -1, -2], None))
    assert (source.labels, source.classes) == ([0, 1, -1, 0], ["-2", "4"])


@pytest.mark.parametrize(
    ("stored", "remark"),
    [
        ([0.5, 1.0], "the column 'label' has numbers that are not whole, such as 0.5, so it is no label"),
        ([-1, -1], "the column 'label' gives no image a label"),
        ([math.nan, None], "the column 'label' gives no image a label"),
    ],
)
def test_why_a_column_has_no_labels_is_told(tmp_path: Path, stored: list[Any], remark: str) -> None:
    source = opened(tmp_path, (stored, None))
    assert (source.labels, source.remark) == (None, remark)
    with pytest.raises(UserError, match=r"has no labels, or one class only \(the column"):
        labeled_parts(source, source)


@pytest.mark.parametrize(
    ("columns", "chosen"),
    [
        ({"label": [0.25, 0.5], "class": ["cat", "dog"]}, "class"),
        ({"label": [1.0, None], "y": [7, 9]}, "label"),
        ({"label": [True, False], "y": [7, 9]}, "label"),
        ({"y": [7, 9], "target": [math.nan, None]}, "y"),
    ],
)
def test_of_several_columns_the_first_that_has_labels_is_taken(
    columns: dict[str, Any], chosen: str, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"image": [encoded(tmp_path, 0)] * 2, **columns}), tmp_path / "x.parquet")
    assert open_source(tmp_path / "x.parquet").labels_from == f"the column {chosen!r}"


def test_files_that_number_the_same_names_in_another_order_are_joined_by_name(tmp_path: Path) -> None:
    source = opened(tmp_path, ([0, 1], ["cat", "ant"]), ([0, 1], ["ant", "cat"]), ([1, 0], ["bee", "cat"]))
    assert source.classes == ["ant", "bee", "cat"]
    assert [source.classes[label] for label in source.labels or ()] == ["cat", "ant", "ant", "cat", "cat", "bee"]


def test_files_with_the_same_names_keep_their_order(tmp_path: Path) -> None:
    source = opened(tmp_path, ([0, 1], ["cat", "ant"]), ([1, 1], ["cat", "ant"]))
    assert (source.labels, source.classes) == ([0, 1, 1, 1], ["cat", "ant"])


def test_names_that_spell_numbers_are_joined_with_numbers(tmp_path: Path) -> None:
    source = opened(tmp_path, ([10, 2], None), ([0, 1], ["2", "10"]))
    assert (source.labels, source.classes) == ([10, 2, 2, 10], None)


def test_names_in_one_file_and_numbers_in_another_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"0\.parquet' numbers its classes and other files .* such as 'ant', so nobody"):
        opened(tmp_path, ([0, 1], None), ([0, 1], ["cat", "ant"]))


@given(st.lists(st.one_of(st.none(), st.integers(-1, 30)), min_size=1), st.sampled_from([int, float, Decimal]))
def test_the_type_of_a_number_does_not_matter(values: list[int | None], kind: type) -> None:
    stored = [None if value is None else kind(value) for value in values]
    expected = [-1 if value is None else value for value in values]
    found = read_labels("label", [Column("x", stored, None)])
    assert found.labels == (None if set(expected) == {-1} else expected)


def test_evaluations_leave_out_what_has_no_label_and_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = [1.0, 2.0, None, 12.0] * 5
    for part, first in (("train", 0), ("test", 100)):
        pq.write_table(table(tmp_path, labels, first=first), tmp_path / f"{part}.parquet")
    train, test = (open_source(tmp_path / f"{part}.parquet") for part in ("train", "test"))
    parts = labeled_parts(train, test)
    assert parts.classes == ["1", "2", "12"]
    assert parts.train.labels == parts.test.labels == [0, 1, 2] * 5
    assert [parts.train.images.where(index).split()[-1] for index in range(4)] == ["0", "1", "3", "4"]
    arguments = [f"--{part}={tmp_path / part}.parquet" for part in ("train", "test")]
    with pytest.raises(SystemExit, match="0"):
        main(["eval", "knn", "pixels@8", *arguments, "--k", "1", "--features.no-cache"])
    said = capsys.readouterr().out
    assert f"5 of 20 images of {tmp_path / 'train'}.parquet have no label and are left out." in said
    assert "top1_k1" in said


def test_a_run_reads_the_labeled_images_of_a_column_with_gaps(tmp_path: Path) -> None:
    labels = [number % 3 + 1 if number % 4 else None for number in range(48)]
    pq.write_table(table(tmp_path, labels), tmp_path / "x.parquet")
    found = byol.pretrain(tmp_path / "x.parquet", recipe="cifar10-cpu", out=tmp_path / "run", quiet=True, **TINY)
    said = (tmp_path / "run" / "log.txt").read_text()
    assert "labels: 3 classes from the column 'label'; 36 of 48 images have one" in said
    assert found.reading is not None
    assert found.reading.queries == 36
