"""`byol eval` and `byol verdict` as typed: parts, names, places, and one sentence for what is wrong."""

import json
from pathlib import Path

import pytest
import torch

from byol.cli.evaluate import _words
from byol.cli.main import main
from byol.cli.parse import sentence
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
    import re

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
        assert "1 of 13 images could not be read and were passed over (features of" in out


def test_what_is_missing_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, errors = run(capsys, "eval", "knn", "--train", "x")
    assert code == 2
    assert errors == "byol: byol eval knn needs ENCODER and --test; see byol eval knn --help.\n"


@pytest.mark.parametrize(("name", "words"), [("knn", "the whole of it takes minutes"), ("linear", "give --cached")])
def test_an_evaluation_without_a_quick_one_says_what_to_do(
    name: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, errors = run(capsys, "eval", name, TINY, "--train", "a", "--test", "b", "--quick")
    assert code == 2
    assert f"{name} has no --quick: {words}" in errors


def test_a_box_of_an_unknown_kind_keeps_its_words() -> None:
    assert sentence("╭─ Odd ─╮\n│ Something │\n│ is odd. │\n╰───╯", "byol x") == "Something is odd."


def test_only_shares_are_per_cent() -> None:
    assert _words("scratch_top1_10%", 0.25) == "25.00 %"
    assert _words("scratch_lr_10%", 0.1) == "0.1"
    assert _words("below_1.25", 0.5) == "50.00 %"
    assert _words("rms", 0.5) == "0.5"
    assert _words("l2", 1000.0) == "1000"
