"""`byol eval` and `byol verdict` as typed: parts, names, places, and one sentence for what is wrong."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from byol.cli.evaluate import format_metric
from byol.cli.main import main
from byol.cli.parse import sentence
from byol.evals import registry
from evals_data import TINY, colored


@pytest.fixture(autouse=True)
def _features_below_a_folder_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYOL_HOME", str(tmp_path / "home"))


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """A local copy of one of the paper's sets, in its three parts."""
    from torchvision.utils import save_image

    for part, seed in (("train", 0), ("valid", 1), ("test", 2)):
        source = colored(6, 2, seed=seed)
        for index in range(len(source)):
            assert source.labels is not None
            path = tmp_path / "pets" / part / f"class {source.labels[index]}" / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            save_image(source.images[index].float() / 255, path)
    return tmp_path


def test_a_set_of_the_paper_brings_its_parts_and_its_metric(copies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = copies / "deep" / "result.json"
    code, out, errors = run(
        capsys, "eval", "transfer", TINY, "--set", "pets", "--root", copies, "--l2", 1, 0.01, "--json", file
    )
    assert code == 0, errors
    assert "mean_per_class" in out
    record = json.loads(file.read_text())
    assert record["config"]["metric"] == "mean_per_class"
    assert record["config"]["held_out"] == pytest.approx(740 / (740 + 2940))
    assert {role: part["images"] for role, part in record["data"].items()} == {"train": 12, "valid": 12, "test": 12}
    assert record["result"]["mean_per_class"] == pytest.approx(record["result"]["top1"]), "as many of each class"
    assert record["machine"]["torch"] == torch.__version__


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "pets", "--train", "x"], "--set pets brings its own parts, so --train cannot be given"),
        (["--set", "pet"], "no transfer set 'pet'; .* Did you mean 'pets'"),
        (["--set", "cars"], "give --root the folder above cars"),
        (["--train", "x"], "needs --train and --test, or the name of one of the paper's sets by --set"),
        (["--train", "x", "--test", "y", "--json", "{here}"], "Cannot write .*: it is a folder"),
        (["--train", "x", "--test", "y", "--json", "{here}/file/r.json"], "Cannot make the folder"),
        (["--trian", "x", "--test", "y"], "There is no option --trian. Did you mean --train"),
        (["--train", "x", "--test", "y", "--seed", "1.5"], "--seed is '1.5', but must be a whole number"),
        (["--train", "x", "--test", "y", "--metric", "top2"], "one of 'map11', 'mean_per_class', 'top1'"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    code, out, errors = run(capsys, "eval", "transfer", TINY, *(a.format(here=tmp_path) for a in arguments))
    assert code == 2
    assert re.search(words, errors), errors
    assert errors.startswith("byol: ")
    assert errors.count("\n") == 1
    assert out == ""


def test_images_that_cannot_be_read_are_counted_whether_features_are_kept_or_not(
    copies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copies / "pets" / "train" / "class 0" / "cut.png").write_bytes(b"no image")
    for _ in range(2):
        code, out, _ = run(
            capsys, "eval", "knn", TINY, "--train", copies / "pets" / "train", "--test", copies / "pets" / "test"
        )
        assert code == 0
        assert out.count("could not be read") == 1
        assert re.search(r"1 of 13 images of \S+ could not be read and were skipped\.", out)


def test_what_is_missing_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, errors = run(capsys, "eval", "knn", "--train", "x")
    assert code == 2
    assert errors == "byol: byol eval knn needs ENCODER and --test; see byol eval knn --help.\n"


def test_several_encoders_are_columns_of_one_table(copies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = ["--train", copies / "pets" / "train", "--test", copies / "pets" / "test"]
    alone = []
    for number, encoder in enumerate((TINY, "pixels@8")):
        code, _, errors = run(capsys, "eval", "knn", encoder, *parts, "--json", copies / f"{number}.json")
        assert code == 0, errors
        alone.append(json.loads((copies / f"{number}.json").read_text()))
    code, out, errors = run(capsys, "eval", "knn", TINY, "pixels@8", *parts, "--json", copies / "both.json")
    assert code == 0, errors
    assert re.search(rf"knn\W+{re.escape(TINY)}\W+pixels@8", out)
    values = [f"{100 * record['result']['top1_k12']:.2f} %" for record in alone]
    assert re.search(rf"top1_k12\W+{values[0]}\W+{values[1]}", out)
    both = json.loads((copies / "both.json").read_text())
    assert [record["result"] for record in both] == [record["result"] for record in alone]
    assert [record["encoder"]["name"] for record in both] == [TINY, "pixels@8"]


@pytest.mark.parametrize(("name", "words"), [("knn", "the full protocol takes minutes"), ("linear", "give --cached")])
def test_an_evaluation_without_a_quick_one_says_what_to_do(
    name: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, errors = run(capsys, "eval", name, TINY, "--train", "a", "--test", "b", "--quick")
    assert code == 2
    assert f"{name} has no --quick: {words}" in errors


def test_a_box_of_an_unknown_kind_keeps_its_words() -> None:
    assert sentence("╭─ Odd ─╮\n│ Something │\n│ is odd. │\n╰───╯", "byol x") == "Something is odd."


@pytest.mark.parametrize(
    ("evaluation", "metric", "value", "text"),
    [
        ("semi", "scratch_top1_10%", 0.25, "25.00 %"),
        ("semi", "scratch_lr_10%", 0.1, "0.1"),
        ("depth", "below_1.25", 0.5, "50.00 %"),
        ("depth", "rms", 0.5, "0.5"),
        ("transfer", "valid_mean_per_class", 0.5, "50.00 %"),
        ("transfer", "l2", 1000.0, "1000"),
    ],
)
def test_each_evaluation_says_which_metrics_are_percentages(
    evaluation: str, metric: str, value: float, text: str
) -> None:
    assert format_metric(metric, value, registry.load(evaluation).percent) == text


def test_help_lists_every_evaluation_without_pytorch() -> None:
    code = "import sys; from byol.cli.evaluate import evaluate; evaluate(['--help']); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for module in registry.MODULES:
        assert module.rpartition(".")[2] in done.stdout
    assert "the weighted vote of the nearest training images" in done.stdout


NEAREST_MEAN = '''"""Nearest class: each test image gets the class with the nearest mean feature."""

from dataclasses import dataclass, field

import torch

from byol.evals.cache import FeatureConfig, labeled_features
from byol.evals.evaluation import Evaluation, Task
from byol.evals.labels import labeled_parts


@dataclass(frozen=True, kw_only=True)
class NearestMeanConfig:
    """Nearest class mean."""

    norm: float = 2.0
    """Of the distance."""
    features: FeatureConfig = field(default_factory=FeatureConfig)


def evaluate(task: Task, config: NearestMeanConfig) -> dict[str, float]:
    parts = labeled_parts(task.train, task.test)
    train, test = labeled_features(task, parts, config.features)
    means = torch.stack([train.values[train.labels == label].mean(dim=0) for label in range(len(parts.classes))])
    nearest = torch.cdist(test.values, means, p=config.norm).argmin(dim=1)
    return {"top1": (nearest == test.labels).double().mean().item(), "norm": config.norm}


EVALUATION = Evaluation(name="nearest_means", config=NearestMeanConfig, evaluate=evaluate, percent=("top1",))
'''


def test_a_new_evaluation_is_one_file_and_one_line(
    copies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nearest_means.py").write_text(NEAREST_MEAN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "MODULES", (*registry.MODULES, "nearest_means"))
    file = tmp_path / "result.json"
    parts = ("--train", copies / "pets" / "train", "--test", copies / "pets" / "test")
    code, out, errors = run(capsys, "eval", "nearest_means", "pixels@4", *parts, "--norm", 1, "--json", file)
    assert code == 0, errors
    assert "100.00 %" in out
    record = json.loads(file.read_text())
    assert record["evaluation"] == "nearest_means"
    assert record["result"] == {"top1": 1.0, "norm": 1.0}
    assert record["config"]["norm"] == 1.0
    _, out, _ = run(capsys, "eval", "--help")
    assert "nearest_means Nearest class: each test image gets the class with the nearest mean feature" in out
    _, out, _ = run(capsys, "eval", "nearest_means", "--help")
    assert "--train DATA" in out
    assert "--norm FLOAT" in out


def test_what_is_done_is_kept_whatever_a_later_encoder_meets(
    copies: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from byol.errors import UserError
    from byol.evals import knn
    from byol.evals.evaluation import Task

    def fails_for_pixels(task: Task, config: knn.KnnConfig) -> dict[str, float]:
        if task.encoder.name.startswith("pixels"):
            raise UserError("This encoder's features are no numbers.")
        return {"top1_k1": 0.25}

    monkeypatch.setattr(knn, "EVALUATION", dataclasses.replace(knn.EVALUATION, evaluate=fails_for_pixels))
    parts = ["--train", copies / "pets" / "train", "--test", copies / "pets" / "test"]
    file = copies / "several.json"
    code, out, errors = run(capsys, "eval", "knn", TINY, "pixels@8", *parts, "--json", file)
    assert code == 2
    assert errors == "byol: This encoder's features are no numbers.\n"
    assert "25.00 %" in out
    assert [record["result"] for record in json.loads(file.read_text())] == [{"top1_k1": 0.25}]
