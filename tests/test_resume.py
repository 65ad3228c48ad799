"""A run that was killed and goes on ends with the very same bytes as one that was never touched."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import byol
from byol.cli.main import main
from byol.data import readable
from byol.encoders.file import read_encoder
from byol.errors import UserError
from byol.pretraining.callbacks import Callbacks
from byol.pretraining.keep import is_finished
from byol.pretraining.run_folder import load_plan
from byol.pretraining.train import TrainStep
from byol.runtime import checkpoint
from byol.runtime.metrics import MetricsWriter, read_metrics
from byol.runtime.signals import ENDING, noted_signals, orderly_exit
from conftest import TINY, flags, without_heads

RUN = {
    **TINY,
    "epochs": 2,
    "optim__accumulate": 2,
    "data__memory": "always",
    "logging__checkpoint_minutes": 1e-6,
    "logging__stop_on_collapse": False,
}
"""18 updates on the images of `class_folder`, 144 of which are trained on."""


def results(folder: Path) -> tuple[bytes, list[dict[str, Any]]]:
    """The weights, and every line of the metrics without its speed."""
    lines = read_metrics(folder / "metrics.jsonl")
    return (folder / "encoder.safetensors").read_bytes(), [
        {key: value for key, value in line.items() if key != "images_per_second"} for line in lines
    ]


@pytest.fixture(autouse=True)
def _as_from_a_terminal() -> Iterator[None]:
    """Signals as a terminal leaves them: under `nohup` or in the background of a script, tests inherit deaf ears."""
    usual = {number: signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL for number in ENDING}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def untouched(class_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[dict[str, Any]]]:
    """What a run gives that nobody interrupts."""
    out = tmp_path_factory.mktemp("untouched") / "run"
    byol.pretrain(class_folder, recipe="cifar10-cpu", out=out, quiet=True, **RUN)
    found = results(out)
    assert found[1][-1]["step"] == 20
    assert any("knn/sample_accuracy" in line for line in found[1])
    assert any("health/rank" in line for line in found[1])
    return found


def start(data: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "byol", "pretrain", str(data), "--recipe", "cifar10-cpu", "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.Popen(
        [*command, *flags(RUN), *more], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )


def wait_for(out: Path, process: subprocess.Popen[str], step: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        lines = read_metrics(out / "metrics.jsonl")
        if lines and lines[-1]["step"] >= step:
            return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.003)
    raise AssertionError("it never came so far")


def test_killed_at_a_random_step(
    class_folder: Path, tmp_path: Path, untouched: tuple[bytes, list[dict[str, Any]]]
) -> None:
    out, step = tmp_path / "run", random.randint(2, 14)
    process = start(class_folder, out)
    wait_for(out, process, step)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process.communicate()
    assert not is_finished(out)
    byol.resume(out, quiet=True)
    weights, lines = results(out)
    assert lines == untouched[1], f"killed after step {step}"
    assert weights == untouched[0], f"killed after step {step}"
    assert sum("going on with" in line for line in (out / "log.txt").read_text().splitlines()) == 1


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_saves_and_exits_130(
    number: int,
    class_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    untouched: tuple[bytes, list[dict[str, Any]]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "run"
    whole = TrainStep.__call__
    taken: list[int] = []

    def step(*arguments: Any) -> Any:
        taken.append(1)
        if len(taken) == 7:
            os.kill(os.getpid(), number)  # in the middle of an update
        return whole(*arguments)

    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patched:
        patched.setattr(TrainStep, "__call__", step)
        settings = flags({**RUN, "logging__checkpoint_minutes": 1e6})
        with pytest.raises(SystemExit) as ended:
            main(["pretrain", str(class_folder), "--recipe", "cifar10-cpu", "--out", str(out), *settings])
    assert ended.value.code == 130
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    said = capsys.readouterr()
    assert f"interrupted after 7 of 20 updates; go on with: byol pretrain --resume {out}" in said.out
    assert said.err == ""
    assert [path.name for path in (out / "checkpoints").glob("*.json")] == ["step-000000007.json"]
    half, card = read_encoder(out)
    assert card.epochs == pytest.approx(7 / 20 * load_plan(out)[1].config.epochs), "what there is can be used"
    assert half(torch.zeros(1, 3, 16, 16)).shape == (1, card.features)
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", "--resume", str(out)])
    assert ended.value.code in (0, None)
    assert results(out) == untouched


class Killed(BaseException):
    """Nothing expects it, as nothing expects a kill."""


def die_after(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Callbacks.__call__

    def call(self: Callbacks, *seen: Any) -> bool:
        go_on = whole(self, *seen)
        if self.state.step == step:
            raise Killed
        return go_on

    monkeypatch.setattr(Callbacks, "__call__", call)


@pytest.mark.parametrize(
    "changes",
    [
        {"optim__name": "lars", "data__memory": "never", "optim__accumulate": 1},
        {"optim__name": "sgd", "precision": "bf16", "method__start": "apart", "encoder__init": "official"},
        {"encoder": "test_efficientnet", "image_size": 32, "encoder__width": 1, "encoder__stem": "standard"},
        {"method__target": "stop-gradient", "method__normalization": "batch", "method__predictor_lr": 5.0},
        {"method": "infonce", "method__target": "ema", "method__beta": 0.5, "logging__norms": True},
        {"method": "simclr", "method__projector_lr": 0.5, "optim__name": "lars"},
        {"method": "moco", "method__queue": 45, "method__splits": 4},
        {"method": "supervised", "data__memory": "never", "data__workers": 1},
    ],
    ids=["lars, from disk", "sgd, bf16, apart", "another family", "byol", "infonce", "simclr", "moco", "supervised"],
)
def test_every_way_to_train_resumes(
    changes: dict[str, Any], class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = without_heads(RUN) if changes.get("method") == "supervised" else RUN
    settings = {**run, "epochs": 0.7, "logging__health_every": 2, "logging__log_every": 2, **changes}
    whole = byol.pretrain(class_folder, recipe="cifar10-cpu", out=tmp_path / "whole", quiet=True, **settings)
    with monkeypatch.context() as patched:
        die_after(3, patched)
        with pytest.raises(Killed):
            byol.pretrain(class_folder, recipe="cifar10-cpu", out=tmp_path / "killed", quiet=True, **settings)
    torch.manual_seed(12345)  # the state of PyTorch's own generator has no part in it
    outcome = byol.resume(tmp_path / "killed", quiet=True)
    assert results(tmp_path / "killed") == results(tmp_path / "whole")
    assert outcome.reading == whole.reading
    norms = [line["norm/projection"] for line in results(tmp_path / "whole")[1] if "norm/projection" in line]
    assert bool(norms) == settings.get("logging__norms", False)


def interrupted(data: Path, out: Path, monkeypatch: pytest.MonkeyPatch, step: int = 5, **changes: Any) -> None:
    with monkeypatch.context() as patched:
        die_after(step, patched)
        with pytest.raises(Killed):
            byol.pretrain(data, recipe="cifar10-cpu", out=out, quiet=True, **{**RUN, **changes})


def test_a_torn_checkpoint_is_told_and_the_one_before_leads_to_the_same_end_from_anywhere(
    class_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    untouched: tuple[bytes, list[dict[str, Any]]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "run"
    monkeypatch.chdir(class_folder.parent)
    interrupted(Path(class_folder.name), out, monkeypatch)
    monkeypatch.chdir(tmp_path)
    last = out / "checkpoints" / "step-000000005.safetensors"
    last.write_bytes(last.read_bytes()[:1000])
    byol.resume("run")
    assert results(out) == untouched
    said = capsys.readouterr().out
    assert "step-000000005.safetensors is torn" in said
    assert "after 4 of 20 updates" in said
    assert "is torn" in (out / "log.txt").read_text()


def test_without_a_checkpoint_it_starts_over(
    class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, untouched: tuple[bytes, list[dict[str, Any]]]
) -> None:
    out = tmp_path / "run"
    interrupted(class_folder, out, monkeypatch, logging__checkpoint_minutes=1e6)
    assert not list((out / "checkpoints").iterdir())
    (out / "metrics.jsonl").write_text((out / "metrics.jsonl").read_text() + '{"step": 6, "lo')  # half a line
    byol.resume(out, quiet=True)
    assert results(out) == untouched


def test_other_images_are_noticed(class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    shutil.copytree(class_folder, data)
    interrupted(data, tmp_path / "run", monkeypatch, step=1)
    (data / "red" / "00.png").unlink()
    with pytest.raises(UserError, match="does not hold the images this run was started with"):
        byol.resume(tmp_path / "run", quiet=True)


@pytest.mark.parametrize("changed", ["data", "watched"])
def test_images_that_changed_in_place_are_noticed(
    changed: str, class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("data", "watched"):
        for file in class_folder.rglob("*.png"):
            copy = (tmp_path / name / file.relative_to(class_folder)).with_suffix(".npy")
            copy.parent.mkdir(parents=True, exist_ok=True)
            np.save(copy, np.asarray(Image.open(file)))
    out = tmp_path / "run"
    interrupted(tmp_path / "data", out, monkeypatch, step=1, monitor=tmp_path / "watched")
    victim = tmp_path / changed / "red" / "41.npy"
    pixels = np.load(victim)
    np.save(victim, pixels // 2)
    words = "have changed since this run was started" if changed == "data" else "does not hold the images that this run"
    with pytest.raises(UserError, match=words):
        byol.resume(out, quiet=True)
    np.save(victim, pixels)
    assert byol.resume(out, quiet=True).verdict is not None, "the same content again, though written later"


def test_other_images_of_the_monitor_are_noticed(
    class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(class_folder, watched := tmp_path / "watched")
    shutil.copytree(class_folder, moved := tmp_path / "moved")
    interrupted(class_folder, tmp_path / "run", monkeypatch, step=1, monitor=watched)
    (watched / "red" / "00.png").unlink()
    with pytest.raises(UserError, match="does not hold the images that this run's readings are of"):
        byol.resume(tmp_path / "run", quiet=True)
    byol.resume(tmp_path / "run", quiet=True, monitor=moved)


def test_images_that_have_moved_are_given_anew(
    class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, untouched: tuple[bytes, list[dict[str, Any]]]
) -> None:
    data, out = tmp_path / "data", tmp_path / "my run"
    shutil.copytree(class_folder, data)
    interrupted(data, out, monkeypatch)
    data.rename(tmp_path / "moved")
    with pytest.raises(UserError, match=r"is not there; .* give their new place beside --resume"):
        byol.resume(out, quiet=True)
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", str(tmp_path / "moved"), "--resume", str(out)])
    assert ended.value.code in (0, None)
    assert results(out) == untouched
    assert json.loads((out / "config.json").read_text())["data"] == str(tmp_path / "moved"), "and it is kept"


def test_a_monitor_that_a_run_never_had_is_refused(
    class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(class_folder, tmp_path / "run", monkeypatch)
    with pytest.raises(UserError, match="was started without --monitor"):
        byol.resume(tmp_path / "run", quiet=True, monitor=class_folder)


def test_a_terminal_that_is_gone_ends_no_run(
    class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any, **__: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("rich.console.Console.print", gone)
    byol.pretrain(class_folder, recipe="cifar10-cpu", out=tmp_path / "run", **RUN)
    assert (tmp_path / "run" / "encoder.safetensors").is_file()
    assert "20-NN accuracy" in (tmp_path / "run" / "log.txt").read_text()


def test_what_nohup_ignores_is_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with noted_signals() as seen, orderly_exit():
            os.kill(os.getpid(), signal.SIGHUP)
        assert not seen
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    "broken", ["byol.runtime.checkpoint.save_checkpoint", "byol.runtime.metrics.MetricsWriter.write"]
)
def test_a_full_disk_says_what_is_kept_and_how_to_go_on(
    broken: str, class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "my run"
    owner, _, name = broken.rpartition(".")
    place = checkpoint if owner == "byol.runtime.checkpoint" else MetricsWriter
    whole = getattr(place, name)

    def write(first: Any, step: int, *rest: Any) -> Any:
        if step > 4:
            raise OSError(28, "No space left on device")
        return whole(first, step, *rest)

    monkeypatch.setattr(place, name, write)
    with pytest.raises(UserError) as error:
        byol.pretrain(
            class_folder, recipe="cifar10-cpu", out=out, quiet=True, **{**RUN, "logging__checkpoint_minutes": 1e-9}
        )
    assert str(error.value) == (
        "The run cannot write: No space left on device. It is kept up to update 4; go on with: byol pretrain --resume "
        f"'{out}'"
    )


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_before_the_first_step_leaves_nothing_behind(
    name: str, class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = getattr(signal, name)
    monkeypatch.setattr("byol.pretraining.run.prepare", lambda *_: os.kill(os.getpid(), number))
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as ended:
        byol.pretrain(class_folder, recipe="cifar10-cpu", out=tmp_path / "run", quiet=True, **RUN)
    assert ended.value.code == 128 + number
    assert signal.getsignal(number) == before
    assert not (tmp_path / "run").exists()


def test_a_finished_run_is_left_alone(class_folder: Path, tmp_path: Path) -> None:
    byol.pretrain(class_folder, recipe="cifar10-cpu", out=tmp_path, quiet=True, **{**RUN, "epochs": 0.5})
    before = results(tmp_path)
    with pytest.raises(UserError, match="is finished"):
        byol.resume(tmp_path, quiet=True)
    assert results(tmp_path) == before


def test_a_reader_that_goes_away_ends_no_run(class_folder: Path, tmp_path: Path) -> None:
    """`byol pretrain ... | tee log`, and Ctrl-C takes tee first: the state is kept, and the exit code is 130."""
    often = {"epochs": 200, "logging__checkpoint_minutes": 60.0, "logging__knn_every_epochs": 1.0}
    process = start(class_folder, tmp_path / "run", *flags(often))
    assert process.stdout is not None
    while "after" not in process.stdout.readline():  # the first reading
        assert process.poll() is None
    process.stdout.close()
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    saved = sorted((tmp_path / "run" / "checkpoints").glob("*.safetensors"))
    assert saved, "the state was saved, though nobody listened"
    assert "go on with" in (tmp_path / "run" / "log.txt").read_text()


def test_images_that_go_away_end_the_run_with_its_state_kept(
    class_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readable, "RETRY_SECONDS", (0.01,))
    data, out = tmp_path / "images", tmp_path / "run"
    shutil.copytree(class_folder, data)
    settings = {**RUN, "data__memory": "never", "logging__checkpoint_minutes": 60.0}
    called = Callbacks.__call__

    def leave_after_seven(self: Callbacks, *arguments: Any) -> bool:
        if self.state.step == 7:
            data.rename(tmp_path / "elsewhere")
        return called(self, *arguments)

    monkeypatch.setattr(Callbacks, "__call__", leave_after_seven)
    with pytest.raises(
        UserError, match=r"in a row cannot be read: No such file or directory; .* up to update 7; go on"
    ):
        byol.pretrain(data, recipe="cifar10-cpu", out=out, quiet=True, **settings)
    assert not (out / "bad_images.txt").exists()
    monkeypatch.setattr(Callbacks, "__call__", called)
    (tmp_path / "elsewhere").rename(data)
    whole = tmp_path / "whole"
    byol.pretrain(data, recipe="cifar10-cpu", out=whole, quiet=True, **settings)
    assert byol.resume(out, quiet=True).verdict is not None
    assert (out / "encoder.safetensors").read_bytes() == (whole / "encoder.safetensors").read_bytes()
