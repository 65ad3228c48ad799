"""Tar archives: what is an image, which label it has, and that nothing in them is trusted."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import byol
from byol.data.sources.open import TarSource, open_source
from byol.data.sources.parts import SeveralParts
from byol.data.sources.tar import braces
from byol.errors import BadImage, UserError
from conftest import TINY


def png(number: int, side: int = 8) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), number, dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def tar(path: Path, members: dict[str, bytes | str], form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as archive:
        for name, content in members.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("BYOL_HOME", str(home))
    return home


def values(source: Any) -> list[int]:
    return [int(source.image(index)[0, 0, 0]) for index in range(len(source))]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_samples_of_webdataset_have_their_labels(form: int, tmp_path: Path) -> None:
    first = {"a/000.cls": "3", "a/000.png": png(10), "a/001.png": png(11), "a/001.cls": "0\n", "a/001.json": "{}"}
    second = {"a/002.jpg.txt": "not a label", "a/002.png": png(12), "a/002.cls": "7"}
    tar(tmp_path / "train-0.tar", first, form)
    tar(tmp_path / "train-1.tar", second, form)
    for data in (tmp_path, str(tmp_path / "train-*.tar"), str(tmp_path / "train-{0..1}.tar")):
        source = open_source(data, 3)
        assert isinstance(source, TarSource)
        assert values(source) == [10, 11, 12]
        assert (source.labels, source.classes, source.labels_from) == ([3, 0, 7], None, "the members .cls")
    assert source.where(2) == f"{tmp_path / 'train-1.tar'} member a/002.png"
    assert source.stored_bytes(0) == len(png(10))


def test_labels_in_json_are_names_before_numbers(tmp_path: Path) -> None:
    said = [{"label": 4, "class": "cat"}, {"class": "dog", "label": 5}, {"caption": "?"}, {"class": "cat"}]
    members: dict[str, bytes | str] = {}
    for number, one in enumerate(said):
        members |= {f"{number}.png": png(number), f"{number}.json": json.dumps(one)}
    source = open_source(tar(tmp_path / "x.tar", members), 3)
    assert (source.labels, source.classes) == ([0, 1, -1, 0], ["cat", "dog"])


@pytest.mark.parametrize(("texts", "labels"), [(["a", "b", "a", "b"], [0, 1, 0, 1]), (["a", "b", "c", "d"], None)])
def test_texts_are_labels_only_where_few_differ(texts: list[str], labels: list[int] | None, tmp_path: Path) -> None:
    members: dict[str, bytes | str] = {}
    for number, text in enumerate(texts):
        members |= {f"{number}.png": png(number), f"{number}.txt": text}
    assert open_source(tar(tmp_path / "x.tar", members), 3).labels == labels


def test_an_archive_of_nothing_but_images_has_all_of_them_and_folders_are_classes(tmp_path: Path) -> None:
    names = ["cat/IMG.2020.png", "cat/IMG.2021.png", "dog/1.PNG", "dog/readme.md"]
    source = open_source(tar(tmp_path / "x.tar", {name: png(i) for i, name in enumerate(names)}), 3)
    assert values(source) == [0, 1, 2]
    assert (source.labels, source.classes) == ([0, 0, 1], ["cat", "dog"])
    assert source.remark == ""


def test_of_a_labeled_sample_with_several_images_the_first_counts_and_it_is_said(tmp_path: Path) -> None:
    members = {"0.left.png": png(1), "0.right.png": png(2), "0.cls": "1", "1.left.png": png(3), "1.cls": "2"}
    source = open_source(tar(tmp_path / "x.tar", members), 3)
    assert values(source) == [1, 3]
    assert source.labels == [1, 2]
    assert source.remark == "1 images are not read, because their samples have another one before them"


def test_a_readme_is_no_label_and_names_may_be_of_any_bytes(tmp_path: Path) -> None:
    names = {f"IMG_2020.01.0{number}.png": png(number) for number in range(4)}
    source = open_source(tar(tmp_path / "x.tar", {"README.txt": "a text", **names}), 3)
    assert values(source) == [0, 1, 2, 3]
    assert source.labels is None
    old = tar(tmp_path / "y.tar", {"caf\udce9.png": png(7)}, tarfile.GNU_FORMAT)
    for _ in range(2):  # from its headers, and from what was kept
        assert values(open_source(old, 3)) == [7]


def test_a_shard_without_labels_takes_none_from_the_others(tmp_path: Path) -> None:
    tar(tmp_path / "0.tar", {"0.png": png(0), "0.cls": "2"})
    tar(tmp_path / "1.tar", {"1.png": png(1)})
    assert open_source(tmp_path, 3).labels == [2, -1]
    members: dict[str, bytes | str] = {}
    for number in range(6):
        members |= {f"{number}.png": png(number), f"{number}.json": f'{{"class": "c{number}"}}'}
    source = open_source(tar(tmp_path / "many.tar", members), 3)
    assert source.labels == [0, 1, 2, 3, 4, 5], "a class of its own each, as it is said"


def test_only_plain_files_count_and_names_are_no_paths(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, kind in (("a.png", tarfile.SYMTYPE), ("b.png", tarfile.LNKTYPE), ("c.png", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "elsewhere.png"
            archive.addfile(info)
        for name in ("../up.png", "plain.png"):
            info = tarfile.TarInfo(name)
            info.size = len(png(5))
            archive.addfile(info, io.BytesIO(png(5)))
    source = open_source(tmp_path / "x.tar", 3)
    assert len(source) == 2
    assert values(source) == [5, 5]
    assert [path.name for path in tmp_path.iterdir()] == ["x.tar"], "nothing is unpacked"


def test_the_index_is_kept_and_made_anew_when_the_archive_changes(tmp_path: Path, home: Path) -> None:
    path = tar(tmp_path / "x.tar", {"0.png": png(1), "0.cls": "5"})
    before = open_source(path, 3)
    (kept,) = (home / "tar").iterdir()
    again = open_source(path, 3)
    assert values(again) == [1]
    assert (again.labels, again.fingerprint()) == ([5], before.fingerprint())
    tar(path, {"0.png": png(1), "0.cls": "6", "1.png": png(2), "1.cls": "7"})
    changed = open_source(path, 3)
    assert (values(changed), changed.labels) == ([1, 2], [6, 7])
    assert changed.fingerprint() != before.fingerprint()
    kept.write_bytes(b"torn")
    assert values(open_source(path, 3)) == [1, 2]


def test_what_is_no_whole_archive_is_refused(tmp_path: Path) -> None:
    path = tar(tmp_path / "x.tar", {"0.png": png(1), "1.png": png(2, 64)})
    whole = path.read_bytes()
    path.write_bytes(whole[:1600])
    with pytest.raises(UserError, match="is cut short"):
        open_source(path)
    path.write_bytes(whole[:1024])  # after the first image, where a member ends
    with pytest.raises(UserError, match="is cut short or damaged"):
        open_source(path)
    damaged = bytearray(whole)
    damaged[1024 + 150] ^= 0xFF  # in the header of the second image
    path.write_bytes(damaged)
    with pytest.raises(UserError, match="is cut short or damaged"):
        open_source(path)
    path.write_bytes(b"no archive at all" * 100)
    with pytest.raises(UserError, match="is no tar archive"):
        open_source(path)
    with tarfile.open(tmp_path / "y.tar.gz", "w:gz") as archive:
        archive.add(__file__)
    with pytest.raises(UserError, match=r"is compressed \(gzip\)"):
        open_source(tmp_path / "y.tar.gz")
    with pytest.raises(UserError, match="holds no images"):
        open_source(tar(tmp_path / "z.tar", {"a.txt": "b"}))
    with pytest.raises(UserError, match="cannot be read"):
        open_source(str(tmp_path / "none-{0..3}.tar"))
    path.write_bytes(whole)
    source = open_source(path, 3)
    path.write_bytes(whole[:600])
    with pytest.raises(BadImage, match="cut short"):
        source.read(1)


def test_training_and_test_shards_in_one_folder_are_parts(tmp_path: Path) -> None:
    for name in ("train-0", "train-1", "test-0"):
        tar(tmp_path / f"{name}.tar", {"0.png": png(1)})
    with pytest.raises(SeveralParts) as found:
        open_source(tmp_path)
    assert found.value.training == str(tmp_path / "train*.tar")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a-{08..11}.tar", ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]),
        ("{0..1}", ["0", "1"]),
        ("a{b}.tar", ["a{b}.tar"]),
        ("plain.tar", ["plain.tar"]),
        ("a{1..x}", ["a{1..x}"]),
    ],
)
def test_ranges_in_braces(text: str, names: list[str]) -> None:
    assert list(braces(text)) == names


def test_a_run_on_shards_is_that_on_the_folder_and_resumes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    (tmp_path / "folder").mkdir()
    members = {}
    for number in range(64):
        data = io.BytesIO()
        Image.fromarray(torch.randint(0, 256, (20, 20, 3), dtype=torch.uint8).numpy()).save(data, "PNG")
        (tmp_path / "folder" / f"{number:03d}.png").write_bytes(data.getvalue())
        members[f"{number:03d}.png"] = data.getvalue()
    tar(tmp_path / "0.tar", dict(list(members.items())[:40]))
    tar(tmp_path / "1.tar", dict(list(members.items())[40:]))
    settings: dict[str, Any] = {**TINY, "quiet": True, "epochs": 1, "data__memory": "never"}
    byol.pretrain(tmp_path / "folder", out=tmp_path / "a", **settings)
    byol.pretrain(str(tmp_path / "[01].tar"), out=tmp_path / "b", **settings)
    assert (tmp_path / "a/encoder.safetensors").read_bytes() == (tmp_path / "b/encoder.safetensors").read_bytes()
