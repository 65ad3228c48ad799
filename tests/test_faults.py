"""A small part of the fault campaign (`benchmarks/faults/`), and what it found in the product."""

import errno
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import byol
from byol.cli.main import main
from byol.config.documents import LARGEST, read_document
from byol.config.run import PretrainConfig
from byol.data.sources.files import read_file
from byol.encoders.file import read_card, read_encoder
from byol.errors import BadImage, UnreachableImage, UserError, visible
from byol.pretraining import keep
from byol.pretraining.finish import Outcome
from byol.pretraining.plan_file import read_plan
from byol.pretraining.run_folder import BadImages, RunFolder, load_plan, new_run_folder
from byol.runtime import distributed
from byol.runtime.checkpoint import load_checkpoint, save_checkpoint, save_tensors
from byol.runtime.console import words_to
from byol.runtime.metrics import MetricsWriter, cut_metrics, read_metrics
from conftest import TINY

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
RUN = {**TINY, "epochs": 1, "data__memory": "always", "logging__stop_on_collapse": False}


CAMPAIGN = """
import json, random, sys, tempfile
from pathlib import Path
from faults import disks, kills, streams
from faults.trial import LostError

def show(name, attempt):
    with tempfile.TemporaryDirectory() as folder:
        try:
            seen = attempt(Path(folder))
        except LostError as error:
            seen = f"lost: {error}"
        print(json.dumps([name, seen]), flush=True)

share = random.random()
show("killed between", lambda folder: f"{share} {kills.killed_at_file(folder, share)}")
phase = next(phase for phase in kills.PHASES if phase.name == "writing the page")
for name in ("SIGKILL", "SIGTERM"):
    show(name, lambda folder: kills.killed(folder, phase, name, seed=0))
for file in ("step-000000020.json", "step-000000020.safetensors"):
    for damage in disks.DAMAGES:
        show(f"{file}, {damage}", lambda folder: disks.every_byte(folder, file, disks.DAMAGES[damage]))
for kind in streams.KINDS:
    show(f"{kind}, killed", lambda folder: streams.killed_again_and_again(folder, kind, kills=2, epochs=2))
    show(f"{kind}, two ranks", lambda folder: streams.on_two_ranks(folder, kind))
"""


@pytest.fixture(scope="module")
def campaign() -> dict[str, str]:
    """What a small part of the campaign saw, by its name.

    A process of its own with one thread: a child that is forked where OpenMP has threads waits for them for ever.
    """
    pytest.importorskip("resource", reason="the campaign forks processes")
    settings = os.environ | {"PYTHONPATH": str(BENCHMARKS), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", CAMPAIGN], env=settings, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(line) for line in done.stdout.splitlines())


def test_a_run_that_is_killed_between_two_operations_on_files_ends_the_same(campaign: dict[str, str]) -> None:
    assert "operation" in campaign["killed between"]


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_a_run_that_is_killed_in_its_last_words_ends_the_same(campaign: dict[str, str], name: str) -> None:
    assert "exit code" in campaign[name]
    assert "lost" not in campaign[name]


@pytest.mark.parametrize("file", ["step-000000020.json", "step-000000020.safetensors"])
@pytest.mark.parametrize("damage", ["a bit flipped", "cut short", "zeros from there on", "a block of zeros"])
def test_damage_at_every_byte_of_a_checkpoint_is_seen(campaign: dict[str, str], file: str, damage: str) -> None:
    assert "all seen" in campaign[f"{file}, {damage}"]


def test_the_command_of_the_campaign_starts_with_every_part(tmp_path: Path) -> None:
    pytest.importorskip("resource", reason="the campaign forks processes")
    command = [sys.executable, str(BENCHMARKS / "faults" / "run.py"), "--only", "no such fault", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", ["tar shards", "row groups of Parquet"])
def test_a_run_that_streams_is_killed_again_and_again_and_ends_the_same(campaign: dict[str, str], kind: str) -> None:
    assert campaign[f"{kind}, killed"].startswith("losses written at each kill: ")


@pytest.mark.parametrize("kind", ["tar shards", "row groups of Parquet"])
def test_two_ranks_stream_as_one(campaign: dict[str, str], kind: str) -> None:
    assert campaign[f"{kind}, two ranks"].startswith("losses differ by ")


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The campaign's modules, by name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    pytest.importorskip("resource", reason="the campaign forks processes")

    def module(name: str) -> ModuleType:
        return importlib.import_module(f"faults.{name}")

    return module


def test_lines_are_resumed_and_lost_is_told(faults: Any, tmp_path: Path) -> None:
    trial = faults("trial")
    tries = []

    def holds(folder: Path) -> str:
        tries.append(folder)
        assert folder.is_dir()
        return "held on"

    def fails(folder: Path) -> str:
        trial.require(False, "a byte is gone")
        return ""

    trials = [trial.Trial("one", "a", holds), trial.Trial("one", "b", fails), trial.Trial("two", "a", lambda _: 1 / 0)]
    path = tmp_path / "lines.jsonl"
    path.write_text('{"part": "p", "fau')  # of a campaign that was killed
    path.write_text("")
    lines = trial.go_through("p", trials, path, "abc")
    assert [(line["fault"], line["case"], line["held"]) for line in lines] == [
        ("one", "a", True),
        ("one", "b", False),
        ("two", "a", False),
    ]
    assert [line["seen"] for line in lines[:2]] == ["held on", "a byte is gone"]
    assert "ZeroDivisionError" in lines[2]["seen"]
    assert trial.go_through("p", trials, path, "abc") == []
    assert len(tries) == 1
    assert not tries[0].exists()


def test_checkpoints_of_older_versions_are_read(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 3, {"a": torch.ones(2)}, {"losses": [0.25]})
    path = tmp_path / "step-000000003.json"
    content = json.loads(path.read_text())
    del content["json_crc32"]
    path.write_text(json.dumps(content))
    found, messages = load_checkpoint(tmp_path)
    assert found is not None
    assert (found.step, found.extra, messages) == (3, {"losses": [0.25]}, [])
    path.write_text(json.dumps({**content, "json_crc3": 1}))  # a name in which a bit flipped
    assert load_checkpoint(tmp_path)[0] is None


def test_what_a_run_left_that_was_killed_before_it_began_is_taken_away(class_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    RunFolder(out).lock.touch()  # as a killed process leaves it
    (out / "metrics.jsonl").write_text('{"step": 7, "loss": 1}\n')
    (out / "log.txt").write_text("of the run that never began\n")
    byol.pretrain(class_folder, recipe="cifar10-cpu", out=out, quiet=True, **RUN)
    assert "never began" not in (out / "log.txt").read_text()
    assert read_metrics(out / "metrics.jsonl")[0]["step"] == 0
    with pytest.raises(UserError, match="holds a run already"):
        new_run_folder(out, "photos")


def test_files_of_somebody_else_are_still_left_alone(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("mine\n")
    with pytest.raises(UserError, match=r"holds log\.txt of something else"):
        new_run_folder(tmp_path, "photos")
    assert (tmp_path / "log.txt").read_text() == "mine\n"


def test_a_finished_run_without_its_page_gets_it(class_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    byol.pretrain(class_folder, recipe="cifar10-cpu", out=out, quiet=True, **RUN)
    page = (out / "report.html").read_bytes()
    (out / "report.html").unlink()
    (out / "best.safetensors").write_bytes(b"of a run that was killed before it took it away")
    with pytest.raises(UserError, match="is finished"):
        byol.resume(out, quiet=True)
    assert (out / "report.html").read_bytes() == page
    assert not (out / "best.safetensors").exists()


def test_the_verdict_lies_there_before_the_encoder(
    class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, seen = keep.save_encoder, []

    def save(folder: Path, *rest: Any) -> Path:
        seen.append((folder / "verdict.json").is_file())
        return whole(folder, *rest)

    monkeypatch.setattr(keep, "save_encoder", save)
    byol.pretrain(class_folder, recipe="cifar10-cpu", out=tmp_path / "run", quiet=True, **RUN)
    assert seen[-1]


@pytest.mark.parametrize("damage", ["weight", "step", "cut", "older"])
def test_a_torn_best_encoder_is_told_and_the_last_one_kept(
    damage: str, class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = keep.best_of

    def torn(run: Any, state: Any) -> Any:
        path = run.folder.path / keep.BEST
        content = bytearray(path.read_bytes())
        if damage == "weight":
            content[-3] ^= 4
        elif damage == "step":
            at = content.index(b'"step":"') + 8
            content[at] ^= 1
        elif damage == "older":
            tensors = dict(state.method.encoder.state_dict())
            save_tensors(path, tensors, {"format": "pt", "step": "4"})
            content = bytearray(path.read_bytes())
        else:
            del content[-3:]
        path.write_bytes(bytes(content))
        found = whole(run, state)
        assert (found is None) == (damage != "older")
        return found

    monkeypatch.setattr("byol.pretraining.judge.best_of", torn)
    out = tmp_path / "run"
    outcome = byol.pretrain(class_folder, recipe="cifar10-cpu", out=out, quiet=True, **{**RUN, "keep": "best"})
    assert outcome.verdict is not None
    assert ("best.safetensors, is torn" in (out / "log.txt").read_text()) == (damage != "older")
    assert read_encoder(out)[1].finished


def test_a_disk_that_is_full_is_named_where_a_number_is_written(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(OSError, match="metrics") as error, MetricsWriter(tmp_path, PretrainConfig().logging) as metrics:
        metrics.write(3, {"loss": 1.0})
    assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(tmp_path / "metrics.jsonl"))


def test_a_log_on_a_full_disk_ends_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    import logging

    (tmp_path / "log.txt").symlink_to("/dev/full")
    with words_to(tmp_path, quiet=True):
        logging.getLogger("byol").info("a line that goes nowhere")
    assert capsys.readouterr() == ("", "")


def test_damaged_lines_of_the_metrics_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = [b'{"step": 1, "loss": 2}', b"[1]", b'{"stfp": 2}', b'{"step": "2"}', b"\xff{", b"[" * 100_000, b"7"]
    path.write_bytes(b"\n".join([*lines, b'{"step": 3}']) + b"\n")
    assert read_metrics(path) == [{"step": 1, "loss": 2}, {"step": 3}]
    cut_metrics(path, 2)
    assert path.read_text() == '{"step": 1, "loss": 2}\n'


def test_control_characters_become_escapes() -> None:
    assert visible("a\x1b[31mb\x07\x9b\x7f\tc\nd é") == "a\\x1b[31mb\\x07\\x9b\\x7f\tc\nd é"


def test_a_line_of_bad_images_is_one_line(tmp_path: Path) -> None:
    bad = BadImages(tmp_path / "bad_images.txt")
    for _ in range(2):
        bad.add("a\x1b[31m\nb.png\tbroken")
    assert (tmp_path / "bad_images.txt").read_text() == "a\\x1b[31m\\nb.png\tbroken\n"
    assert len(BadImages(tmp_path / "bad_images.txt")) == len(bad) == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_pipes_and_devices_are_no_images(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "whole.png").write_bytes(b"bytes")
    for name in ("pipe.png", "zero.png"):
        with pytest.raises(BadImage, match="is no plain file"):
            read_file(tmp_path / name)
    assert read_file(tmp_path / "whole.png") == b"bytes"
    with pytest.raises(UnreachableImage, match="No such file"):
        read_file(tmp_path / "gone.png")


@pytest.mark.parametrize("content", ["large", "deep", "no text"])
@pytest.mark.parametrize("name", ["config.json", "encoder.json", "plan.toml"])
def test_settings_of_absurd_size_or_depth_are_refused(name: str, content: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if content == "large":
        with path.open("wb") as file:
            file.truncate(LARGEST + 1)
    elif content == "deep":
        path.write_text("a = " * (name == "plan.toml") + "[" * 100_000)
    else:
        path.write_bytes(b"\xff\xfe{")
    readers: dict[str, Any] = {"config.json": lambda: load_plan(tmp_path), "encoder.json": lambda: read_card(path)}
    with pytest.raises(UserError, match=name) as error:
        readers.get(name, lambda: read_plan(path))()
    assert ("larger than 16 MiB" in str(error.value)) == (content == "large")


def test_a_document_of_the_largest_size_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * LARGEST)
    assert len(read_document(tmp_path / "a")) == LARGEST


@pytest.mark.parametrize(
    ("said", "ours"),
    [
        ("[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:5", True),
        ("[../gloo/transport/tcp/pair.cc:525] Read error [127.0.0.1]:5: Connection reset by peer", True),
        ("mat1 and mat2 shapes cannot be multiplied", False),
        ("Connection closed by peer", False),
    ],
)
def test_the_death_of_another_process_is_told(said: str, ours: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "launched", lambda: True)
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    for name in ("init_process_group", "destroy_process_group"):
        monkeypatch.setattr(distributed.dist, name, lambda *_: None)
    with pytest.raises(RuntimeError if not ours else UserError) as error, distributed.processes(torch.device("cpu")):
        raise RuntimeError(said)
    assert ("Another of the 2 processes has ended" in str(error.value)) == ours


@pytest.mark.parametrize("count", ["0", "1"])
def test_a_command_that_torchrun_types_again_goes_on(
    count: str, class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "config.json").write_text("{}")
    gone_on: list[str] = []
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", count)
    monkeypatch.setattr("byol.pretraining.resume.resume", lambda path: gone_on.append(path) or Outcome(out, None))
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", str(class_folder), "--recipe", "cifar10-cpu", "--out", str(out)])
    if count == "0":
        assert (ended.value.code, gone_on) == (2, [])
        assert "holds a run already" in capsys.readouterr().err
    else:
        assert (ended.value.code, gone_on) == (0, [str(out)])
