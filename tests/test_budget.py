"""A budget of time: how it is read, and how many epochs fit."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.data.loader import Loader, Storage
from byol.data.sources.open import TensorSource
from byol.errors import UserError
from byol.methods.base import TrainingSet
from byol.pretraining import budget
from byol.pretraining.budget import LEAST_UPDATES, RESERVE, epochs_within, in_words, minutes, seconds_per_step
from byol.pretraining.setup import pipeline_of
from byol.pretraining.state import build_state


def outcome(call: Callable[[], float]) -> float | str:
    """What a call returns, or what its error says."""
    try:
        return call()
    except UserError as error:
        return str(error)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (5 / 60, "5 seconds"),
        (1 / 60, "1 second"),
        (0.5, "30 seconds"),
        (1.5, "90 seconds"),
        (1, "1 minute"),
        (90, "90 minutes"),
        (150, "2.5 hours"),
        (1440, "24 hours"),
    ],
)
def test_a_time_in_words(given: float, said: str) -> None:
    assert in_words(given) == said


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90s", 1.5), ("20m", 20), ("20min", 20), ("2h", 120), ("1h30m", 90), ("1d", 1440), ("0.5h", 30), (" 2 H ", 120)],
)
def test_times(text: str, expected: float) -> None:
    assert minutes(text) == pytest.approx(expected)


@given(st.integers(0, 9), st.integers(0, 59), st.integers(0, 59))
def test_times_of_several_parts_add_up(h: int, m: int, s: int) -> None:
    text = f"{h}h{m}m{s}s"
    if h == m == s == 0:
        with pytest.raises(UserError, match="no time at all"):
            minutes(text)
    else:
        assert minutes(text) == pytest.approx(60 * h + m + s / 60)
        assert minutes(f"{h}h {m}m {s}s") == minutes(text)


@given(st.text(alphabet="0123456789smhdin .-xe", max_size=8))
def test_anything_else_is_refused_in_words(text: str) -> None:
    value = outcome(lambda: minutes(text))
    if isinstance(value, str):
        assert repr(text) in value
    else:
        assert value > 0
        compact = text.replace(" ", "")
        assert compact[0].isdigit()
        assert compact[-1] in "smhdn"
        assert not set(compact) & set("-xe")


@pytest.mark.parametrize("text", ["", "h", "20", "2x", "-2h", "2h-", "1e3s", "2 hours", "soon"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UserError, match="is no time"):
        minutes(text)


@given(
    budget_minutes=st.floats(0.5, 600),
    spent=st.floats(0, 100),
    step=st.floats(1e-3, 20),
    batch=st.integers(2, 512),
    images=st.integers(600, 2_000_000),
)
def test_the_whole_schedule_ends_in_time(
    budget_minutes: float, spent: float, step: float, batch: int, images: int
) -> None:
    config = PretrainConfig(batch_size=batch)
    usable = budget_minutes * 60 * (1 - RESERVE)
    epochs = outcome(lambda: epochs_within(budget_minutes, spent, step, config, images))
    if isinstance(epochs, str):
        assert LEAST_UPDATES * step + spent > usable * 0.999
        assert f"budget of {in_words(budget_minutes)} is" in epochs
        return
    updates = replace(config, epochs=epochs).total_steps(images)
    assert updates * step + spent <= usable * 1.00001
    assert (updates + 1.01) * step + spent >= usable * 0.9999, "and uses what there is"


def test_error_says_what_would_do() -> None:
    needed = LEAST_UPDATES / 60 / (1 - RESERVE)
    with pytest.raises(UserError, match=rf"give {math.ceil(60 * needed)} seconds or more"):
        epochs_within(needed / 2, 0.0, 1.0, PretrainConfig(batch_size=10), 6000)


def rehearsal(monkeypatch: pytest.MonkeyPatch, per_image: float, **settings: Any) -> tuple[float, list[int]]:
    """What is measured where an update takes so many seconds per image, and the batches that were run for it."""
    ran: list[int] = []
    clock = [0.0]

    class Step:
        warmup_steps = 0

        def __init__(self, state: object, config: PretrainConfig) -> None:
            self.size = config.batch_size

        def __call__(self, *_: object) -> tuple[torch.Tensor, torch.Tensor]:
            ran.append(self.size)
            clock[0] += per_image * self.size
            return torch.zeros(()), torch.zeros(())

    monkeypatch.setattr(budget, "TrainStep", Step)
    monkeypatch.setattr(budget.time, "perf_counter", lambda: clock[0])
    config = replace(PretrainConfig(image_size=16, batch_size=64, epochs=1, device="cpu"), **TINY_NETWORK, **settings)
    images = torch.randint(0, 256, (128, 3, 16, 16), dtype=torch.uint8)
    cpu = torch.device("cpu")
    loader = Loader(Storage(TensorSource(images), 1, images), config, pipeline_of(config), cpu)
    return seconds_per_step(build_state(config, TrainingSet(128), cpu), loader, 2.0), ran


TINY_NETWORK = {"encoder": "resnet18", "encoder__width": 0.125, "method__hidden": 8, "method__output": 8}


def test_slow_updates_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two minutes may be measured for 2.4 s: updates of 64 s each are guessed from small ones."""
    seconds, ran = rehearsal(monkeypatch, per_image=1.0)
    assert (seconds, ran) == (64.0, [8])


def test_fast_updates_are_measured_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds, ran = rehearsal(monkeypatch, per_image=0.001)
    assert seconds == pytest.approx(0.064)
    assert ran[:2] == [8, 8], "after a small batch"
    assert set(ran[2:]) == {64}


def test_the_small_batch_is_one_that_the_method_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    moco = {"method": "moco", "method__queue": 64, "method__splits": 8}
    settings = {name: value for name, value in TINY_NETWORK.items() if not name.startswith("method")}
    monkeypatch.setitem(globals(), "TINY_NETWORK", settings)
    seconds, ran = rehearsal(monkeypatch, per_image=1.0, **moco)
    assert (seconds, ran) == (64.0, [16]), "eight parts of two images"


def test_measuring_the_speed_moves_no_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "REHEARSAL_SECONDS", (0.05, 0.1))
    config = PretrainConfig(image_size=16, batch_size=8, epochs=1, device="cpu")
    config = replace(config, encoder="resnet18", encoder__width=0.125, method__hidden=8, method__output=8)
    cpu = torch.device("cpu")
    state = build_state(config, TrainingSet(32), cpu)
    before = {k: v.clone() for k, v in state.method.named_parameters()}
    images = torch.randint(0, 256, (32, 3, 16, 16), dtype=torch.uint8)
    loader = Loader(Storage(TensorSource(images), 1, images), config, pipeline_of(config), cpu)
    taken = seconds_per_step(state, loader, 1)
    assert 0 < taken < 1
    assert state.step > budget.WARM_STEPS, "on a state that is thrown away"
    for name, value in state.method.named_parameters():
        assert torch.equal(value, before[name]), name
