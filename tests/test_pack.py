"""Packing images into shards: what is in them, that nothing changes on the way, and that a stopped pack goes on."""

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from byol.cli.main import main
from byol.config.reading import ReadingConfig
from byol.data import pack as packing
from byol.data.axes import axes_as
from byol.data.pack import pack
from byol.data.reading import reading_as
from byol.data.sources.open import TensorSource, open_source
from byol.data.sources.relabeled import Labels, relabeled
from byol.errors import UserError


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYOL_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes: JPEG of 40 x 30 px, PNG, BMP, a 16-bit array, and a file that is no image."""
    random = np.random.RandomState(0)
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
    for number in range(4):
        picture = Image.fromarray(random.randint(0, 256, (30, 40, 3)).astype(np.uint8))
        picture.save(tmp_path / "images" / "cat" / f"{number}.jpg")
        picture.save(tmp_path / "images" / "dog" / f"{number}.{'png' if number % 2 else 'bmp'}")
    np.save(tmp_path / "images" / "cat" / "deep.npy", random.randint(0, 65536, (30, 20, 3)).astype(np.uint16))
    (tmp_path / "images" / "dog" / "broken.png").write_bytes(b"no picture")
    return tmp_path / "images"


def members(out: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for path in sorted(out.glob("*.tar")):
        with tarfile.open(path) as archive:
            for member in archive:
                data = archive.extractfile(member)
                assert data is not None
                found[member.name] = data.read()
    return found


def test_packed_images_are_those_of_the_folder(folder: Path, tmp_path: Path) -> None:
    source = open_source(folder, 3)
    packed = pack(source, tmp_path / "out", shard_mib=0.01)
    assert (packed.images, packed.unreadable) == (9, 1)
    assert packed.shards == len(list((tmp_path / "out").glob("shard-*.tar"))) > 1
    again = open_source(tmp_path / "out", 3)
    readable = [index for index in range(len(source)) if "broken" not in source.where(index)]
    assert len(again) == len(readable)
    for index, original in enumerate(readable):
        assert torch.equal(again.image(index), source.image(original)), source.where(original)
    assert source.labels is not None
    assert again.classes == source.classes == ["cat", "dog"]
    assert again.labels == [source.labels[index] for index in readable]
    found = members(tmp_path / "out")
    first = readable[0]
    assert found[f"{first:09d}.jpg"] == Path(source.where(first)).read_bytes(), "a JPEG file stays as it is"
    about = json.loads(found[f"{first:09d}.json"])
    assert about == {"name": "cat/0.jpg", "label": 0, "class": "cat"}
    assert {name.rpartition(".")[2] for name in found} == {"jpg", "png", "npy", "json"}
    (line,) = (tmp_path / "out" / "unreadable.txt").read_text().splitlines()
    assert line.startswith(str(folder / "dog" / "broken.png: "))


def test_images_are_shrunk_by_their_shorter_side(folder: Path, tmp_path: Path) -> None:
    pack(open_source(folder, 3), tmp_path / "out", side=24)
    again = open_source(tmp_path / "out", 3)
    sizes = {tuple(again.image(index).shape[1:]) for index in range(len(again))}
    assert sizes == {(24, 32), (30, 20)}, "40 x 30 becomes 32 x 24, and what is small enough stays"
    plain = Image.new("RGB", (64, 64), (10, 200, 30))
    (tmp_path / "plain").mkdir()
    plain.save(tmp_path / "plain" / "a.png")
    pack(open_source(tmp_path / "plain", 3), tmp_path / "plain-out", side=16)
    small = open_source(tmp_path / "plain-out", 3).image(0)
    assert torch.equal(small, torch.tensor([10, 200, 30], dtype=torch.uint8).view(3, 1, 1).expand(3, 16, 16))


def test_deep_values_keep_all_their_bits(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    np.save(tmp_path / "in" / "a.npy", values)
    pack(open_source(tmp_path / "in"), tmp_path / "out")
    stored = members(tmp_path / "out")["000000000.npy"]
    np.testing.assert_array_equal(np.load(io.BytesIO(stored)).squeeze(), values)


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize("shape", [(12, 14, 20), (40, 30, 64), (20, 20, 20)])
def test_more_channels_than_an_array_tells_are_kept(shape: tuple[int, int, int], dtype: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    values = random.random(shape).astype("f4") if dtype == "f4" else random.integers(0, 255, shape).astype(dtype)
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "a.npy", values)
    with axes_as("hwc"):
        pack(open_source(tmp_path / "in"), tmp_path / "out")
    again = open_source(tmp_path / "out")
    assert list(members(tmp_path / "out")) == ["000000000.tif", "000000000.json"]
    assert again.channels == shape[2]
    white = {"u1": 1, "u2": 65535, "f4": 1}[dtype]
    expected = torch.from_numpy(
        values.transpose(2, 0, 1).astype("u1" if dtype == "u1" else "f4") / np.array(white, "f4")
    )
    assert torch.equal(again.image(0), expected.to(torch.uint8) if dtype == "u1" else expected)


def test_groups_are_kept(folder: Path, tmp_path: Path) -> None:
    source = open_source(folder, 3)
    groups = [index // 3 if index else -1 for index in range(len(source))]
    grouped = relabeled(source, replace(Labels.of(source), groups=groups))
    pack(grouped, tmp_path / "out", shard_mib=0.01)
    again = open_source(tmp_path / "out", 3)
    readable = [index for index in range(len(source)) if "broken" not in source.where(index)]
    assert again.groups == [groups[index] for index in readable]
    assert again.groups_from == "the members .json"
    with pytest.raises(UserError, match="with other settings"):
        pack(source, tmp_path / "out", shard_mib=0.01)
    pack(source, tmp_path / "plain")
    assert open_source(tmp_path / "plain", 3).groups is None


def test_labels_groups_and_axes_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    for number in range(4):
        np.save(tmp_path / "in" / f"{number}.npy", np.full((3, 30, 40), number, dtype=np.uint8))
    rows = "".join(f"{number}.npy,{'ab'[number % 2]},P{number // 2}\n" for number in range(4))
    (tmp_path / "about.csv").write_text(f"path,label,patient\n{rows}")
    about = str(tmp_path / "about.csv")
    command = ["pack", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--data.axes", "dhw"]
    with pytest.raises(SystemExit) as ended:
        main([*command, "--labels", about, "--groups", about])
    assert ended.value.code == 0
    again = open_source(tmp_path / "out")
    assert again.channels == 1, "the first plane of each"
    assert [int(again.image(index)[0, 0, 0]) for index in range(4)] == [0, 1, 2, 3]
    assert (again.labels, again.classes, again.groups) == ([0, 1, 0, 1], ["a", "b"], [0, 0, 1, 1])
    with pytest.raises(SystemExit) as ended:
        main([*command[:-1], "chw", "--labels", about, "--groups", about])
    assert ended.value.code == 2, "these are other images"


def test_the_reading_of_the_command(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel", reason="NIfTI takes nibabel")
    (tmp_path / "in").mkdir()
    values = np.random.default_rng(0).integers(0, 1000, (20, 24, 5)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([1.0, 1.0, 2.0, 1.0])), tmp_path / "in" / "sub-01_T1w.nii")
    for axis, count in (("axial", 5), ("sagittal", 20)):
        with pytest.raises(SystemExit) as ended:
            main(["pack", str(tmp_path / "in"), "--out", str(tmp_path / axis), "--data.reading.slices", axis])
        assert ended.value.code == 0
        with reading_as(ReadingConfig(slices=axis)):  # type: ignore[arg-type]
            source = open_source(tmp_path / "in")
        again = open_source(tmp_path / axis)
        assert len(again) == len(source) == count
        for index in range(count):
            assert torch.allclose(again.image(index), source.image(index).float(), atol=1 / 65535)


def test_a_stopped_pack_goes_on_to_the_same_bytes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(folder, 3)
    pack(source, tmp_path / "whole", shard_mib=0.01)
    write, written = packing._write_shard, []

    def stops(source: Any, path: Path, *others: Any) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        write(source, path, *others)

    with monkeypatch.context() as patched:
        patched.setattr(packing, "_write_shard", stops)
        with pytest.raises(KeyboardInterrupt):
            pack(source, tmp_path / "cut", shard_mib=0.01)
    before = {path: path.stat().st_mtime_ns for path in written}
    assert pack(source, tmp_path / "cut", shard_mib=0.01) == pack(source, tmp_path / "whole", shard_mib=0.01)
    assert before == {path: path.stat().st_mtime_ns for path in written}, "what was done is not done again"
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == names
    for name in names:
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_images_in_memory_are_packed(tmp_path: Path) -> None:
    images = torch.randint(0, 256, (3, 3, 9, 7), dtype=torch.uint8)
    pack(TensorSource(images, [0, 1, 0], ["a", "b"]), tmp_path / "out")
    again = open_source(tmp_path / "out", 3)
    assert torch.equal(torch.stack([again.image(index) for index in range(3)]), images)
    assert (again.labels, again.classes) == ([0, 1, 0], ["a", "b"])


def test_a_disk_that_is_away_loses_no_image(folder: Path, tmp_path: Path) -> None:
    source = open_source(folder, 3)
    whole = pack(source, tmp_path / "whole")
    away = folder / "cat" / "2.jpg"
    away.rename(tmp_path / "away.jpg")
    with pytest.raises(UserError, match="cannot be read: No such file"):
        pack(source, tmp_path / "cut", shard_mib=0.01)
    (tmp_path / "away.jpg").rename(away)
    assert pack(source, tmp_path / "cut").images == whole.images


def test_the_index_of_shards_is_kept_for_the_run(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pack(open_source(folder, 3), Path("out"))

    def reads(file: Path) -> Any:
        raise AssertionError("the headers were read already")

    monkeypatch.setattr("byol.data.sources.tar_index._read", reads)
    assert len(open_source("out", 3)) == 9


def test_other_folders_are_left_alone(folder: Path, tmp_path: Path) -> None:
    source = open_source(folder, 3)
    with pytest.raises(UserError, match="is not empty, and holds no shards of ours"):
        pack(source, folder)
    pack(source, tmp_path / "out")
    with pytest.raises(UserError, match="holds shards of other images, or with other settings"):
        pack(source, tmp_path / "out", side=16)


def test_the_command_says_what_it_did(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["pack", str(folder), "--out", str(tmp_path / "out")])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert f"9 images in 1 shard in {tmp_path / 'out'}; train on them with:" in said
    assert f"1 could not be read and are listed in {tmp_path / 'out' / 'unreadable.txt'}" in said
    with pytest.raises(SystemExit) as ended:
        main(["pack", str(folder), "--out", str(tmp_path / "out2"), "--side", "2"])
    assert ended.value.code == 2
