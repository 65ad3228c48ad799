"""Labels and groups that the user gives: where they come from, what they change, and what they never break."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import byol
from byol.cli.main import main
from byol.data.group_names import look_like_groups
from byol.data.holdout import held_out, readable
from byol.data.label_file import LABEL_COLUMNS, LabelFile
from byol.data.labeling import Labeling, label_images
from byol.data.sources.open import TensorSource, open_source
from byol.errors import UserError
from byol.evals.knn import Groups, knn_correct_among, nearest, vote_is_right
from byol.pretraining.callbacks import Callbacks
from byol.pretraining.monitor import split
from byol.pretraining.run_folder import load_plan
from conftest import TINY, flags, picture


def written(path: Path, rows: list[tuple[str, str]], head: str = "path,label") -> Path:
    path.write_text("\n".join([head, *(f"{name},{value}" for name, value in rows)]) + "\n")
    return path


@pytest.fixture(scope="session")
def plates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 plates of 12 gray pictures, each plate with a color cast of its own and one label, drawn at random.

    The labels, in labels.csv beside it, say nothing but which plate a picture is from.
    """
    root = tmp_path_factory.mktemp("batch effect")
    rng = np.random.default_rng(1)
    labels = rng.permutation(["sick", "healthy"] * 30)
    rows = []
    for plate, label in enumerate(labels):
        cast = rng.uniform(0.25, 1, 3)
        (root / "data" / f"plate{plate:02d}").mkdir(parents=True)
        for number in range(12):
            gray = np.asarray(picture(100 * plate + number, 16, 16).convert("L"))[..., None] * 0.15 + 200
            name = f"plate{plate:02d}/{number}.png"
            Image.fromarray((gray * cast).astype(np.uint8)).save(root / "data" / name)
            rows.append((name, str(label)))
    written(root / "labels.csv", rows)
    return root


def trained(data: Path, out: Path, **options: Any) -> Any:
    return byol.pretrain(data, recipe="cifar10-cpu", out=out, quiet=True, **{**TINY, **options})


def test_a_batch_effect_does_not_pose_as_learning(plates: Path, tmp_path: Path) -> None:
    labels = plates / "labels.csv"
    fooled = trained(plates / "data", tmp_path / "without", labels=labels, epochs=0)
    apart = trained(plates / "data", tmp_path / "with", labels=labels, groups="folders", epochs=0)
    assert fooled.pixels.accuracy > 0.9
    assert fooled.reading.accuracy > 0.85
    assert abs(apart.pixels.accuracy - 0.5) < 0.15
    assert abs(apart.reading.accuracy - 0.5) < 0.15
    assert (fooled.reading.queries, apart.reading.queries) == (720, 720)
    assert fooled.reading.groups is None
    assert apart.reading.groups.tolist() == [n // 12 for n in range(720)]


def test_the_verdict_says_that_groups_are_held_apart(plates: Path, tmp_path: Path) -> None:
    labels = plates / "labels.csv"
    apart = trained(plates / "data", tmp_path / "run", labels=labels, groups="folders", epochs=0.2)
    assert apart.verdict is not None
    assert "(720 images, 60 groups held apart)" in apart.verdict.sentence
    said = (tmp_path / "run" / "log.txt").read_text()
    assert "labels: 2 classes from labels.csv: healthy, sick\n" in said
    assert "groups: 60 from folder names\n" in said
    assert "no neighbor of the same group votes" in said
    assert "look like patients or plates" not in said


def test_folder_names_like_groups_are_told(plates: Path, tmp_path: Path) -> None:
    trained(plates / "data", tmp_path / "run", epochs=0)
    said = (tmp_path / "run" / "log.txt").read_text()
    assert "labels: 60 classes from folder names: plate00, plate01, plate02, plate03, plate04, ...\n" in said
    assert "The folder names look like patients or plates rather than classes" in said


@pytest.mark.parametrize(
    "names",
    [
        ["patient1", "patient2"],
        ["Patient_07", "Patient_11", "Patient_12"],
        ["site-A", "site-B"],
        ["P01", "P02", "P17"],
        ["pt_113", "pt_114"],
        ["2021-03-04", "2021-03-09"],
        ["20210304", "20210309"],
        ["week1_plate01", "week1_plate02", "week2_plate01"],
        ["A01", "B07", "H12"],
        ["sub-01", "sub-02"],
        ["batch1", "batch2", "batch3", "batch4", "batch5", "controls"],
    ],
)
def test_names_of_groups(names: list[str]) -> None:
    assert look_like_groups(names)


@pytest.mark.parametrize(
    "names",
    [
        ["cat", "dog"],
        ["0", "1", "2"],
        [str(number) for number in range(1000)],
        ["n01440764", "n02102040"],
        ["plate", "bowl", "cup"],
        ["date", "fig", "prune"],
        ["run", "walk", "jump"],
        ["c0", "c1", "c2"],
        ["website", "batch norm"],
        ["boeing-737", "a320"],
        ["P01"],
        [],
    ],
)
def test_names_of_classes(names: list[str]) -> None:
    assert not look_like_groups(names)


def test_labels_of_a_file_overrule_folder_names(class_folder: Path, tmp_path: Path) -> None:
    rows = [(f"red/{n:02d}.png", "even" if n % 2 == 0 else "odd") for n in range(30)]
    relative_to_data = written(tmp_path / "a.csv", rows, "Filename,CLASS")
    relative_to_file = written(class_folder.parent / "b.csv", [(f"{class_folder.name}/{p}", c) for p, c in rows])
    absolute = written(tmp_path / "c.csv", [(str(class_folder / p), c) for p, c in rows])
    plain = open_source(class_folder)
    for file in (relative_to_data, relative_to_file, absolute):
        found = label_images(plain, None, Labeling(labels=file))
        assert found.source.classes == ["even", "odd"]
        assert found.source.labels == [-1] * 80 + [n % 2 for n in range(30)] + [-1] * 50, "blue ones come first"
        assert found.notes == (f"labels: 2 classes from {file.name}: even, odd; 30 of 160 images have one",)
        assert found.source.fingerprint() != plain.fingerprint()
    assert torch.equal(found.source.image(7), plain.image(7))
    relative_to_file.unlink()


def test_images_without_a_label_are_trained_on_and_never_read(class_folder: Path, tmp_path: Path) -> None:
    rows = [(f"{c}/{n:02d}.png", c) for c in ("red", "blue") for n in range(20)]
    found = label_images(open_source(class_folder), None, Labeling(labels=written(tmp_path / "l.csv", rows)))
    assert list(readable(found.source)) == [*range(20), *range(80, 100)]
    kept, bank, queries, sentence = split(found.source, None, 0)
    assert (kept, queries) == (None, None)
    assert bank is not None
    assert bank.labels == [0] * 20 + [1] * 20
    assert "each of 40 labeled images" in sentence
    outcome = trained(class_folder, tmp_path / "run", labels=tmp_path / "l.csv", epochs=0.2)
    assert load_plan(tmp_path / "run")[1].images == 160
    assert (outcome.reading.bank, outcome.reading.queries) == (39, 40)


def test_what_is_held_out_is_labeled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byol.data.holdout.ENOUGH_QUERIES", 10)
    labels = [n % 2 if n < 120 else -1 for n in range(300)]
    data = TensorSource(torch.zeros(300, 3, 8, 8, dtype=torch.uint8), labels)
    kept, bank, queries, _ = split(data, None, 0)
    assert kept is not None
    assert bank is not None
    assert queries is not None
    assert (len(kept), len(bank), len(queries), held_out(data, None)) == (288, 108, 12, 12)
    assert -1 not in [*(bank.labels or [-1]), *(queries.labels or [-1])]


def test_unlabeled_data_has_no_reading(class_folder: Path, tmp_path: Path) -> None:
    code = main_code(["pretrain", str(class_folder), "--unlabelled", "--out", str(tmp_path / "run"), *tiny(epochs=0)])
    assert code == 0
    said = (tmp_path / "run" / "log.txt").read_text()
    assert "no labels: the verdict rests on the health measures" in said
    assert "knn" not in (tmp_path / "run" / "metrics.jsonl").read_text()
    assert load_plan(tmp_path / "run")[1].images == 160
    assert main_code(["plan", str(class_folder), "--unlabeled", *tiny()]) == 0


def test_other_folder_names_than_the_classes_of_the_monitor_are_overruled(class_folder: Path, tmp_path: Path) -> None:
    for name in ("rack1", "rack2"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for n in range(5):
            picture(n).save(tmp_path / "data" / name / f"{n}.png")
    found = label_images(open_source(tmp_path / "data"), open_source(class_folder), Labeling())
    assert found.source.labels is None
    _, bank, queries, sentence = split(found.source, found.monitor, 0)
    assert (bank, queries) == (found.monitor, None)
    assert "each of 160 images" in sentence
    assert "share none" in found.notes[0]


def test_a_file_also_labels_the_monitor_that_it_names(class_folder: Path, tmp_path: Path) -> None:
    for n in range(6):
        picture(n).save(tmp_path / f"{n}.png")
    rows = [(f"red/{n:02d}.png", "ab"[n % 2]) for n in range(10)] + [(f"{n}.png", "ab"[n % 2]) for n in range(6)]
    labels = written(tmp_path / "labels.csv", rows)
    found = label_images(open_source(class_folder), open_source(tmp_path), Labeling(labels=labels))
    assert found.monitor is not None
    assert found.monitor.labels == [0, 1, 0, 1, 0, 1]
    _, bank, queries, _ = split(found.source, found.monitor, 0)
    assert bank is not None
    assert queries is not None
    assert (len(bank), len(queries)) == (10, 6)


def right(bank: Tensor, voters: Tensor, asked: Tensor, labels: Tensor, groups: Groups | None = None) -> Tensor:
    return vote_is_right(*nearest(bank, voters, asked, 5, groups=groups), labels)


def test_no_neighbor_of_the_same_group_votes() -> None:
    generator = torch.Generator().manual_seed(0)
    features, labels = torch.randn(700, 4, generator=generator), torch.randint(0, 3, (700,), generator=generator)
    groups = torch.randint(0, 9, (700,), generator=generator)
    found = knn_correct_among(features, labels, k=5, groups=groups)
    for n in (0, 3, 520, 699):
        others = groups != groups[n]
        alone = right(features[others], labels[others], features[n : n + 1], labels[n : n + 1])
        assert bool(found[n]) == bool(alone)
    apart = right(features, labels, features, labels, groups=Groups(groups, groups))
    assert torch.equal(apart, found)
    one = torch.zeros(700, dtype=torch.long)
    assert not knn_correct_among(features, labels, groups=one).any(), "nobody may vote"
    assert not right(features, labels, features, labels, groups=Groups(one, one)).any()


def test_groups_in_blocks_of_the_bank(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    bank, labels = torch.randn(50, 4, generator=generator), torch.arange(50) % 3
    groups = Groups(torch.arange(50) % 7, torch.arange(50) % 7)
    whole = right(bank, labels, bank, labels, groups=groups)
    monkeypatch.setattr("byol.evals.knn.BANK_BLOCK", 8)
    monkeypatch.setattr("byol.evals.knn.BLOCK", 9)
    assert torch.equal(right(bank, labels, bank, labels, groups=groups), whole)


def test_classes_of_one_group_are_not_read() -> None:
    images = torch.zeros(8, 3, 8, 8, dtype=torch.uint8)
    data = TensorSource(images, [0, 0, 1, 1, 2, 2, -1, 0], groups=[0, 1, 0, 1, 3, 3, 1, -1])
    assert list(readable(data)) == [0, 1, 2, 3]
    with pytest.raises(UserError, match="none has a class of two groups"):
        split(TensorSource(images, [0, 0, 0, 0, 1, 1, 1, 1], groups=[0, 0, 0, 0, 1, 1, 1, 1]), None, 0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a,b\nx,y\n", r"has no column path or file or filename or image and no column label or class"),
        ("path,kind\nx,y\n", r"has no column label or class \(its first line is 'path,kind'\)"),
        ("path,label\nx,a\nx,b\n", "line 3 of .* says 'b' of 'x', and a line before 'a'"),
        ("path,label\nx,\n", "gives no image a label"),
        ("", "has no column path"),
    ],
)
def test_files_that_are_no_labels(content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(content)
    with pytest.raises(UserError, match=words):
        LabelFile.read(tmp_path / "labels.csv", LABEL_COLUMNS)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--labels", "nowhere.csv"], "'nowhere.csv' cannot be read (No such file or directory)"),
        (["--labels", "other.csv"], "None of the 2 paths in 'other.csv', such as 'x.png', is an image of"),
        (["--labels", "one.csv"], "'one.csv' has one label, 'a', but a reading needs two classes or more."),
        (["--labels", "other.csv", "--unlabeled"], "--labels and --unlabeled contradict each other"),
        (["--groups", "folders"], "there are no labels: give --labels or --monitor too"),
        (["--groups", "one.csv"], "has no column group or patient"),
        (["--resume", "run", "--unlabeled"], "so --unlabeled cannot be given with it"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_sentence(
    options: list[str],
    words: str,
    class_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    written(Path("other.csv"), [("x.png", "a"), ("y.png", "b")])
    written(Path("one.csv"), [("red/00.png", "a")])
    assert main_code(["pretrain", str(class_folder), *options]) == 2
    assert words in capsys.readouterr().err


def test_images_that_are_no_files_have_labels_of_their_own(tmp_path: Path) -> None:
    labels = written(tmp_path / "l.csv", [("x", "a"), ("y", "b")])
    data = TensorSource(torch.zeros(4, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(UserError, match="names image files, but 'tensor' has none"):
        label_images(data, None, Labeling(labels=labels))


def test_training_that_reads_labels_needs_all_of_them(class_folder: Path, tmp_path: Path) -> None:
    labels = written(tmp_path / "l.csv", [("red/00.png", "a"), ("blue/00.png", "b")])
    with pytest.raises(UserError, match="has 158 images without a label"):
        byol.pretrain(class_folder, labels=labels, method="supervised", out=tmp_path / "run", quiet=True, device="cpu")


def test_a_run_goes_on_with_its_labels_and_groups(
    plates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"labels": plates / "labels.csv", "groups": "folders", "epochs": 0.2, "batch_size": 16}
    whole = trained(plates / "data", tmp_path / "whole", **options)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Callbacks, "__call__", stop)
    with pytest.raises(KeyboardInterrupt):
        trained(plates / "data", tmp_path / "run", **options)
    monkeypatch.undo()
    plan = load_plan(tmp_path / "run")[1]
    assert (plan.labels, plan.groups, plan.unlabeled) == (str(plates / "labels.csv"), "folders", False)
    moved = tmp_path / "moved.csv"
    moved.write_text((plates / "labels.csv").read_text())
    resumed = byol.resume(tmp_path / "run", quiet=True, labels=moved)
    assert resumed.reading == whole.reading
    assert json.loads((tmp_path / "run" / "config.json").read_text())["labels"] == str(moved)


def main_code(arguments: list[str]) -> int:
    logging.getLogger("byol").handlers.clear()
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


def tiny(**changes: Any) -> list[str]:
    return ["--recipe", "cifar10-cpu", *flags({**TINY, **changes})]


def test_voters_need_labels_and_groups_too() -> None:
    images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    data = TensorSource(images, [0, 1, -1, -1], groups=[-1, -1, 0, 1], name="training images")
    monitor = TensorSource(images, [0, 1, 0, 1], groups=[0, 1, 0, 1])
    with pytest.raises(UserError, match="No image of 'training images' has a label, and a group"):
        split(data, monitor, 0)


def test_a_list_may_name_an_image_twice(tmp_path: Path) -> None:
    for name in "ab":
        picture(0, 16, 16).save(tmp_path / f"{name}.png")
    (tmp_path / "list.txt").write_text("a.png\nb.png\na.png\n")
    labels = written(tmp_path / "labels.csv", [("a.png", "cat"), ("b.png", "dog")])
    found = label_images(open_source(tmp_path / "list.txt"), None, Labeling(labels=labels))
    assert found.source.labels == [0, 1, 0]
