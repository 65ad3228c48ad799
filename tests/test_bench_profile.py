"""Where time goes: the watch itself, that it changes nothing, and that time lands where it was spent."""

import copy
import dataclasses
import functools
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from byol.augment import views
from byol.bench import profile as profiling
from byol.bench.dry_run import networks
from byol.bench.profile import PARTS, Profile, Updates, profile
from byol.bench.stopwatch import Stopwatch
from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.data import loader as loading
from byol.data.loader import Loader, Storage
from byol.data.sources.embedded import embedded_photos
from byol.data.sources.files import FolderSource
from byol.methods.base import TrainingSet
from byol.pretraining.setup import pipeline_of
from byol.pretraining.state import TrainState, build_state
from byol.pretraining.train import TrainStep
from conftest import TINY

CONFIG = replace(PretrainConfig(), **{**TINY, "optim__name": "lars", "batch_size": 8, "augment__view2__blur": 0.5})
CPU = torch.device("cpu")
UPDATES = 2
STILL = {"tau": 1.0}


class Clock:
    """Time that passes only when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_each_moment_counts_for_the_innermost_part() -> None:
    clock = Clock()
    watch = Stopwatch(clock=clock)
    with watch.part("outer"):
        clock.now += 1
        with watch.part("inner"):
            clock.now += 10
            with watch.part("outer"):
                clock.now += 100
        clock.now += 1000
    clock.now += 10_000
    with watch.part("inner"):
        clock.now += 100_000
    assert watch.seconds == {"outer": 1101.0, "inner": 100_010.0}


def fail(watch: Stopwatch, clock: Clock) -> None:
    with watch.part("inner"):
        clock.now += 1
        raise ZeroDivisionError


def test_a_part_that_fails_is_closed() -> None:
    clock = Clock()
    watch = Stopwatch(clock=clock)
    with watch.part("outer"):
        with pytest.raises(ZeroDivisionError):
            fail(watch, clock)
        clock.now += 10
    assert watch.seconds == {"inner": 1.0, "outer": 10.0}


def test_other_threads_are_kept_apart_and_do_not_wait_for_the_device() -> None:
    settled: list[int] = []
    watch = Stopwatch(settle=lambda: settled.append(threading.get_ident()))

    def work() -> None:
        with watch.part("there"):
            time.sleep(0.02)

    threads = [threading.Thread(target=work) for _ in range(2)]
    with watch.part("here"):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert set(watch.seconds) == {"here"}
    assert set(watch.beside) == {"there"}
    assert watch.beside["there"] >= 0.04
    assert settled == [threading.get_ident()] * 2


def test_the_watch_comes_off_again() -> None:
    class Thing:
        def act(self, x: int) -> int:
            return x + 1

    thing, other = Thing(), Thing()
    act = Thing.act
    clock = Clock()
    watch = Stopwatch(clock=clock)
    with watch.on(thing, "act", "one"):
        assert thing.act(1) == 2
        assert other.act.__func__ is act  # type: ignore[attr-defined]
    assert "act" not in vars(thing)
    with watch.on(Thing, "act", "all"):
        assert other.act(x=4) == 5
    assert Thing.act is act
    assert set(watch.seconds) == {"one", "all"}


def setup(source: Any, decoded: Tensor | None, **settings: Any) -> tuple[TrainStep, Loader]:
    config = replace(CONFIG, **settings)
    loader = Loader(Storage(source, 2, decoded), config, pipeline_of(config), CPU)
    return TrainStep(build_state(config, TrainingSet(len(source)), CPU), config), loader


def from_memory(**settings: Any) -> tuple[TrainStep, Loader]:
    source = embedded_photos(per_photo=4)
    return setup(source, source.images, **settings)


def from_files(folder: Path, **settings: Any) -> tuple[TrainStep, Loader]:
    return setup(FolderSource(folder, 3), None, **settings)


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_what_is_profiled_is_the_run_itself_bit_for_bit(held: bool, accumulate: int, image_folder: Path) -> None:
    made = from_memory if held else lambda **s: from_files(image_folder, **s)
    step, loader = made(optim__accumulate=accumulate)  # type: ignore[operator]
    state = step.state
    expected = copy.deepcopy(state)
    again = TrainStep(expected, loader.config)
    for parts in loader.batches(3, 3 + UPDATES + 1):
        again(parts, 0.3, {"tau": 0.9})
    places = everything_watched(state, loader)
    before = [vars(owner).get(name) for owner, name in places]
    children = dict(state.method.named_children())
    found = profile(step, loader, Updates(3, UPDATES, {"tau": 0.9}, lr=0.3))

    assert state.step == expected.step == UPDATES + 1
    wanted = expected.method.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in state.method.state_dict().items())
    moved = expected.optimizer.state_dict()["state"]
    for key, values in state.optimizer.state_dict()["state"].items():
        assert all(torch.equal(value, moved[key][name]) for name, value in values.items())
    after = [vars(owner).get(name) for owner, name in places]
    assert all(old is new for old, new in zip(before, after, strict=True)), "the watch came off"
    assert dict(state.method.named_children()) == children
    assert found.images == loader.config.batch_size


def everything_watched(state: TrainState, loader: Loader) -> list[tuple[Any, str]]:
    """Where the stopwatch was put."""
    places: list[tuple[Any, str]] = []

    class Recorder(Stopwatch):
        def on(self, owner: Any, attribute: str, name: str) -> Any:
            places.append((owner, attribute))
            return nullcontext()

    with profiling.watch_on(Recorder(), state, loader):
        pass
    return places


def test_no_part_is_forgotten_and_they_add_up(image_folder: Path) -> None:
    for step, loader in (from_memory(), from_files(image_folder)):
        began = time.perf_counter()
        found = profile(step, loader, Updates(0, UPDATES, STILL))
        whole = time.perf_counter() - began
        assert list(found.seconds) == list(PARTS)
        assert sum(found.shares().values()) == pytest.approx(1)
        assert found.total * UPDATES < whole
        assert not found.beside
        decoded = {"decode"} if loader.storage.decoded is None else set()
        assert {part for part, seconds in found.seconds.items() if seconds > 0} == set(PARTS) - {"decode"} | decoded


@pytest.mark.parametrize(
    ("method", "settings", "target"),
    [("simclr", {}, False), ("moco", {"method__queue": 16, "method__splits": 2}, True), ("infonce", {}, True)],
)
def test_every_method_is_watched_alike(method: str, settings: dict[str, Any], target: bool) -> None:
    step, loader = from_memory(method=method, **settings)
    scheduled = {} if method == "simclr" else STILL
    found = profile(step, loader, Updates(0, 1, scheduled))
    assert found.seconds["online forward"] > 0
    assert found.seconds["backward"] > 0
    assert found.seconds["target update"] > 0
    assert (found.seconds["target forward"] > 0) == target


def test_a_timed_network_is_the_network() -> None:
    """It has its attributes, and stands outside of what is compiled; lists of networks are opened."""
    clock = Clock()
    watch = Stopwatch(clock=clock)

    class Inner(nn.Linear):
        num_features = 5

        def forward(self, x: Tensor) -> Tensor:
            clock.now += 1
            return super().forward(x)

    class Two(profiling.Method):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = Inner(2, 2)
            self.several = nn.ModuleList([Inner(2, 2)])

    method = Two()
    encoder, last = method.encoder, method.several[0]
    method.encoder.compile(backend="eager")
    assert [network for _, _, network in networks(method)] == [encoder, last]
    with profiling.networks_timed(watch, method), torch.no_grad():
        assert method.encoder.num_features == 5
        assert method.encoder.weight is encoder.weight
        method.several[0](torch.ones(1, 2))
        with torch.enable_grad():
            last(torch.ones(1, 2))
            method.several[0](torch.ones(1, 2))
    assert method.encoder is encoder
    assert method.several[0] is last
    assert watch.seconds == {"target forward": 1.0, "online forward": 1.0}


def instead(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, before: Callable[[], object]) -> None:
    """Have a function do something else first."""
    original: Callable[..., Any] = getattr(owner, name)

    def called(*args: Any, **kwargs: Any) -> Any:
        before()
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, called)


class OnTheWayBack(nn.Module):
    """A predictor's last part, that does something in the backward pass only."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__()
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        x.register_hook(lambda grad: self.act() and None)
        return x


@pytest.mark.parametrize(
    ("part", "calls"),
    [
        ("decode", 8),  # images of an update
        ("crop", 16),  # two views
        ("color", 2),  # what it ends with, for each view
        ("online forward", 2),
        ("target forward", 2),
        ("backward", 2),
        ("optimizer", 1),
        ("target update", 1),
        ("waiting for images", 14),  # operations that draw, of two views
        ("the rest", 1),
    ],
)
def test_time_lands_where_it_was_spent(
    part: str, calls: int, image_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a clock that moves only within one function: its part has all of the time, every other part has none."""
    step, loader = from_files(image_folder)
    one = dataclasses.replace(loader.storage, workers=1)  # of two threads, one would see the other's time
    loader = dataclasses.replace(loader, storage=one)
    state, clock = step.state, Clock()
    method = state.method
    monkeypatch.setattr(profiling, "Stopwatch", functools.partial(Stopwatch, clock=clock))

    def tick() -> None:
        clock.now += 1

    if part == "backward":
        method.predictor.append(OnTheWayBack(tick))
    else:
        owner, name = {
            "decode": (loader.storage.source, "read"),
            "crop": (loading, "crop"),
            "color": (views, "normalize_images"),
            "online forward": (method.projector[0], "forward"),
            "target forward": (method.target_projector[0], "forward"),
            "optimizer": (state.optimizer, "_ratios"),
            "target update": (torch, "_foreach_lerp_"),
            "waiting for images": (loading, "generator_of"),
            "the rest": (state.optimizer, "zero_grad"),
        }[part]
        instead(monkeypatch, owner, name, tick)
    found = profile(step, loader, Updates(0, 1, STILL))
    assert found.seconds == {**dict.fromkeys(PARTS, 0.0), part: float(calls)}


def test_what_runs_ahead_is_counted_beside(image_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step, loader = from_files(image_folder)
    assert loader.prefetches == 0
    loader = dataclasses.replace(loader, prefetched=1)
    assert loader.prefetches == 1
    instead(monkeypatch, loader.storage.source, "read", lambda: time.sleep(0.02))
    found = profile(step, loader, Updates(0, 4, STILL))
    assert set(found.beside) == {"decode", "crop"}
    assert found.beside["decode"] >= 0.6 * 8 * 0.02, "a batch is decoded for every update while the watch is on"
    assert found.seconds["decode"] == 0
    assert found.seconds["waiting for images"] > 0


def test_threads_in_line_take_what_was_waited_for_and_no_more() -> None:
    empty = dict.fromkeys(PARTS, 0.0)
    moved = profiling._put_threads_in_line({**empty, "waiting for images": 1.0}, {"decode": 0.6, "crop": 0.2}, 2)
    assert moved["decode"] == pytest.approx(0.3)
    assert moved["crop"] == pytest.approx(0.1)
    assert moved["waiting for images"] == pytest.approx(0.6)
    moved = profiling._put_threads_in_line({**empty, "waiting for images": 1.0}, {"decode": 3.0, "crop": 1.0}, 2)
    assert moved["decode"] == pytest.approx(0.75)
    assert moved["waiting for images"] == pytest.approx(0)
    assert Profile(moved, {}, 4).total == pytest.approx(1)
