"""What a run leaves on the disk, its log, and the machine's own choices."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import byol
from byol.config.run import LoggingConfig, PretrainConfig
from byol.config.values import replace
from byol.errors import UserError
from byol.pretraining.run_folder import DRAWS, BadImages, RunFolder, RunPlan, load_plan, new_run_folder, save_plan
from byol.runtime import device as machine
from byol.runtime.metrics import MetricsWriter, cut_metrics, read_metrics
from byol.runtime.program import program
from conftest import TINY

PLAN = RunPlan(
    config=replace(PretrainConfig(), epochs=3, optim__lr=0.7, augment__view1__area=(0.3, 0.9)),
    recipe="auto",
    data="/photos",
    monitor="/other photos",
    images=42,
    fingerprint="abc",
    monitor_fingerprint="def",
)


def test_plan_and_back(tmp_path: Path) -> None:
    save_plan(RunFolder(tmp_path), PLAN, {"cpu": "one"})
    folder, plan = load_plan(tmp_path)
    assert folder.path == tmp_path
    assert plan == PLAN
    assert json.loads((tmp_path / "config.json").read_text())["machine"] == {"cpu": "one"}


def test_a_plan_from_before_the_monitors_images_were_noted(tmp_path: Path) -> None:
    save_plan(RunFolder(tmp_path), PLAN, {})
    file = tmp_path / "config.json"
    content = json.loads(file.read_text())
    del content["monitor_fingerprint"]
    file.write_text(json.dumps(content))
    assert load_plan(tmp_path)[1].monitor_fingerprint is None


@pytest.mark.parametrize("damage", ["{", "[]", "{}", '{"config": 5}', '{"config": {"epocs": 3}}'])
def test_a_config_that_was_changed_is_told(damage: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(damage)
    with pytest.raises(UserError, match=r"config\.json is not what a run writes"):
        load_plan(tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"config": 5}, r"config\.json is not what a run writes"),
        ({"config": {"epocs": 3}}, r"There is no setting 'epocs'\. Did you mean 'epochs'\?"),
        ({"config": {"method": {"name": "simlr"}}}, r"method is 'simlr', .* Did you mean 'simclr'\?"),
    ],
)
def test_settings_that_were_changed_into_something_else_are_told(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    save_plan(RunFolder(tmp_path), PLAN, {})
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    with pytest.raises(UserError, match=words):
        load_plan(tmp_path)


def test_names_of_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert new_run_folder(None, "/some/My Photos (2)/").path == Path("runs/my-photos-2")
    assert new_run_folder(None, "/some/My Photos (2)/").path == Path("runs/my-photos-2-2")
    assert new_run_folder(None, "cifar10/train.parquet").path == Path("runs/train")
    assert new_run_folder(None, "???").path == Path("runs/run")
    folder = new_run_folder("here/and/there", "x")
    assert folder.checkpoints.is_dir()
    save_plan(folder, PLAN, {})
    with pytest.raises(UserError, match="holds a run already; go on with it by --resume here/and/there"):
        new_run_folder("here/and/there", "x")


def test_bad_images_are_listed_once(tmp_path: Path) -> None:
    path = tmp_path / "bad_images.txt"
    bad = BadImages(path)
    assert not path.exists()
    for line in ("a.jpg\tcut", "b.jpg\tempty", "a.jpg\tcut"):
        bad.add(line)
    assert len(bad) == 2
    assert path.read_text() == "a.jpg\tcut\nb.jpg\tempty\n"
    again = BadImages(path)  # a resumed run
    again.add("b.jpg\tempty")
    again.add("c.jpg\tcut")
    assert path.read_text().splitlines() == ["a.jpg\tcut", "b.jpg\tempty", "c.jpg\tcut"]
    nowhere = BadImages(None)
    nowhere.add("x\ty")
    assert len(nowhere) == 1


@pytest.mark.parametrize("draws", [None, 1])
def test_a_run_of_another_version_is_refused_in_one_sentence(draws: int | None, tmp_path: Path) -> None:
    save_plan(RunFolder(tmp_path), PLAN, {})
    file = tmp_path / "config.json"
    content = json.loads(file.read_text())
    assert content.pop("draws") == DRAWS == 2
    file.write_text(json.dumps(content if draws is None else {**content, "draws": draws}))
    before = file.read_bytes()
    with pytest.raises(UserError) as caught:
        byol.resume(tmp_path)
    assert str(caught.value) == (
        f"The run in {tmp_path} was started by an older version, whose augmentations drew other numbers; start a new "
        "run."
    )
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_a_run_with_older_settings_is_refused_too(tmp_path: Path) -> None:
    """Its config has the sections of its time; what is said is that it is old, not that a setting is unknown."""
    content = {"recipe": "auto", "data": "x", "monitor": None, "images": 3, "fingerprint": "a", "machine": {}}
    content["config"] = {"encoder": "resnet18", "network": {"width": 0.5}, "method": "byol", "watch": {}}
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="was started by an older version"):
        load_plan(tmp_path)


def test_metrics_are_lines_of_json(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path, LoggingConfig()) as metrics:
        metrics.write(3, {"loss": 1.25, "gradient_norm": math.nan})
        metrics.write(5, {"loss": math.inf})
        assert read_metrics(tmp_path / "metrics.jsonl") == [
            {"step": 3, "loss": 1.25, "gradient_norm": None},
            {"step": 5, "loss": None},
        ], "readable at once, before the end"
    with MetricsWriter(tmp_path, LoggingConfig()) as metrics:
        metrics.write(6, {"loss": 0.5})
    assert [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [3, 5, 6]


def test_other_processes_write_no_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with MetricsWriter(None, LoggingConfig(tensorboard=True, wandb=True)) as metrics:
        metrics.write(1, {"loss": 1.0})
    assert not list(tmp_path.iterdir())


def test_cutting_metrics_drops_later_and_half_lines(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.5}\n{"step": 3, "loss": 1.0}\n{"step": 4, "lo')
    cut_metrics(path, 2)
    assert path.read_text() == '{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.5}\n'
    cut_metrics(path, 0)
    assert path.read_text() == ""


def test_a_resumed_run_repeats_no_step_in_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    opened: list[int | None] = []

    class SummaryWriter:
        def __init__(self, log_dir: str, purge_step: int | None = None) -> None:
            opened.append(purge_step)
            Path(log_dir).mkdir(exist_ok=True)

        def add_scalar(self, name: str, value: float, step: int) -> None: ...

        def close(self) -> None: ...

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=SummaryWriter))
    for first in (1, 4, 1):  # killed after step 6, with a checkpoint of step 3, and once more without one
        cut_metrics(tmp_path / "metrics.jsonl", first - 1)
        with MetricsWriter(tmp_path, LoggingConfig(tensorboard=True)) as metrics:
            for step in range(first, 7):
                metrics.write(step, {"loss": 1.0})
    assert opened == [None, 4, 1 - 1]


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_reporters_that_are_not_installed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for module in ("wandb", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"pip install 'byol\[{name}\]'"):
        MetricsWriter(tmp_path, LoggingConfig(**{name: True}))


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_devices(cuda: bool, mps: bool) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    with_devices(cuda=True, mps=True)
    assert machine.choose_device("auto")[0].type == "cuda"
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert machine.choose_device("cuda")[0] == torch.device("cuda", 3)
    with_devices(cuda=False, mps=True)
    assert machine.choose_device("auto")[0].type == "mps"
    with_devices(cuda=False, mps=False)
    device, why = machine.choose_device("auto")
    assert (device.type, why) == ("cpu", "no cuda or mps device here")
    assert machine.choose_device("cpu") == (torch.device("cpu"), "asked for")
    with pytest.raises(UserError, match="'mps' is not available here; this machine has: cpu"):
        machine.choose_device("mps")


@pytest.mark.parametrize(
    ("features", "precision", "words"),
    [
        ({"avx512_bf16"}, "bf16", "AVX-512"),
        ({"amx_bf16", "avx512_bf16"}, "bf16", "AMX"),
        ({"avx2"}, "float32", "no bf16 units"),
        (set(), "float32", "no bf16 units"),
    ],
)
def test_precision_follows_the_processor(
    features: set[str], precision: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "cpu_features", lambda: frozenset(features))
    chosen, why = machine.choose_precision("auto", torch.device("cpu"))
    assert chosen == precision
    assert words in why
    assert machine.choose_precision("float32", torch.device("cpu"))[0] == "float32"
    assert machine.choose_precision("auto", torch.device("mps"))[0] == "float32"


def test_a_containers_files_take_none_of_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text("100000000\n")
    (tmp_path / "memory.current").write_text("70000000\n")
    assert machine.free_memory(torch.device("cpu")) == 30_000_000
    (tmp_path / "memory.stat").write_text("anon 20000000\nfile 50000000\ninactive_file 40000000\nactive_file 9\n")
    assert machine.free_memory(torch.device("cpu")) == 70_000_000


def test_machine_is_named() -> None:
    found = machine.describe()
    assert found["torch"] == torch.__version__
    assert found["cores"] == machine.cores() >= 1
    assert machine.free_memory(torch.device("cpu")) > 1 << 26
    json.dumps(found)


def test_one_process_owns_a_run(class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    first = byol.pretrain(class_folder, recipe="cifar10-cpu", out=out, quiet=True, **{**TINY, "epochs": 0.1})
    encoder = (out / "encoder.safetensors").read_bytes()
    (out / "encoder.safetensors").unlink()  # as if it was killed before its last words
    before = {file.name: file.read_bytes() for file in out.iterdir() if file.is_file()}
    code = (
        "from pathlib import Path; from byol.pretraining.run_folder import RunFolder\n"
        f"with RunFolder(Path({str(out)!r})).owned(): print('mine', flush=True); input()"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "mine\n"
        with pytest.raises(UserError, match="Another process trains in"):
            byol.resume(out, quiet=True)
        assert {file.name: file.read_bytes() for file in out.iterdir() if file.is_file()} == before, (
            "nothing is touched"
        )
        owner.kill()
    last = byol.resume(out, quiet=True)  # the system has let go of it
    assert last.verdict == first.verdict
    assert (out / "encoder.safetensors").read_bytes() == encoder
    monkeypatch.chdir(tmp_path)
    folders = [new_run_folder(None, "photos").path for _ in range(3)]
    assert [str(folder) for folder in folders] == ["runs/photos", "runs/photos-2", "runs/photos-3"]


@pytest.mark.parametrize(
    ("called", "found", "typed"),
    [
        ("/usr/bin/byol", "/usr/bin/byol", "byol"),
        (".venv/bin/byol", None, ".venv/bin/byol"),
        ("my env/bin/byol", None, "'my env/bin/byol'"),
        ("/site-packages/byol/__main__.py", None, f"{sys.executable} -m byol"),
        ("/site-packages/byol/__main__.py", "/usr/bin/byol", "byol"),
        ("/site-packages/pytest/__main__.py", None, "byol"),
        ("train.py", None, "byol"),  # a script of one's own
    ],
)
def test_commands_that_are_told_can_be_typed(
    called: str, found: str | None, typed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [called])
    monkeypatch.setattr(shutil, "which", lambda name: found)
    assert program() == typed
