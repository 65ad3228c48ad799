"""A plan as a file: the run that it starts is the one that the same words start, and what is edited in it is taken."""

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import byol
from byol.cli.main import main
from byol.config.run import PretrainConfig
from byol.config.values import from_json, replace, to_json
from byol.pretraining.plan_file import plan_as_toml, read_plan
from byol.pretraining.run import make_plan
from conftest import TINY, flags

QUICK = {**TINY, "epochs": 1}
SMALL = ["--recipe", "cifar10-cpu", *flags(QUICK)]


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `byol ARGUMENTS`."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    code = ended.value.code
    assert code is None or isinstance(code, int)
    return code or 0, said.out, said.err


def config_of(folder: Path) -> dict[str, Any]:
    """The settings that a run kept."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())["config"]
    return config


@pytest.fixture
def plan(image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The plan of a small run."""
    code, out, errors = run(capsys, "plan", image_folder, *SMALL)
    assert (code, errors) == (0, "")
    path = tmp_path / "plan.toml"
    path.write_text(out)
    return path


@pytest.mark.parametrize(
    "words",
    [
        SMALL,
        [*SMALL, "--method", "moco", "--method.queue", "32", "--method.splits", "2", "--data.memory", "never"],
        ["--epochs", "0.5", "--batch-size", "16", "--encoder.width", "0.25", "--image-size", "16", "--device", "cpu"],
    ],
    ids=["recipe", "another method, from disk", "auto"],
)
def test_a_plan_starts_the_run_that_the_same_words_start(
    words: list[str], image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, plan, errors = run(capsys, "plan", image_folder, *words)
    assert (code, errors) == (0, "")
    file = tmp_path / "plan.toml"
    file.write_text(plan)
    assert run(capsys, "pretrain", image_folder, *words, "--out", tmp_path / "words")[0] == 0
    code, said, errors = run(capsys, "pretrain", image_folder, "--plan", file, "--out", tmp_path / "file")
    assert (code, errors) == (0, "")
    assert f"plan {file}\n" in said
    assert config_of(tmp_path / "file") == config_of(tmp_path / "words")
    first, second = ((tmp_path / name / "encoder.safetensors").read_bytes() for name in ("words", "file"))
    assert first == second
    assert json.loads((tmp_path / "file" / "config.json").read_text())["recipe"] == str(file)


def test_a_plan_says_every_setting_and_every_reason(
    image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, plan, _ = run(capsys, "plan", image_folder, "--epochs", "1", "--device", "cpu", "--precision", "float32")
    assert code == 0
    config = from_json(PretrainConfig, tomllib.loads(plan))
    assert tomllib.loads(plan) == without_none(to_json(config))
    assert (config.epochs, config.device, config.data.memory) == (1, "cpu", "always"), "auto is decided"
    comments = [line.removeprefix("# ") for line in plan.splitlines() if line.startswith("#")]
    command = f"byol plan {image_folder} --epochs 1 --device cpu --precision float32"
    assert comments[0] == f"The plan of a run on {image_folder}, made by: {command}"
    for words in (
        "batch size 8: 8 updates or more per pass over 64 images",
        f"encoder {config.encoder.name}: no GPU: a shallow network learns more from the same time (docs/recipes.md)",
        f"image size {config.inference_size()}: the images' shorter side is 36 px",
    ):
        assert words in comments
    assert not any(line.startswith("epochs") for line in comments), "what was given needs no reason"
    assert not list(tmp_path.iterdir()), "no run was started"


def without_none(values: dict[str, Any]) -> dict[str, Any]:
    """The same without what is None, which TOML cannot say."""
    inner = {key: without_none(value) if isinstance(value, dict) else value for key, value in values.items()}
    return {key: value for key, value in inner.items() if value is not None}


def test_a_plan_printed_twice_is_the_same(image_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (run(capsys, "plan", image_folder, *SMALL)[1] for _ in range(2))
    assert first == second
    assert make_plan(image_folder, recipe="cifar10-cpu", **QUICK).splitlines()[1:] == first.splitlines()[1:]


@pytest.mark.parametrize(
    "config",
    [
        PretrainConfig(),
        replace(PretrainConfig(), method="supervised", optim__clip=0.5, data__workers=3, encoder__weights="timm"),
        replace(PretrainConfig(), method="moco", method__shuffle=False, encoder__mean=(0.5,), encoder__std=(0.1,)),
        replace(PretrainConfig(), augment__view1__area=(0.1, 0.30000000000000004), optim__lr=1e-7, epochs=1234.5678),
    ],
    ids=lambda config: config.method.name,
)
def test_any_config_comes_back_from_its_file(config: PretrainConfig, tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    text = plan_as_toml(config, ("one reason", "two\nlines = 3"), 'a "name"', "byol plan 'a \"name\"'")
    file.write_text(text, encoding="utf-8")
    assert read_plan(file) == config
    assert "# one reason\n# two\n# lines = 3\n" in text


def test_what_is_edited_is_taken_and_flags_override_it(
    plan: Path, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = plan.read_text()
    for before, after in (("epochs = 1.0", "epochs = 0.5"), ("seed = 0", "seed = 7"), ("tau = 0.97", "tau = 0.9")):
        assert text.count(before) == 1
        text = text.replace(before, after)
    plan.write_text(text)
    typed = ["--seed", "8", "--encoder.width", "0.25", "--optim.lr", "0.001"]
    assert run(capsys, "pretrain", image_folder, "--plan", plan, "--out", tmp_path / "run", *typed)[0] == 0
    config = from_json(PretrainConfig, config_of(tmp_path / "run"))
    assert (config.epochs, config.method.tau) == (0.5, 0.9)  # type: ignore[union-attr]
    assert (config.seed, config.encoder.width, config.optim.lr) == (8, 0.25, 0.001)
    changes = {"seed": 8, "encoder__width": 0.25, "optim__lr": 0.001}
    assert config == replace(read_plan(plan), **changes), "and nothing else"


@pytest.mark.parametrize("precision", ["bf16", "float32"])
def test_the_precision_of_a_plan_is_taken(
    precision: str, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(make_plan(image_folder, recipe="cifar10-cpu", **{**QUICK, "precision": precision}))
    assert run(capsys, "pretrain", image_folder, "--plan", plan, "--out", tmp_path / "run")[0] == 0
    assert config_of(tmp_path / "run")["precision"] == precision


def test_the_channels_of_a_plan_are_those_that_images_are_opened_with(tmp_path: Path) -> None:
    (tmp_path / "gray").mkdir()
    for number in range(16):
        values = np.random.default_rng(number).integers(0, 256, (20, 20), dtype=np.uint8)
        Image.fromarray(values).save(tmp_path / "gray" / f"{number}.png")
    plan = tmp_path / "plan.toml"
    settings = {**QUICK, "batch_size": 8, "data__channels": 3}
    plan.write_text(make_plan(tmp_path / "gray", recipe="cifar10-cpu", **settings))
    byol.pretrain(tmp_path / "gray", recipe=str(plan), out=tmp_path / "run", quiet=True)
    assert byol.load_encoder(tmp_path / "run").conv1.in_channels == 3


def test_a_plan_with_a_budget_trains_as_long_as_that_allows(
    plan: Path, image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("byol.pretraining.planner._epochs_within", lambda run, limit: (1.75, "epochs 1.75"))
    byol.pretrain(image_folder, recipe=str(plan), budget="3m", out=tmp_path / "run", quiet=True)
    config = from_json(PretrainConfig, config_of(tmp_path / "run"))
    assert config == replace(read_plan(plan), epochs=1.75)


BROKEN = {
    "no TOML": (b"epochs = = 3", "cannot be read (Invalid value"),
    "no text": (b"\xff\xfe", "cannot be read ("),
    "no such setting": (b"epocs = 3", "There is no setting 'epocs'. Did you mean 'epochs'?"),
    "no such setting in a section": (b"[optim]\nlrr = 3", "There is no setting 'optim.lrr'. Did you mean 'lr'?"),
    "no such method": (b"[method]\nname = 'simlr'", "method is 'simlr', but must be one of 'byol'"),
    "another method's setting": (b"[method]\nname = 'simclr'\ntau = 0.9", "There is no setting 'method.tau'."),
    "wrong kind": (b"epochs = 'three'", "epochs is 'three', but must be of type float."),
    "impossible": (b"batch_size = 1", "batch_size is 1, but must be 2 images or more"),
}


@pytest.mark.parametrize("case", [*BROKEN, "missing", "folder"])
def test_a_plan_that_cannot_be_used_is_told_in_one_sentence(
    case: str, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, words = tmp_path / "plan.toml", f"The plan {tmp_path / 'plan.toml'} cannot be read ("
    if case in BROKEN:
        content, words = BROKEN[case]
        file.write_bytes(content)
    elif case == "folder":
        file.mkdir()
    code, out, errors = run(capsys, "pretrain", image_folder, "--plan", file, "--out", tmp_path / "run")
    assert (code, out) == (2, "")
    assert errors.startswith("byol: ")
    assert errors.count("\n") == 1
    assert words in errors
    assert not (tmp_path / "run").exists()


def test_a_plan_and_a_recipe_are_one_too_many(
    plan: Path, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("pretrain", image_folder, "--plan", plan, "--recipe", "photos", "--out", tmp_path / "run")
    code, _, errors = run(capsys, *words)
    assert code == 2
    assert "A plan and a recipe both say where a run starts from" in errors
    assert not (tmp_path / "run").exists()
