"""The command line: what a wrong command gets, what a bad run gets, and what is typed."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.distributed.run import get_args_parser

from byol.cli.main import main
from byol.cli.pretrain import Pretrain
from byol.cli.settings import FLAT, SECTIONS, RunFlags, parse_run
from byol.config.run import PretrainConfig
from byol.recipes.presets import RECIPES
from conftest import TINY, flags, picture


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `byol ARGUMENTS`."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    code = ended.value.code
    assert code is None or isinstance(code, int)
    return code or 0, said.out, said.err


SMALL = ["--recipe", "cifar10-cpu", *flags(TINY)]

WRONG: dict[str, tuple[list[str], list[str]]] = {
    "missing path": (["{here}/nothing"], ["nothing' is not there"]),
    "nearly the path": (["{here}/pictres"], ["is not there", "Did you mean 'pictures'"]),
    "empty folder": (["{here}/empty"], ["is empty"]),
    "no images": (["{here}/texts"], ["holds no images, only 2 other files (.txt)"]),
    "fewer images than a batch": (
        ["{here}/pictures", "--batch-size", "64"],
        ["8 images", "batch of 64", "--batch-size"],
    ),
    "unknown encoder": (
        ["{here}/pictures", "--encoder", "resnet19"],
        ["no encoder 'resnet19'", "Did you mean 'resnet"],
    ),
    "unknown recipe": (["{here}/pictures", "--recipe", "cifar10cpu"], ["no recipe 'cifar10cpu'", "'cifar10-cpu'"]),
    "no ResNet made wide": (
        ["{here}/pictures", "--encoder", "vit_tiny_patch16_224", "--encoder.width", "2"],
        ["no ResNet", "width 2"],
    ),
    "encoder of another size": (
        [
            *("{here}/pictures", "--encoder", "vit_tiny_patch16_224", "--image-size", "100"),
            *("--encoder.width", "1", "--encoder.stem", "standard"),
        ],
        ["takes no images of 100 px", "give --image-size 112"],
    ),
    "encoder too deep for the size": (
        [*("{here}/pictures", "--encoder", "vgg11", "--encoder.width", "1", "--encoder.stem", "standard")],
        ["takes no images of 16 px", "give --image-size 32"],
    ),
    "budget": (["{here}/pictures", "--budget", "soon"], ["'soon'", "2h"]),
    "budget and epochs": (["{here}/pictures", "--budget", "2h"], ["epochs and a budget both say how long"]),
    "recompute": (
        [
            "{here}/pictures",
            "--encoder",
            "mobilenetv3_small_050",
            "--encoder.width",
            "1",
            "--encoder.stem",
            "standard",
            "--optim.activation-checkpointing",
        ],
        ["optim.activation_checkpointing is for ResNets", "--optim.accumulate"],
    ),
    "graph without a GPU": (
        ["{here}/pictures", "--device", "cpu", "--optim.cuda-graph"],
        ["optim.cuda_graph is for a GPU", "leave it out"],
    ),
    "accumulate": (["{here}/pictures", "--optim.accumulate", "3"], ["accumulate", "divisor of the batch size 4"]),
    "monitor without labels": (["{here}/pictures", "--monitor", "{here}/pictures"], ["has no labels"]),
    "monitor not there": (["{here}/pictures", "--monitor", "{here}/gone"], ["gone' is not there"]),
    "unwritable out": (["{here}/pictures", "--out", "{here}/file/run"], ["Cannot make the folder", "--out"]),
    "nothing to resume": (["--resume", "{here}/empty"], ["holds no run"]),
    "resume and more": (["--resume", "{here}/empty", "--epochs", "3"], ["--resume", "epochs"]),
    "resume and a budget": (["--resume", "{here}/empty", "--budget", "3h"], ["--resume", "budget"]),
}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    for name in ("empty", "texts", "pictures"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").write_text("")
    for number in range(8):
        Image.new("RGB", (20, 20), (30 * number, 0, 0)).save(tmp_path / "pictures" / f"{number}.png")
    for name in ("a", "b"):
        (tmp_path / "texts" / f"{name}.txt").write_text("no image")
    return tmp_path


@pytest.mark.parametrize("case", WRONG)
def test_wrong_commands_get_one_sentence_and_code_2(
    case: str, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    given, words = WRONG[case]
    arguments = [argument.format(here=here) for argument in given]
    if "--resume" not in arguments:
        settings = {**TINY, "batch_size": 4}
        for name in [name for name in settings if "--" + name.replace("__", ".").replace("_", "-") in arguments]:
            del settings[name]
        rest = [] if "--recipe" in arguments else ["--recipe", "cifar10-cpu"]
        arguments += [*rest, *flags(settings)] + ([] if "--out" in arguments else ["--out", str(here / "run")])
    before = sorted(here.rglob("*"))
    code, out, errors = run(capsys, "pretrain", *arguments)
    assert code == 2
    for word in words:
        assert word in errors, errors
    assert errors.startswith("byol: ")
    assert errors.count("\n") == 1, "one line"
    assert "Traceback" not in out + errors
    assert sorted(here.rglob("*")) == before, "nothing is left"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--epocs", "3"], ["--epocs", "--epochs"]),
        (["--optim.lrr", "3"], ["--optim.lrr", "--optim.lr"]),
        (["--optim.lr", "-1"], ["lr is -1.0", "above 0"]),
        (["--optim.lr", "inf"], ["lr is inf"]),
        (["--epochs", "ten"], ["--epochs", "ten"]),
        (["--epochs", "-1"], ["epochs is -1"]),
        (["--batch-size", "1"], ["batch_size is 1", "2 images or more"]),
        (["--device", "gpu"], ["--device", "cuda"]),
        (["--optim.name", "adam"], ["adamw"]),
        (["--augment.view1.area", "0.5", "0.2"], ["area", "low <= high"]),
        (["--method.tau", "1.5"], ["tau is 1.5"]),
        (
            ["--method", "simlr"],
            ["--method is 'simlr'", "byol, infonce, simclr, moco, supervised", "Did you mean 'simclr'?"],
        ),
        (["--method", "random"], ["no method 'random': an untrained encoder is --epochs 0"]),
        (["--method=random"], ["no method 'random': an untrained encoder is --epochs 0"]),
        (["--method", "simclr", "--method.tau", "0.9"], ["--method.tau"]),
        (["--moco.queue", "7"], ["--method.queue"]),
        (["--network.widht", "1"], ["--encoder.widht", "--encoder.width"]),
        (
            ["--plan", "p.toml", "--recipe", "photos"],
            ["A plan and a recipe both say where a run starts from", "give one of them"],
        ),
        (["--resume", "r", "--plan", "p.toml"], ["--resume goes on", "--plan cannot be given with it"]),
    ],
)
def test_wrong_settings_are_told_what_is_right(
    arguments: list[str], words: list[str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, errors = run(capsys, "pretrain", here / "pictures", "--out", here / "run", *arguments)
    assert code == 2
    text = " ".join(errors.replace("│", " ").split())
    for word in words:
        assert word in text
    assert "Traceback" not in out + errors
    assert not (here / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_device_that_is_not_there(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, errors = run(capsys, "pretrain", here / "pictures", "--device", "cuda", "--out", here / "run")
    assert code == 2
    assert "'cuda' is not available here; this machine has: " in errors
    assert not (here / "run").exists()


def test_no_command_and_a_wrong_one(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys)
    assert code == 0
    for verb in ("pretrain", "views", "recipes", "demo", "bench"):
        assert f"byol {verb}" in out
    code, _, errors = run(capsys, "pretain")
    assert code == 2
    assert "no command 'pretain'. Did you mean 'pretrain'?" in errors


def test_recipes_are_listed_with_source_cost_and_result(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    code, out, _ = run(capsys, "recipes")
    assert code == 0
    for name, recipe in RECIPES.items():
        for text in (name, recipe.what, recipe.source, recipe.cost, recipe.expected):
            assert text in out


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["pretrain", "--help"],
        ["verdict", "--help"],
        ["views", "--help"],
        ["bench", "--help"],
        ["--version"],
        ["nonsense"],
    ],
)
def test_help_does_not_wait_for_torch(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom byol.cli.main import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'timm', 'torchvision', 'sklearn', 'pyarrow', 'numpy', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_help_tells_every_flat_flag_and_section(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "pretrain", "--help")
    assert code == 0
    names = ["recipe", "encoder", "image-size", "batch-size", "epochs", "budget", "seed", "method", "device"]
    names += ["precision", "monitor", "out", "resume", "plan"]
    for name in [
        *names,
        "optim.lr",
        "method.tau",
        "augment.view2.solarize",
        "logging.wandb",
        "data.memory",
        "encoder.width",
    ]:
        assert f"--{name}" in out, name


def test_torchrun_leaves_every_flag_to_us(capsys: pytest.CaptureFixture[str]) -> None:
    """Its parser also reads what comes after the module, and refuses what could be short for two flags of its own."""
    _, out, _ = run(capsys, "pretrain", "--help")
    names = set(re.findall(r"--[a-z][a-z-]+(?=[ ,])", out))
    assert {"--monitor", "--monitor-data", "--out", "--recipe"} <= names
    taken = []
    for name in sorted(names):
        try:
            parsed = get_args_parser().parse_args(["-m", "byol", "pretrain", "photos", name, "x"])
        except SystemExit:
            taken.append(name)
        else:
            assert parsed.training_script_args == ["pretrain", "photos", name, "x"]
    assert set(taken) <= {"--monitor"}
    assert run(capsys, "pretrain", "photos", "--monitor-data", "/nowhere")[0] == 2


@pytest.mark.parametrize(
    ("method", "has", "lacks"),
    [
        ("byol", ["tau", "predictor-lr", "normalization", "target"], ["temperature", "queue", "beta"]),
        ("infonce", ["tau", "predictor-lr", "beta", "temperature"], ["queue", "normalization"]),
        ("simclr", ["temperature", "hidden", "projector-lr"], ["tau", "predictor-lr", "queue", "target"]),
        ("moco", ["temperature", "queue", "splits", "shuffle", "tau"], ["predictor-lr", "beta", "target"]),
        ("supervised", [], ["hidden", "tau", "temperature"]),
    ],
)
def test_help_after_a_method_shows_its_own_settings(
    method: str, has: list[str], lacks: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "pretrain", "--method", method, "--help")
    assert code == 0
    shown = set(re.findall(r"--method\.(?:no-)?([\w-]+)", out))
    assert set(has) <= shown
    assert not shown & set(lacks)


def typed(*arguments: str) -> dict[str, Any]:
    return parse_run(Pretrain, list(arguments), "pretrain", "")[1]


def test_only_what_was_typed_overrules_a_recipe() -> None:
    assert typed("photos") == {}
    assert typed("photos", "--epochs", "3", "--optim.lr", "0.2", "--augment.view1.area", "0.1", "0.9") == {
        "epochs": 3.0,
        "optim__lr": 0.2,  # the default, but typed
        "augment__view1__area": (0.1, 0.9),
    }
    assert typed("--logging.no-stop-on-collapse", "--method.constant-tau") == {
        "logging__stop_on_collapse": False,
        "method__constant_tau": True,
    }
    assert typed("--optim.weight-decay=0", "--optim.weight-decay", "0.5") == {"optim__weight_decay": 0.5}
    assert typed("--encoder", "resnet18", "--encoder.width", "0.5", "--method", "moco", "--method.queue", "7") == {
        "encoder": "resnet18",
        "encoder__width": 0.5,
        "method": "moco",
        "method__queue": 7,
    }


@pytest.mark.parametrize(
    ("older", "settings"),
    [
        (["--network.width", "0.25"], {"encoder__width": 0.25}),
        (["--network.width=0.25"], {"encoder__width": 0.25}),
        (["--network.zero-init-last"], {"encoder__zero_init_last": True}),
        (["--network.predictor-depth", "3"], {"method__predictor_depth": 3}),
        (["--eval-size", "32"], {"encoder__input_size": 32}),
        (["--augment.mean", "0.5", "--augment.std", "0.2"], {"encoder__mean": (0.5,), "encoder__std": (0.2,)}),
        (["--target.kind", "online"], {"method__target": "online"}),
        (["--target.constant"], {"method__constant_tau": True}),
        (["--target.no-constant"], {"method__constant_tau": False}),
        (["--method", "moco", "--moco.no-shuffle"], {"method": "moco", "method__shuffle": False}),
        (["--method", "moco", "--loss.temperature", "0.3"], {"method": "moco", "method__temperature": 0.3}),
        (["--optim.predictor-lr", "2"], {"method__predictor_lr": 2.0}),
        (["--optim.recompute"], {"optim__activation_checkpointing": True}),
        (["--optim.no-recompute"], {"optim__activation_checkpointing": False}),
        (["--watch.no-stop-on-collapse"], {"logging__stop_on_collapse": False}),
    ],
    ids=" ".join,
)
def test_older_flags_are_accepted(older: list[str], settings: dict[str, Any]) -> None:
    assert typed(*older) == settings


def test_a_value_like_an_older_name_stays_a_value() -> None:
    assert typed("network", "--encoder", "resnet18") == {"encoder": "resnet18"}
    command, _ = parse_run(Pretrain, ["watch", "--out", "target"], "pretrain", "")
    assert (command.images, command.out) == ("watch", "target")


def test_a_run_ends_with_code_0_and_its_settings_are_kept(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    code, said, errors = run(
        capsys, "pretrain", image_folder, "--out", out, *SMALL, "--optim.momentum", "0.8", "--augment.view2.flip", "0"
    )
    assert (code, errors) == (0, "")
    kept = json.loads((out / "config.json").read_text())["config"]
    assert kept["optim"]["momentum"] == 0.8
    assert kept["augment"]["view2"]["flip"] == 0
    assert kept["augment"]["view1"]["flip"] == 0.5
    assert kept["optim"]["name"] == "adamw", "what was not typed is the recipe's"
    assert f"encoder {out / 'encoder.safetensors'}" in said
    for line in said.splitlines():
        assert line in (out / "log.txt").read_text()
    # the folder is taken now
    code, _, errors = run(capsys, "pretrain", image_folder, "--out", out, *SMALL)
    assert code == 2
    assert "holds a run already" in errors
    assert f"--resume {out}" in errors


DIVERGING = ["--optim.name", "sgd", "--optim.lr", "1e30", "--optim.warmup-epochs", "0"]


def test_a_diverged_run_stops_with_code_3(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said, _ = run(
        capsys, "pretrain", image_folder, "--out", tmp_path / "run", *SMALL, *DIVERGING, "--epochs", "50"
    )
    assert code == 3
    assert "Diverged: the loss or its gradient is no longer a number." in said
    assert "--optim.lr" in said
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] < 100, "it stopped at once, not after 200 updates"
    assert lines[-1]["loss"] is None
    assert not (tmp_path / "run" / "encoder.safetensors").exists()


def test_told_to_go_on_it_goes_on(image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said, _ = run(
        capsys, "pretrain", image_folder, "--out", tmp_path / "run", *SMALL, *DIVERGING, "--logging.no-stop-on-collapse"
    )
    assert code == 3, "it went wrong all the same"
    assert "Diverged" in said
    assert json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])["step"] == 8


def test_a_collapsed_run_stops_with_code_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "same").mkdir()
    for number in range(32):  # all the same: no network can tell them apart
        Image.new("RGB", (20, 20), (90, 120, 60)).save(tmp_path / "same" / f"{number}.png")
    plain = ["--augment.view1.jitter", "0", "--augment.view2.jitter", "0", "--augment.view1.gray", "0"]
    plain += ["--augment.view2.gray", "0", "--optim.warmup-epochs", "0", "--epochs", "50"]
    code, said, _ = run(capsys, "pretrain", tmp_path / "same", "--out", tmp_path / "run", *SMALL, *plain)
    assert code == 3
    assert "Collapsed: the network says the same of every image (views find" in said
    assert "to 0.00 of 1" in said
    assert "--method.predictor-depth" in said
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert max(steps) <= 12, "stopped at the second look"


def test_names_that_a_terminal_cannot_show_end_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "\u0441\u043d\u0438\u043c\u043a\u0438"  # Cyrillic
    folder.mkdir()
    for number in range(40):
        picture(number).save(folder / f"{number}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    out = tmp_path / "run"
    command = [sys.executable, "-m", "byol", "pretrain", str(folder), "--out", str(out), *SMALL, "--epochs", "0.1"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert b"\\u0441" in done.stdout
    assert folder.name in (out / "bad_images.txt").read_text(encoding="utf-8")
    assert f"byol.load_encoder({str(out)!r})" in done.stdout.decode()


def test_every_setting_of_a_run_has_a_flag() -> None:
    for field in dataclasses.fields(PretrainConfig):
        flat = field.name in FLAT.values()
        assert flat or field.name in SECTIONS, f"no flag gives {field.name}"
        assert not (flat and field.name not in ("encoder", "method") and field.name in SECTIONS)
    assert {field.name for field in dataclasses.fields(RunFlags)} >= {*SECTIONS}


def test_flags_of_a_run_from_weights_reach_the_settings() -> None:
    _, settings = parse_run(
        RunFlags, ["--patience", "3", "--adapt.frozen", "0.2", "--adapt.batch-norm", "eval"], "bench", ""
    )
    assert settings == {"patience": 3, "adapt__frozen": 0.2, "adapt__batch_norm": "eval"}
