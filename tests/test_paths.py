"""Paths in few bytes, and what lies below a folder: the same names in the same order as lists of strings."""

import os
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from byol.data.formats.registry import container_of, single_image_ends
from byol.data.sources.files import FileSource
from byol.data.sources.listing import list_images
from byol.data.sources.paths import Paths
from byol.data.sources.subset import Subset
from byol.errors import UserError
from test_sources import blob, write

NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=()), min_size=1, max_size=5)


@given(st.lists(st.lists(NAMES, min_size=1, max_size=3).map("/".join)))
def test_paths_are_those_that_were_given(paths: list[str]) -> None:
    """Of any characters, lone surrogates among them, in any order."""
    kept = Paths.of(paths)
    assert list(kept) == paths
    assert [kept[index] for index in range(len(kept))] == paths
    assert [kept.folders[number] for number in kept.folder_of] == [path[: path.rfind("/") + 1] for path in paths]
    backward = kept.take(np.arange(len(paths), dtype=np.int64)[::-1])
    assert list(backward) == paths[::-1]


@pytest.mark.parametrize("path", ["/absolute/1.png", "../beside/1.png", "a//b/./1.png", "1.png", "a/"])
def test_paths_stay_as_they_are_written(path: str) -> None:
    assert list(Paths.of([path, path])) == [path, path]


def test_a_million_paths_take_few_bytes() -> None:
    folders = [f"class_{number:04d}/" for number in range(1000)]
    names = [f"photo_{number:07d}.jpg".encode() for number in range(1000)]
    paths = Paths.of_folders((folder, names) for folder in folders)
    assert (len(paths), paths[999_999]) == (1_000_000, "class_0999/photo_0000999.jpg")
    held = sum(sys.getsizeof(part) for part in (paths._names, paths.folders)) + sum(
        part.nbytes for part in (paths._starts, paths._sizes, paths.folder_of)
    )
    assert held < (16 + 17 + 3) * 1_000_000, "16 bytes and the name each; and a bytearray that has grown"


def test_a_listing_is_in_the_order_of_whole_paths(tmp_path: Path) -> None:
    """`a-1/x` comes before `a/x`, and files lie between folders."""
    names = [
        "a/b/2.png",
        "a/b.png",
        "a/b-1.png",
        "a-1/x.png",
        "a.png",
        "b.png",
        "a/c.png",
        "a/b/1.png",
        "0.PNG",
        "é/ü.png",
    ]
    write(tmp_path, *names)
    write(tmp_path, ".hidden.png", "a/.x/1.png", "@eaDir/1.png", "c/@eaDir/2.png")
    (tmp_path / "a" / "b" / "x.doc").write_text("")
    (tmp_path / "notes").write_text("")
    found = list_images(tmp_path)
    assert list(found.paths) == sorted(names)
    assert found.others == Counter({".doc": 1, "": 1})


def test_names_of_any_bytes_are_listed(tmp_path: Path) -> None:
    try:
        (Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))).write_bytes(blob(3))
    except OSError:
        pytest.skip("this file system has names in UTF-8 only")
    source = FileSource("x", tmp_path, list_images(tmp_path).paths)
    assert list(source.paths) == ["caf\udce9.png"]
    assert source.read(0) == blob(3)


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the folder '.*gone' cannot be read"):
        list_images(tmp_path / "gone")


def test_ends_of_names_that_tell_a_single_image() -> None:
    ends = single_image_ends()
    assert {".jpg", ".JPG", ".png", ".tif"} <= ends
    assert not {".dcm", ".nii", ".gz", ".nii.gz", ".mp4", ".svs"} & ends
    for end in ends:
        assert container_of(f"photo{end}") is None


def test_a_subset_has_the_labels_and_groups_of_its_images(tmp_path: Path) -> None:
    write(tmp_path, "0.png", "1.png", "2.png", "3.png")
    source = FileSource("x", tmp_path, [f"{number}.png" for number in range(4)], [5, 6, 7, 8])
    source.groups = [1, 1, 2, 2]
    some = source.subset([3, 0, 3]).subset((2, 1))
    assert isinstance(some, Subset)
    assert (some.labels, some.groups) == ([8, 5], [2, 1])
    assert [Path(some.where(index)).name for index in range(2)] == ["3.png", "0.png"]
    assert len(source.subset([])) == 0
    for wrong in ([4], [-1]):
        with pytest.raises(AssertionError, match=r"must lie in \[0, 4\)"):
            source.subset(wrong)
