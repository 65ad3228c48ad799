"""A busy machine: how many threads train."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import byol
from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.data.loader import Loader, Storage
from byol.data.sources.open import TensorSource
from byol.methods.base import TrainingSet
from byol.pretraining import busy
from byol.pretraining.busy import choose_threads, threads_kept
from byol.pretraining.callbacks import Callbacks
from byol.pretraining.run_folder import load_plan
from byol.pretraining.setup import Run, pipeline_of
from byol.pretraining.state import TrainState, build_state
from byol.pretraining.train import TrainStep
from byol.runtime import device as machine
from conftest import TINY

CPU = torch.device("cpu")


@dataclass
class Prepared:
    """What is asked of a prepared run."""

    config: PretrainConfig
    loader: Loader
    data = TrainingSet(32)
    device = CPU


@pytest.fixture
def small() -> Any:
    config = PretrainConfig(image_size=16, batch_size=8, epochs=1, device="cpu")
    config = replace(config, encoder="resnet18", encoder__width=0.125, method__hidden=8, method__output=8)
    images = torch.randint(0, 256, (32, 3, 16, 16), dtype=torch.uint8)
    return Prepared(config, Loader(Storage(TensorSource(images), 1, images), config, pipeline_of(config), CPU))


@pytest.mark.parametrize(
    ("seconds", "chosen", "tried"),
    [
        ({1: 1.0, 2: 13.0}, 1, [1, 2]),
        ({1: 1.0, 2: 0.7, 4: 0.9}, 2, [1, 2, 4]),
        ({1: 1.0, 2: 0.7, 4: 0.5}, 4, [1, 2, 4]),
        ({1: 1.0, 2: 0.7, 4: 0.5, 6: 0.4}, 6, [1, 2, 4, 6]),  # all of them, which is no power of two
    ],
)
def test_a_busy_machine_trains_with_the_threads_that_are_fastest(
    seconds: dict[int, float],
    chosen: int,
    tried: list[int],
    small: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def measured(state: TrainState, loader: Loader) -> float:
        asked.append(torch.get_num_threads())
        return seconds[asked[-1]]

    monkeypatch.setattr(machine, "load", lambda: 3.9)
    monkeypatch.setattr(machine, "cores", lambda: 2)
    monkeypatch.setattr(busy, "_seconds_per_update", measured)
    there = torch.get_num_threads()
    with threads_kept():
        torch.set_num_threads(max(seconds))
        said = choose_threads(small)
        assert torch.get_num_threads() == chosen
    assert torch.get_num_threads() == there
    assert asked == tried
    assert "load 3.9 on 2 cores" in said
    assert f"{seconds[1]:g} s with 1, {seconds[2]:g} s with 2" in said
    assert f"so {chosen} thread" in said


def test_one_thread_leaves_nothing_to_choose(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(busy, "_seconds_per_update", lambda *_: pytest.fail("nothing is measured"))
    with threads_kept(1):
        assert choose_threads(small) == ""


def test_an_update_is_timed_and_moves_no_weight(small: Any) -> None:
    state = build_state(small.config, small.data, CPU)
    before = {name: value.clone() for name, value in state.method.named_parameters()}
    assert 0 < busy._seconds_per_update(state, small.loader) < 5
    for name, value in state.method.named_parameters():
        assert torch.equal(value, before[name]), name


def test_a_resumed_run_takes_as_many_threads(
    class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sums of several threads are others: a run that went on with more would end elsewhere."""
    out, seen, whole = tmp_path / "run", [], TrainStep.__call__

    def choose(run: Run) -> str:
        torch.set_num_threads(1)
        return "the machine is busy"

    def step(self: TrainStep, *arguments: Any) -> Any:
        seen.append(torch.get_num_threads())
        return whole(self, *arguments)

    monkeypatch.setattr("byol.pretraining.planner.choose_threads", choose)
    monkeypatch.setattr("byol.pretraining.planner._epochs_within", lambda run, limit: (0.5, "half an epoch"))
    monkeypatch.setattr(machine, "load", lambda: 99.0)
    monkeypatch.setattr(TrainStep, "__call__", step)
    with threads_kept(2), monkeypatch.context() as patched:
        patched.setattr(Callbacks, "_read_save_listen", lambda callbacks: False)
        settings = {**{name: value for name, value in TINY.items() if name != "epochs"}, "batch_size": 16}
        run = byol.pretrain(class_folder, recipe="cifar10-cpu", out=out, quiet=True, budget="1m", **settings)
        assert run.interrupted
        assert torch.get_num_threads() == 2
    assert load_plan(out)[1].threads == 1
    seen.clear()
    with threads_kept(2):
        byol.resume(out, quiet=True)
        assert torch.get_num_threads() == 2
    assert set(seen) == {1}
