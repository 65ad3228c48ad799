"""Lists of images as people write them: headers, commas, blanks, quotes, columns too many, labels that are none."""

from pathlib import Path

import pytest
from PIL import Image

from byol.data.labeling import Labeling, label_images
from byol.data.sources.open import Source, open_source
from byol.errors import UserError

NAMES = ("a/1.png", "a/2.png", "with space.png", "com,ma.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a").mkdir()
    for number, name in enumerate(NAMES):
        Image.new("L", (4, 4), number).save(tmp_path / name)
    return tmp_path


def opened(folder: Path, text: str, name: str = "labels.csv") -> Source:
    (folder / name).write_text(text, encoding="utf-8")
    return open_source(folder / name)


def named(source: Source) -> list[tuple[int, str | None]]:
    """The value of each image, and the name of its label."""
    assert source.labels is None or source.classes is not None
    values = [int(source.image(index)[0, 0, 0]) for index in range(len(source))]
    labels = source.labels or [-1] * len(source)
    return [
        (value, source.classes[label] if label >= 0 and source.classes else None)
        for value, label in zip(values, labels, strict=True)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("path,label\na/1.png,dog\na/2.png,cat\n", [(0, "dog"), (1, "cat")]),
        ("Label;File\ndog;a/1.png\ncat;a/2.png\n", [(0, "dog"), (1, "cat")]),
        ("path\tlabel\na/1.png\tdog\na/2.png\tcat\n", [(0, "dog"), (1, "cat")]),
        ("a/1.png,dog\na/2.png,cat\n", [(0, "dog"), (1, "cat")]),
        ("a/1.png dog\na/2.png cat\n", [(0, "dog"), (1, "cat")]),
        ("with space.png 7\na/2.png 3\n", [(2, "7"), (1, "3")]),
        ('"with space.png",dog\n"com,ma.png",cat\n', [(2, "dog"), (3, "cat")]),
        ('path,label\n"com,ma.png",dog\nwith space.png,cat\n', [(3, "dog"), (2, "cat")]),
        ("com,ma.png\nwith space.png\n", [(3, None), (2, None)]),
        ("a/1.png\tdog\nwith space.png\tcat\n", [(0, "dog"), (2, "cat")]),
        ("path,label\na/1.png,dog\na/2.png,\nwith space.png,-1\n", [(0, "dog"), (1, None), (2, None)]),
        ("a/1.png\tdog\na/2.png\t\nwith space.png\t-1\n", [(0, "dog"), (1, None), (2, None)]),
        ("a/1.png\tdog\tP01\na/2.png\tcat\tP02\n", [(0, "dog"), (1, "cat")]),
        ("filename,width,height,class,label\na/1.png,4,4,dog,1\na/2.png,4,4,cat,0\n", [(0, "1"), (1, "0")]),
        ("file_name,category\na/1.png,dog\na/2.png,cat\n", [(0, "dog"), (1, "cat")]),
        ("path\na/1.png\na/2.png\n", [(0, None), (1, None)]),
        ("path,width\na/1.png,4\na/2.png,4\n", [(0, None), (1, None)]),
        ('a/1.png,"dog\na/2.png,cat\n', [(0, "dog"), (1, "cat")]),
    ],
)
def test_a_list_is_read_as_a_person_expects(folder: Path, text: str, expected: list[tuple[int, str | None]]) -> None:
    assert named(opened(folder, text)) == expected


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("path,label\na/1.png,dog\na/2.png,cat\n", ()),
        ("path,label,fold\na/1.png,dog,1\na/2.png,cat,2\n", ("list: the columns fold are not read",)),
        ("a/1.png\tdog\tP01\na/2.png\tcat\tP02\n", ("list: a label is in the second column; 1 more are not read",)),
    ],
)
def test_columns_that_are_not_read_are_told(folder: Path, text: str, note: tuple[str, ...]) -> None:
    assert opened(folder, text).notes == note


def test_labels_that_are_all_none_are_told(folder: Path) -> None:
    source = opened(folder, "path,label\na/1.png,\na/2.png,-1\n")
    assert (source.labels, source.remark) == (None, "no line of the list gives a label")


def test_a_list_of_nothing_says_where_a_label_goes(folder: Path) -> None:
    with pytest.raises(UserError, match=r"relative to '.*', and after a tab or a comma its label, if any"):
        opened(folder, "b/1.png,dog\nb/2.png,cat\n")
    with pytest.raises(UserError, match="names no image"):
        opened(folder, "path\n\n")


@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_the_same_file_labels_a_folder_in_part(folder: Path, sign: str) -> None:
    rows = ["id,label,path,other", "1,dog,a/1.png,x", "2,cat,with space.png,y", "3,-1,a/2.png,z"]
    (folder / "labels.csv").write_text("\n".join(row.replace(",", sign) for row in rows))
    images = label_images(open_source(folder), None, Labeling(labels=folder / "labels.csv"))
    assert len(images.source) == 4, "the others are trained on"
    assert sorted(named(images.source)) == [(0, "dog"), (1, None), (2, "cat"), (3, None)]
    assert images.notes == ("labels: 2 classes from labels.csv: cat, dog; 2 of 4 images have one",)
