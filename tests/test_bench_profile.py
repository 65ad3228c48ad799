"""Where time goes: the watch itself, that it changes nothing, and that time lands where it was spent."""

import copy
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

from building import build, step_once
from byol.augment import views
from byol.bench import profile as profiling
from byol.bench.profile import PARTS, Profile, profile
from byol.bench.stopwatch import Stopwatch
from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.data import loader as loading
from byol.data.loader import Loader
from byol.data.sources.embedded import embedded_photos
from byol.data.sources.files import FolderSource
from byol.pretraining.state import TrainState
from conftest import TINY

CONFIG = replace(PretrainConfig(), **{**TINY, "optim__name": "lars", "batch_size": 8, "augment__view2__blur": 0.5})
CPU = torch.device("cpu")
UPDATES = 2


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


def setup(source: Any, held: Tensor | None, **settings: Any) -> tuple[State, Loader, PretrainConfig]:
    config = replace(CONFIG, **settings)
    return build(config, 3, CPU), Loader(source, config, CPU, workers=2, held=held), config


def from_memory(**settings: Any) -> tuple[State, Loader, PretrainConfig]:
    source = embedded_photos(per_photo=4)
    return setup(source, source.images, **settings)


def from_files(folder: Path, **settings: Any) -> tuple[State, Loader, PretrainConfig]:
    return setup(FolderSource(folder, 3), None, **settings)


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_what_is_profiled_is_the_run_itself_bit_for_bit(held: bool, accumulate: int, image_folder: Path) -> None:
    made = from_memory if held else lambda **s: from_files(image_folder, **s)
    state, loader, config = made(optim__accumulate=accumulate)  # type: ignore[operator]
    state.method.train()
    expected = copy.deepcopy(state)
    for parts in loader.batches(3, 3 + UPDATES + 1):
        step_once(expected, parts, config, 0.3, 0.9)
    places = everything_watched(state, loader)
    before = [vars(owner).get(name) for owner, name in places]
    found = profile(state, loader, config, nullcontext(), first=3, updates=UPDATES, lr=0.3, tau=0.9)

    assert state.step == expected.step == UPDATES + 1
    wanted = expected.method.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in state.method.state_dict().items())
    moved = expected.optimizer.state_dict()["state"]
    for key, values in state.optimizer.state_dict()["state"].items():
        assert all(torch.equal(value, moved[key][name]) for name, value in values.items())
    after = [vars(owner).get(name) for owner, name in places]
    assert all(old is new for old, new in zip(before, after, strict=True)), "the watch came off"
    assert found.images == config.batch_size


def everything_watched(state: TrainState, loader: Loader) -> list[tuple[Any, str]]:
    """Where the watch was laid."""
    places: list[tuple[Any, str]] = []

    class Recorder(Stopwatch):
        def on(self, owner: Any, attribute: str, name: str) -> Any:
            places.append((owner, attribute))
            return nullcontext()

    profiling.watch_on(Recorder(), state, loader)
    return places


def test_no_part_is_forgotten_and_they_add_up(image_folder: Path) -> None:
    for state, loader, config in (from_memory(), from_files(image_folder)):
        began = time.perf_counter()
        found = profile(state, loader, config, nullcontext(), first=0, updates=UPDATES)
        whole = time.perf_counter() - began
        assert list(found.seconds) == list(PARTS)
        assert sum(found.shares().values()) == pytest.approx(1)
        assert found.total * UPDATES < whole
        assert not found.beside
        decoded = {"decode"} if loader.held is None else set()
        assert {part for part, seconds in found.seconds.items() if seconds > 0} == set(PARTS) - {"decode"} | decoded


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
        ("waiting for images", 2),  # numbers of two views
        ("the rest", 1),
    ],
)
def test_time_lands_where_it_was_spent(
    part: str, calls: int, image_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a clock that moves only within one function: its part has all of the time, every other part has none."""
    state, loader, config = from_files(image_folder)
    loader.workers = 1  # of two threads, one would see the other's time
    method, clock = state.method, Clock()
    monkeypatch.setattr(profiling, "Stopwatch", functools.partial(Stopwatch, clock=clock))

    def tick() -> None:
        clock.now += 1

    if part == "backward":
        method.predictor.append(OnTheWayBack(tick))
    else:
        owner, name = {
            "decode": (loader.source, "read"),
            "crop": (loading, "crop"),
            "color": (views, "normalize_images"),
            "online forward": (method.projector[0], "forward"),
            "target forward": (method.target_projector[0], "forward"),
            "optimizer": (state.optimizer, "_ratios"),
            "target update": (torch, "_foreach_lerp_"),
            "waiting for images": (loading, "draw_view"),
            "the rest": (state.optimizer, "zero_grad"),
        }[part]
        instead(monkeypatch, owner, name, tick)
    found = profile(state, loader, config, nullcontext(), first=0, updates=1)
    assert found.seconds == {**dict.fromkeys(PARTS, 0.0), part: float(calls)}


def test_what_runs_ahead_is_counted_beside(image_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, loader, config = from_files(image_folder)
    assert loader.decodes_ahead == 0
    loader.ahead = 1
    assert loader.decodes_ahead == 1
    instead(monkeypatch, loader.source, "read", lambda: time.sleep(0.02))
    found = profile(state, loader, config, nullcontext(), first=0, updates=4)
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
