"""Folders with a training part beside others: what is trained on, what is read, and what is refused."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import byol
from byol.data.sources.open import open_source, open_training
from byol.data.sources.parts import SeveralParts, find_parts, part_of
from byol.errors import UserError
from conftest import TINY, picture


def written(root: Path, *folders: str, count: int = 2) -> Path:
    """So many pictures in each folder; every one another."""
    for number, folder in enumerate(folders):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for image in range(count):
            picture(100 * number + image, 20, 20).save(root / folder / f"{image}.png")
    return root


@pytest.mark.parametrize(
    ("names", "part"),
    [
        (
            ("train", "Training", "TRAIN", "trains", "seg_train", "train_data", "Train-Set", "trainset", "train2017"),
            "train",
        ),
        (("test", "Tests", "Testing", "seg_test", "test_images", "testset"), "test"),
        (("val", "Valid", "validation", "Validations", "dev", "eval", "val2017"), "validation"),
        (("unlabeled", "unsupervised", "extra"), "unlabeled"),
        (
            ("cat", "trainer", "contest", "values", "trained", "retrieval", "latest", "testudo", "device", "strain"),
            None,
        ),
    ],
)
def test_names_of_parts(names: tuple[str, ...], part: str | None) -> None:
    assert {part_of(name) for name in names} == {part}


@pytest.mark.parametrize(
    ("folders", "above", "parts"),
    [
        (["Training/cat", "Training/dog", "Testing/cat"], "", ["Testing", "Training"]),
        (["train", "test"], "", ["test", "train"]),
        (["data/train/cat", "data/valid/cat"], "data/", ["train", "valid"]),
        (["a/b/TRAIN/1", "a/b/TEST/1"], "a/b/", ["TEST", "TRAIN"]),
        (["a", "a/train/1", "a/test/1"], "a/", ["test", "train"]),
        (["train/x", "val/x", "notes"], "", ["train", "val"]),
        (["train", "unlabeled"], "", ["train", "unlabeled"]),
        (["train_images", "test_images"], "", ["test_images", "train_images"]),
        (["trainA", "testA"], "", ["testA", "trainA"]),
        (["set/train/cat", "set/val/cat", "set/notes"], "set/", ["train", "val"]),
    ],
)
def test_parts_are_seen(folders: list[str], above: str, parts: list[str], tmp_path: Path) -> None:
    found = find_parts(f"{folder}/0.png" for folder in folders)
    assert found is not None
    assert (found.above, sorted(found.parts)) == (above, parts)
    written(tmp_path, *folders)
    with pytest.raises(SeveralParts, match="holds several parts"):
        open_source(tmp_path)


def test_images_beside_the_parts_do_not_hide_them(tmp_path: Path) -> None:
    written(tmp_path, "", "train/cat", "train/dog", "test/cat")
    with pytest.raises(SeveralParts, match=r"several parts \(train, test\)"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    "folders",
    [
        ["train", "bus", "car"],
        ["test", "bus"],
        ["trainer", "tester"],
        ["dev", "ops"],
        ["vehicles/train", "vehicles/bus"],
    ],
)
def test_classes_that_sound_like_parts_stay_classes(folders: list[str], tmp_path: Path) -> None:
    source = open_source(written(tmp_path, *folders))
    assert len(source) == 2 * len(folders)
    assert source.classes == sorted(folder.rpartition("/")[2] for folder in folders)


def test_parts_within_each_class_are_refused_with_a_pattern_that_works(tmp_path: Path) -> None:
    written(tmp_path, "bottle/train/good", "bottle/test/broken", "cable/train/good", "cable/test/good")
    with pytest.raises(UserError, match=r"holds several parts \(test, train\); give the images of one") as caught:
        open_source(tmp_path)
    pattern = str(caught.value).split("such as '")[1].split("'")[0]
    source = open_source(pattern)
    assert [source.where(index) for index in range(len(source))] == [
        str(tmp_path / name / "train" / "good" / f"{number}.png") for name in ("bottle", "cable") for number in (0, 1)
    ]


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        (["one/train", "one/test", "two"], r"the folder 'one' of .* holds several parts \(test, train\)"),
        (["x/a/train", "x/a/val", "x/b/train", "x/b/val", "y"], r"the folder 'x/a' of .* parts \(train, val\)"),
    ],
)
def test_parts_further_down_are_not_mixed(folders: list[str], words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words) as caught:
        open_source(written(tmp_path, *folders))
    pattern = str(caught.value).split("such as '")[1].split("'")[0]
    source = open_source(pattern)
    found = {Path(source.where(index)).relative_to(tmp_path).parent.as_posix() for index in range(len(source))}
    assert found == {folder for folder in folders if folder.endswith("train")}


@pytest.mark.parametrize("above", ["data", "data/dataset", "train", "data/train"])
def test_folders_around_all_images_do_not_hide_the_classes(above: str, tmp_path: Path) -> None:
    source = open_source(written(tmp_path, f"{above}/cat", f"{above}/dog"))
    assert source.classes == ["cat", "dog"]
    assert source.labels == [0, 0, 1, 1]


def test_folders_that_systems_make_hold_no_images(tmp_path: Path) -> None:
    written(tmp_path, "cat", "dog", "$RECYCLE.BIN", "cat/@eaDir/0.png", "__MACOSX")
    source = open_source(tmp_path)
    assert (len(source), source.classes) == (4, ["cat", "dog"])


def test_other_files_are_told_from_a_tenth_on(tmp_path: Path) -> None:
    written(tmp_path, "", count=18)
    (tmp_path / "notes.txt").write_text("")
    assert open_source(tmp_path).notes == ()
    (tmp_path / "2.xyz").write_text("")
    (tmp_path / "README").write_text("")
    (tmp_path / "3.xyz").write_text("")
    assert open_source(tmp_path).notes == (
        "passed over: 4 other files are not read (2 .xyz, 1 without a suffix, 1 .txt)",
    )


def run_on(data: Path, out: Path, **options: object) -> tuple[str, dict[str, object]]:
    """What a run says, and its config.json."""
    byol.pretrain(data, recipe="cifar10-cpu", out=out, quiet=True, **{**TINY, "epochs": 1}, **options)
    return (out / "log.txt").read_text(), json.loads((out / "config.json").read_text())


def test_a_run_trains_on_the_training_part_and_reads_on_the_other(tmp_path: Path) -> None:
    data = written(tmp_path / "data", "Training/cat", "Training/dog", "Testing/cat", "Testing/dog", count=20)
    said, config = run_on(data, tmp_path / "run")
    training, testing = str(data / "Training"), str(data / "Testing")
    assert f"parts: {data} holds Training, Testing; training takes {training}, readings are of {testing}" in said
    assert f"monitor: 20-NN on {testing}: 40 images that training never sees" in said
    assert (config["data"], config["monitor"], config["images"]) == (training, testing, 40)


def test_a_validation_part_is_read_and_the_test_part_left_alone(tmp_path: Path) -> None:
    data = written(
        tmp_path / "data", *(f"{part}/{name}" for part in ("train", "val", "test") for name in "ab"), count=9
    )
    assert run_on(data, tmp_path / "run")[1]["monitor"] == str(data / "val")


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        (["train/a", "train/b", "test"], "{data}/test has no labels for that"),
        (["train/a", "train/b", "test/a", "test/c"], "{data}/test is labeled otherwise"),
        (
            ["train/a", "train/b", "val", "test/c", "test/d"],
            "{data}/val has no labels for that and {data}/test is labeled",
        ),
    ],
)
def test_a_part_that_cannot_be_read_is_left_out_and_told(folders: list[str], words: str, tmp_path: Path) -> None:
    data = written(tmp_path / "data", *folders, count=16)
    said, config = run_on(data, tmp_path / "run")
    assert words.format(data=data) in said
    assert (config["data"], config["monitor"]) == (str(data / "train"), None)


def test_what_the_user_says_of_readings_counts(tmp_path: Path, class_folder: Path) -> None:
    data = written(tmp_path / "data", "train/red", "train/blue", "test/red", "test/blue", count=16)
    said, config = run_on(data, tmp_path / "given", monitor=class_folder)
    assert config["monitor"] == str(class_folder)
    assert f"training takes {data / 'train'}\n" in said
    assert run_on(data, tmp_path / "unlabeled", unlabeled=True)[1]["monitor"] is None


def test_parts_of_parquet_are_told_apart_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source(written(tmp_path / "images", "a", "b", count=16))
    rows = [source.read(index) for index in range(len(source))]
    for name, chosen in (
        ("train-00000-of-00002", rows[:12]),
        ("train-00001-of-00002", rows[12:24]),
        ("Test_0", rows[24:]),
    ):
        table = pa.table({"image": chosen, "label": [number % 2 for number in range(len(chosen))]})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    shutil.rmtree(tmp_path / "images")
    with pytest.raises(SeveralParts, match=r"several parts \(train, Test\); give one of them, .*train\*\.parquet"):
        open_source(tmp_path)
    assert len(open_training(tmp_path)) == 24
    monkeypatch.chdir(tmp_path)
    config = run_on(Path(), tmp_path / "run")[1]
    assert (config["images"], config["monitor"]) == (24, f"{tmp_path}/Test*.parquet")


def test_what_has_no_single_training_part_is_refused(tmp_path: Path) -> None:
    for folders in (["test/a", "val/a"], ["train1/a", "train2/a", "test/a"]):
        with pytest.raises(SeveralParts, match="give one of them"):
            open_training(written(tmp_path / folders[0].partition("/")[0], *folders))
