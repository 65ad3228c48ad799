"""Which encoder a run keeps: the last one, the best-read one, or the start as it was."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import byol
from byol.encoders.file import read_card
from byol.errors import UserError
from byol.pretraining.callbacks import Callbacks
from byol.pretraining.keep import BEST, is_finished
from byol.pretraining.monitor import Monitor, Reading
from byol.pretraining.verdict import Verdict
from byol.runtime.metrics import read_metrics
from conftest import TINY

RUN: dict[str, Any] = {
    **TINY,
    "recipe": "cifar10-cpu",
    "quiet": True,
    "batch_size": 16,
    "epochs": 2,
    "logging__knn_every_epochs": 0.5,
}
"""20 updates on 160 images, read after 5, 10 and 15, and at the end."""


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What each reading says: of samples in turn, then in full of the last encoder, the best one, and the start."""
    plan: dict[str, Any] = {"samples": [0.3, 0.6, 0.4], "full": [], "seen": []}

    def read(monitor: Monitor, encoder: torch.nn.Module, *, full: bool) -> Reading:
        values = {name: value.clone() for name, value in encoder.state_dict().items()}
        plan["seen"].append((full, values))
        right = round(160 * plan["full" if full else "samples"].pop(0))
        return Reading(right / 160, 159, 160, correct=torch.arange(160) < right)

    monkeypatch.setattr(Monitor, "read", read)
    monkeypatch.setattr(Monitor, "sample", lambda monitor, encoder, everything: everything)
    return plan


def equal(folder: Path, values: dict[str, torch.Tensor]) -> bool:
    found = load_file(folder / "encoder.safetensors")
    return all(torch.equal(found[name], value) for name, value in values.items())


def said(folder: Path) -> str:
    return (folder / "log.txt").read_text()


def test_the_best_read_encoder_is_kept_where_asked_for(
    class_folder: Path, tmp_path: Path, readings: dict[str, Any]
) -> None:
    readings["full"] = [0.5, 0.7, 0.2]  # the last one, the one of update 10, the start
    out = tmp_path / "run"
    outcome = byol.pretrain(class_folder, out=out, keep="best", **RUN)
    samples = [values for full, values in readings["seen"] if not full]
    assert equal(out, samples[1])
    card = read_card(out / "encoder.json")
    assert (card.epochs, card.finished) == (1.0, True)
    assert is_finished(out)
    assert "kept: the encoder after 10 of 20 updates, which reads 70.0%, where the last one reads 50.0%" in said(out)
    assert outcome.reading is not None
    assert outcome.reading.accuracy == pytest.approx(0.7), "the verdict is on what is kept"
    assert not (out / BEST).exists()
    assert read_metrics(out / "metrics.jsonl")[-1]["knn/kept_step"] == 10


@pytest.mark.parametrize(("keep", "last"), [("best", 0.8), ("last", 0.5), ("auto", 0.5)])
def test_the_last_one_is_kept_where_it_reads_best_or_was_asked_for(
    keep: str, last: float, class_folder: Path, tmp_path: Path, readings: dict[str, Any]
) -> None:
    readings["full"] = [last, *([0.7] if keep == "best" else []), 0.2]
    out = tmp_path / "run"
    byol.pretrain(class_folder, out=out, keep=keep, **RUN)
    assert equal(out, next(values for full, values in readings["seen"] if full))
    assert read_card(out / "encoder.json").epochs == 2
    assert "kept:" not in said(out)
    assert not (out / BEST).exists()


@pytest.mark.parametrize(
    ("changes", "full", "kept"),
    [
        ({}, [0.5, 0.6, 0.65], "start"),
        ({}, [0.5, 0.6, 0.6], "start"),  # nothing is better than the start
        ({}, [0.5, 0.7, 0.65], "best"),
        ({"keep": "last"}, [0.5, 0.65], "last"),
    ],
)
def test_a_start_is_never_lost(
    changes: dict[str, Any], full: list[float], kept: str, class_folder: Path, tmp_path: Path, readings: dict[str, Any]
) -> None:
    start = tmp_path / "start"
    readings["samples"], readings["full"] = [0.1] * 3, [0.1, 0.1]
    byol.pretrain(class_folder, out=start, **RUN)
    before = {name: value.clone() for name, value in load_file(start / "encoder.safetensors").items()}
    readings["samples"], readings["full"], readings["seen"] = [0.3, 0.6, 0.4], list(full), []
    out = tmp_path / "run"
    byol.pretrain(class_folder, out=out, encoder__weights=str(start), **changes, **RUN)
    assert readings["full"] == [], "all of them were read"
    samples = [values for each, values in readings["seen"] if not each]
    last = next(values for each, values in readings["seen"] if each)
    assert equal(out, {"start": before, "best": samples[1], "last": last}[kept])
    assert read_card(out / "encoder.json").epochs == {"start": 0, "best": 1, "last": 2}[kept]
    assert ("kept: the start weights as they were" in said(out)) == (kept == "start")


def test_the_best_one_survives_a_resume(
    class_folder: Path, tmp_path: Path, readings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, whole = tmp_path / "run", Callbacks._read_save_listen
    readings["full"] = [0.5, 0.7, 0.2]

    def stopped(callbacks: Callbacks) -> bool:
        return whole(callbacks) and callbacks.state.step != 12

    with monkeypatch.context() as patched:
        patched.setattr(Callbacks, "_read_save_listen", stopped)
        assert byol.pretrain(class_folder, out=out, keep="best", **RUN).interrupted
    assert (out / BEST).is_file()
    assert not is_finished(out)
    card = read_card(out / "encoder.json")
    assert (card.finished, card.epochs) == (False, pytest.approx(12 / 20 * 2))
    byol.resume(out, quiet=True)
    assert equal(out, [values for full, values in readings["seen"] if not full][1])
    assert "kept: the encoder after 10 of 20 updates" in said(out)


def test_a_disk_that_is_full_at_the_end_loses_nothing(
    class_folder: Path, tmp_path: Path, readings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    readings["full"] = [0.5, 0.7, 0.2]
    with monkeypatch.context() as patched:
        patched.setattr("byol.pretraining.judge.keep_encoder", full)
        with pytest.raises(UserError, match="The run cannot write: No space left on device"):
            byol.pretrain(class_folder, out=out, keep="best", **RUN)
    assert (out / BEST).is_file()
    assert not is_finished(out)
    readings["full"] = [0.5, 0.7, 0.2]
    byol.resume(out, quiet=True)
    assert equal(out, [values for full, values in readings["seen"] if not full][1])
    assert not (out / BEST).exists()


@pytest.mark.parametrize("keep", ["best", "last"])
def test_a_run_that_diverges_at_its_end_leaves_no_encoder_but_what_was_put_aside(
    keep: str, class_folder: Path, tmp_path: Path, readings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    monkeypatch.setattr(Callbacks, "_verdict", lambda callbacks: Verdict("diverged", "Diverged."))
    settings = {**RUN, "logging__stop_on_collapse": False}
    outcome = byol.pretrain(class_folder, out=out, keep=keep, **settings)
    assert outcome.verdict is not None
    assert outcome.verdict.word == "diverged"
    assert not (out / "encoder.safetensors").exists()
    assert (out / BEST).is_file() == (keep == "best")


@pytest.mark.parametrize(("samples", "ends", "kept"), [([0.3, 0.6, 0.6], None, 10), ([0.6, 0.6, 0.5], 15, 5)])
def test_a_run_with_a_patience_ends_where_readings_get_no_better(
    samples: list[float], ends: int | None, kept: int, class_folder: Path, tmp_path: Path, readings: dict[str, Any]
) -> None:
    readings["samples"] = samples
    readings["full"] = [0.5, 0.7, 0.2]  # the last one, the best one, the start
    out = tmp_path / "run"
    outcome = byol.pretrain(class_folder, out=out, patience=2, **RUN)
    wanted = [values for full, values in readings["seen"] if not full][kept // 5 - 1]
    assert equal(out, wanted), "with a patience the best one is kept"
    assert read_card(out / "encoder.json").epochs == kept / 10
    assert is_finished(out)
    assert outcome.verdict is not None
    assert not outcome.interrupted
    assert max(line["step"] for line in read_metrics(out / "metrics.jsonl")) == (ends or 20)
    sentence = "ends after 15 of 20 updates: the last 2 readings were no better than 60.0% (--patience 2)"
    assert (sentence in said(out)) == (ends is not None)
    with pytest.raises(UserError, match="is finished"):
        byol.resume(out, quiet=True)


def test_a_run_that_was_killed_after_its_early_end_makes_no_more_updates(
    class_folder: Path, tmp_path: Path, readings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    readings["samples"] = [0.6, 0.5]
    readings["full"] = [0.5, 0.7, 0.2]
    out = tmp_path / "run"
    with monkeypatch.context() as patched:

        def dies(*arguments: Any, **settings: Any) -> None:
            raise KeyboardInterrupt

        patched.setattr("byol.pretraining.finish.judge_encoder", dies)
        with pytest.raises(KeyboardInterrupt):
            byol.pretrain(class_folder, out=out, patience=1, **RUN)
    outcome = byol.resume(out, quiet=True)
    assert outcome.verdict is not None
    assert not readings["samples"], "nothing is read again"
    assert max(line["step"] for line in read_metrics(out / "metrics.jsonl")) == 10
    assert read_card(out / "encoder.json").epochs == 0.5


def test_patience_needs_labels(tmp_path: Path) -> None:
    images = torch.randint(0, 256, (40, 3, 20, 20), dtype=torch.uint8)
    with pytest.raises(UserError, match="ends a run by its readings on labels, and there are none"):
        byol.pretrain(byol.TensorSource(images), out=tmp_path / "run", patience=1, **RUN)
