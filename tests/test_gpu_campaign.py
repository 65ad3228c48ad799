"""The GPU campaign on tiny work: every stage has figures, nothing is done twice, time is kept, errors are recorded."""

import importlib
import json
import os
import signal
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from byol.errors import UserError
from byol.pretraining.callbacks import Callbacks

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
WORK = "resnet18-32-b512"


@pytest.fixture(autouse=True)
def own_imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The campaign's modules; paths that it adds go again."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    before, cudnn = list(sys.path), torch.backends.cudnn.benchmark
    yield
    sys.path[:], torch.backends.cudnn.benchmark = before, cudnn


def module(name: str) -> ModuleType:
    return importlib.import_module(name)


def rows(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["group"], row["name"]): row for row in json.loads((folder / "gpu.json").read_text())["rows"]}


def states(folder: Path) -> dict[str, str]:
    return {name: unit["state"] for name, unit in json.loads((folder / "campaign.json").read_text()).items()}


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, Path]]:
    """A tiny call in folders of its own; its exit code and the folder of its results."""
    monkeypatch.setattr(module("gpu"), "PACKED", tmp_path / "nothing")

    def call(*options: str) -> tuple[int, Path]:
        out = tmp_path / "out"
        places = ["--out", str(out), "--work", str(tmp_path / "work"), "--resume-from", str(tmp_path / "earlier")]
        return module("gpu").main(["--tiny", *places, *options]), out

    return call


@pytest.fixture
def without_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which neither peer is installed."""
    real = importlib.util.find_spec
    absent = ("lightly", "byol_pytorch")
    monkeypatch.setattr(module("campaign.unit"), "find_spec", lambda name: None if name in absent else real(name))


def test_a_tiny_campaign_measures_every_stage_once(
    gpu: Callable[..., tuple[int, Path]], without_peers: None, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = gpu()
    assert code == 0, capsys.readouterr().out
    found = rows(out)
    assert found[("tests", "failed")]["median"] == 0
    assert found[("tests", "passed")]["median"] + found[("tests", "skipped")]["median"] > 20
    limit, step = (found[(WORK, name)]["median"] for name in ("limit", "step alone"))
    assert found[(WORK, "step alone / limit")]["median"] == pytest.approx(step / limit, rel=1e-4)
    assert found[("machine", "copy, read and written")]["median"] > 0
    knn = found[("cifar10, 2 epochs", "20-NN accuracy on the test part")]
    assert knn["median"] > 0.9, "red and blue images"
    assert knn["config"]["images"] == 120
    assert found[("cifar10, 2 epochs", "minutes of training")]["median"] > 0
    assert ("cifar10, 2 epochs", "20-NN on a sample after 1 epochs") in found
    for table in ("batch-size", "augmentations", "targets", "bridge"):
        (line,) = (out / "paper" / f"{table}-tiny.jsonl").read_text().splitlines()
        assert json.loads(line)["linear"] > 0.9
    assert ("paper: batch-size", "BYOL, 4096 (16 here): linear") in found
    assert found[("continued pretraining", "from scratch: 20-NN accuracy on the test part")]["median"] > 0.9
    assert all(row["command"].startswith("python ") and row["n"] == 1 for row in found.values() if row["group"] == WORK)

    ended = states(out)
    assert ended[f"speed: {WORK}: byol beside byol-pytorch"] == "unavailable"
    assert ended["continued: continued"] == "unavailable"
    assert set(ended.values()) == {"done", "unavailable"}
    said = capsys.readouterr().out
    assert "not available: lightly is not installed" in said
    assert "not available: no encoder to start from is packed" in said
    assert len([path for path in out.rglob("*") if path.is_file()]) <= 8, "as many as come back"

    before = (out / "gpu.json").read_bytes()
    assert gpu()[0] == 0
    assert (out / "gpu.json").read_bytes() == before, "nothing is done twice"
    assert ", 0 remain" in capsys.readouterr().out


def test_a_stopped_training_goes_on_where_it_was(
    gpu: Callable[..., tuple[int, Path]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = Callbacks.__call__

    def stopping(self: Callbacks, *values: Any) -> bool:
        if self.state.step == 9:
            os.kill(os.getpid(), signal.SIGTERM)  # as the campaign does when the time is up
        return real(self, *values)

    name = "quality: cifar10, 2 epochs"
    with monkeypatch.context() as patched:
        patched.setattr(Callbacks, "__call__", stopping)
        _, out = gpu("--only", name)
    assert states(out) == {name: "part"}
    assert {what for _, what in rows(out)} == {"20-NN on a sample after 1 epochs"}, "the reading so far is kept"
    assert gpu("--only", name)[0] == 0
    assert states(out) == {name: "done"}
    metrics = tmp_path / "work" / "cifar10-2-epochs" / "metrics.jsonl"
    steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
    assert steps == sorted(steps)
    assert steps[-1] == 15, "2 epochs of 120 images at a batch of 16"
    assert [group for group, _ in rows(out)] == ["cifar10, 2 epochs"] * len(rows(out))


def test_results_come_along_to_a_fresh_machine(gpu: Callable[..., tuple[int, Path]], tmp_path: Path) -> None:
    _, out = gpu("--only", "continued: untrained")
    out.rename(tmp_path / "earlier")
    module("shutil").rmtree(tmp_path / "work")
    record = tmp_path / "earlier" / "campaign.json"
    record.write_text(record.read_text().replace("20-NN", "earlier"))
    gpu("--only", "continued: untrained")
    assert "earlier" in (out / "campaign.json").read_text()
    assert rows(out) == rows(tmp_path / "earlier")
    gpu("--only", "continued: untrained", "--again")
    assert "20-NN" in (out / "campaign.json").read_text()


class Clock:
    """A clock that work moves on."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def unit(name: str, seconds: float, work: Callable[[], Any] | None = None, **more: Any) -> Any:
    units = module("campaign.unit")
    row = module("results_file").Row(name, "speed", "images/s", [seconds])
    done = units.Measured([row], f"{seconds:g}")
    return units.Unit(stage="s", what=name, seconds=seconds, work=work or (lambda: done), **more)


def go(units: list[Any], folder: Path, seconds: float, took: dict[str, float] | None = None) -> list[str]:
    """A call with a clock of its own: each unit takes what it is said to take; the names of those that were run."""
    drive, clock, run = module("campaign.drive"), Clock(), []

    def timed(unit: Any, left: float) -> Any:
        run.append(unit.what)
        spent = (took or {}).get(unit.what, unit.seconds)
        clock.now += min(spent, left)
        if spent > left:
            return module("campaign.unit").Outcome("part" if unit.resumes else "late", "stopped")
        return drive.attempt(unit)

    ledger = module("campaign.ledger").Ledger(folder)
    drive.Campaign(units, ledger, seconds + drive.RESERVE_SECONDS, timed, clock).go()
    assert clock.now <= 100 + seconds
    return run


def test_only_what_fits_is_started_and_the_rest_comes_next(tmp_path: Path) -> None:
    units = [unit("a", 50), unit("b", 100), unit("c", 30), unit("d", 500, resumes=True)]
    assert go(units, tmp_path, 100) == ["a", "c"], "b does not fit, c does; a training needs a minute"
    assert go(units, tmp_path, 260) == ["b", "d"], "a training is started where there is a minute"
    assert go(units, tmp_path, 600) == ["d"]
    assert go(units, tmp_path, 600) == []
    assert {name: row["median"] for (name, _), row in rows(tmp_path).items()} == {"a": 50, "b": 100, "c": 30, "d": 500}


def test_a_unit_that_was_cut_off_is_given_more_time(tmp_path: Path) -> None:
    units = [unit("a", 50)]
    assert go(units, tmp_path, 80, {"a": 90}) == ["a"]
    assert states(tmp_path) == {"s: a": "late"}
    assert go(units, tmp_path, 100, {"a": 90}) == [], "1.5 times the 80 seconds that were too few"
    assert go(units, tmp_path, 130, {"a": 90}) == ["a"]
    assert states(tmp_path) == {"s: a": "done"}


def test_an_error_is_recorded_and_the_others_go_on(tmp_path: Path) -> None:
    def broken() -> None:
        raise RuntimeError("out\nof memory")

    def mistaken() -> None:
        raise UserError("There is no such folder.")

    units = [unit("a", 1, broken), unit("b", 1, mistaken), unit("c", 1), unit("d", 1, missing="not available: d")]
    assert go(units, tmp_path, 100) == ["a", "b", "c"]
    kept = json.loads((tmp_path / "campaign.json").read_text())
    assert kept["s: a"]["said"] == "RuntimeError: out of memory"
    assert kept["s: b"]["said"] == "There is no such folder."
    assert states(tmp_path) == {"s: a": "failed", "s: b": "failed", "s: c": "done", "s: d": "unavailable"}
    assert go([*units, unit("e", 1)], tmp_path, 100) == ["e", "a", "b"], "what failed is tried again, but last"


def test_a_process_answers_or_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = module("campaign.child")
    script = tmp_path / "script.py"
    script.write_text(
        "import json, sys, time\n"
        "name, report = sys.argv[2], sys.argv[4]\n"
        "if name == 's: slow': time.sleep(60)\n"
        "if name == 's: dead': sys.exit(7)\n"
        "row = dict(group=name, name='n', unit='s', values=[1.0], config={}, goal=None, at_most=False)\n"
        "open(report, 'w').write(json.dumps(dict(state='done', said=sys.argv[5], rows=[row])))\n"
    )
    monkeypatch.setattr(child, "SCRIPT", script)
    runner = child.ChildRunner(["option"], tmp_path / "log.txt", stop_seconds=1.0)
    quick = runner(unit("quick", 1), 30)
    assert (quick.state, quick.said, quick.rows[0].median) == ("done", "option", 1.0)
    assert runner(unit("slow", 1), 1.5).state == "late"
    assert runner(unit("slow", 1, resumes=True), 1.5).state == "part"
    dead = runner(unit("dead", 1), 30)
    assert dead.state == "failed"
    assert "exit code 7" in dead.said
    assert (tmp_path / "log.txt").read_text().count("== s: ") == 4


def test_a_unit_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    child = module("campaign.child")
    options = ["--tiny", "--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
    outcome = child.ChildRunner(options, tmp_path / "log.txt")(
        module("campaign.unit").Unit(stage="continued", what="untrained", seconds=1, work=lambda: None), 120
    )
    assert outcome.state == "done", (tmp_path / "log.txt").read_text()
    assert [row.unit for row in outcome.rows] == ["accuracy", "accuracy"]


def test_only_what_is_missing_comes_from_wheels(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name in ("byolmissing", "numpy"):
        with zipfile.ZipFile(wheels / f"{name}-9.9-py3-none-any.whl", "w") as archive:
            archive.writestr(f"{name}/__init__.py", "NUMBER = 7\n")
            archive.writestr(f"{name}-9.9.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.9\n")
    bare = module("campaign.bare")
    assert bare.make_importable(wheels, tmp_path / "site") == ["byolmissing-9.9-py3-none-any.whl"]
    assert module("byolmissing").NUMBER == 7
    assert importlib.metadata.version("byolmissing") == "9.9"
    assert str(tmp_path / "site") in os.environ["PYTHONPATH"]
    assert not (tmp_path / "site" / "numpy").exists()


def test_what_travels_is_counted(tmp_path: Path) -> None:
    pack = module("campaign.pack")
    repository, packed = tmp_path / "source.py", tmp_path / "packed"
    repository.write_bytes(bytes(2 << 20))
    (packed / "data" / "below").mkdir(parents=True)
    (packed / "data" / "below" / "images").write_bytes(bytes(3 << 20))
    (packed / "commit.json").write_text("{}")
    lines = pack.account([repository], packed, limit=6 << 20)
    assert [line.split() for line in lines] == [
        ["2.0", "MiB", "repository"],
        ["0.0", "MiB", "commit.json"],
        ["3.0", "MiB", "data"],
        ["5.0", "MiB", "together,", "of", "6"],
    ]
    with pytest.raises(UserError, match=r"too large by 1\.0 MiB"):
        pack.account([repository], packed, limit=4 << 20)


def test_photographs_are_taken_up_to_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = module("campaign.pack")
    for name, size in (("cifar10/train.parquet", 5), ("cifar10/test.parquet", 5)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(size))
    (tmp_path / "imagenet-samples").mkdir()
    for number in range(5):
        (tmp_path / "imagenet-samples" / f"{number}.JPEG").write_bytes(bytes(10))
    monkeypatch.setattr(pack, "PHOTOGRAPH_BYTES", 35)
    pack.pack_images(tmp_path, tmp_path / "packed")
    assert len(list((tmp_path / "packed" / "imagenet-samples").iterdir())) == 3
    assert (tmp_path / "packed" / "cifar10" / "test.parquet").stat().st_size == 5
    with pytest.raises(UserError, match="There is no"):
        pack.pack_images(tmp_path / "elsewhere", tmp_path / "packed")


def test_the_commit_is_known_without_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = module("results_file")
    note = tmp_path / "commit.json"
    monkeypatch.setattr(results, "PACKED_COMMIT", note)
    monkeypatch.setenv("PATH", "")  # no git
    assert results.commit() == "unknown"
    note.write_text(json.dumps({"commit": "0123456789ab", "sources": results.digest_of_sources()}))
    assert results.commit() == "0123456789ab"
    note.write_text(json.dumps({"commit": "0123456789ab", "sources": "of another time"}))
    assert results.commit() == "unknown"
