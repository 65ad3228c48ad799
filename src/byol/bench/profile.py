"""Where the time of an update goes: a stopwatch on the step and the loader of a run while they work.

The updates that are timed are a run's own, so what they train is what a run trains. On a GPU the stopwatch waits for
the device at each look, so parts that overlap in a run stand here one after the other; their sum is longer than an
update is.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import nn

from byol.augment import crop
from byol.bench.ceilings import synchronize
from byol.bench.dry_run import networks
from byol.bench.stopwatch import Stopwatch
from byol.data import batch as batches_
from byol.data import loader as loading
from byol.data.batch import CropBatch
from byol.data.loader import Loader
from byol.methods.base import Method
from byol.pretraining.state import TrainState
from byol.pretraining.train import TrainStep

DECODE, CROP, COLOR, WAITING = "decode", "crop", "color", "waiting for images"
ONLINE, TARGET, BACKWARD = "online forward", "target forward", "backward"
OPTIMIZER, UPDATE, REST = "optimizer", "target update", "the rest"
PARTS = {
    DECODE: "bytes to pixels",
    CROP: "crops and their resizing",
    COLOR: "flips, color, blur, solarize, normalization",
    WAITING: "drawing numbers, gathering images, and waiting for the threads that decode",
    ONLINE: "passes with gradients, of all networks on all views",
    TARGET: "passes without gradients, such as those of a target network",
    BACKWARD: "gradients of the trained networks",
    OPTIMIZER: "new weights",
    UPDATE: "what the method does after the optimizer, such as a moving average",
    REST: "loss, gradient norm, clearing gradients",
}
"""Every part, in the order of an update, and what it is."""


@dataclass(frozen=True)
class Profile:
    """Seconds of an update."""

    seconds: dict[str, float]
    """By part, all of `PARTS`; they add up to an update."""
    beside: dict[str, float]
    """Seconds of `decode` and `crop` that threads spend beside the update, all threads together."""
    images: int
    """Images of an update."""

    @property
    def total(self) -> float:
        return sum(self.seconds.values())

    def shares(self) -> dict[str, float]:
        """Share of the whole that each part takes."""
        return {part: seconds / self.total for part, seconds in self.seconds.items()}


@dataclass(frozen=True)
class Updates:
    """Which updates are profiled, and with what numbers."""

    first: int
    """Step of the first; the `untimed` ones come before those that are timed."""
    timed: int
    scheduled: Mapping[str, float]
    """What the method is given after each step."""
    lr: float = 0.0
    """Learning rate; at 0 the weights stay as they are."""


def profile(train_step: TrainStep, loader: Loader, updates: Updates) -> Profile:
    """Train some updates with a stopwatch on the parts; `untimed` ones before, without.

    A step that is replayed from CUDA graphs is computed operation by operation here: a replay has no parts.
    """
    step, state = train_step.uncaptured(), train_step.state
    batches = loader.batches(updates.first, updates.first + begun(loader, updates.timed))
    for parts in islice(batches, untimed(loader)):
        step(parts, updates.lr, updates.scheduled)
    watch = Stopwatch(lambda: synchronize(loader.device))
    with watch_on(watch, state, loader), watch.part(REST):
        for parts in islice(_waited(watch, batches), updates.timed):
            step(parts, updates.lr, updates.scheduled)
    seconds = {part: watch.seconds[part] / updates.timed for part in PARTS}
    beside = {part: spent / updates.timed for part, spent in watch.beside.items()}
    if not loader.prefetches:
        seconds, beside = _put_threads_in_line(seconds, beside, loader.storage.workers), {}
    return Profile(seconds, beside, loader.config.batch_size)


def untimed(loader: Loader) -> int:
    """Batches that are taken before the clock starts: one, and what was prefetched while nobody asked."""
    return 1 + loader.prefetches


def begun(loader: Loader, timed: int) -> int:
    """Batches that are begun for so many timed ones: the untimed ones before, and as many as are prefetched beyond the
    last, so that neither a queue's filling nor its emptying is counted."""
    return untimed(loader) + timed + loader.prefetches


@contextmanager
def watch_on(watch: Stopwatch, state: TrainState, loader: Loader) -> Iterator[None]:
    """Put the stopwatch on every part of an update that has a function or a network of its own."""
    places = [
        (loader.storage.source, "image", DECODE),
        (loading, "crop", CROP),
        (loading, "make_views_of_one", COLOR),
        (batches_, "make_views", COLOR),
        (batches_, "fused_views", COLOR),
        (crop, "crop_views", CROP),
        (torch.autograd, "backward", BACKWARD),
        (state.optimizer, "step", OPTIMIZER),
        (state.method, "after_step", UPDATE),
    ]
    with ExitStack() as stack:
        for owner, attribute, part in places:
            stack.enter_context(watch.on(owner, attribute, part))
        stack.enter_context(networks_timed(watch, state.method))
        yield


@contextmanager
def networks_timed(watch: Stopwatch, method: Method) -> Iterator[None]:
    """Put a `TimedNetwork` in the place of each network of a method, and the networks back at the end."""
    found = list(networks(method))
    for owner, name, network in found:
        setattr(owner, name, TimedNetwork(network, watch))
    try:
        yield
    finally:
        for owner, name, network in found:
            setattr(owner, name, network)


class TimedNetwork(nn.Module):
    """A network whose passes are timed, apart by whether gradients are enabled; else it is the network.

    It stands outside of what torch.compile compiles.
    """

    def __init__(self, network: nn.Module, watch: Stopwatch) -> None:
        super().__init__()
        self.network, self._watch = network, watch

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """What the network returns."""
        with self._watch.part(ONLINE if torch.is_grad_enabled() else TARGET):
            return self.network(*inputs, **named)

    def __getattr__(self, name: str) -> Any:
        """Its own attributes, then the network's."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("network"), name)


def _waited(watch: Stopwatch, batches: Iterator[list[CropBatch]]) -> Iterator[list[CropBatch]]:
    while True:
        with watch.part(WAITING):
            parts = next(batches, None)
        if parts is None:
            return
        yield parts


def _put_threads_in_line(seconds: dict[str, float], beside: dict[str, float], workers: int) -> dict[str, float]:
    """Where the step stands still while threads decode, their work is what it waits for: count it as theirs."""
    busy = {part: spent / workers for part, spent in beside.items()}
    total = sum(busy.values())
    scale = min(1.0, seconds[WAITING] / total) if total else 0.0
    taken = {part: scale * spent for part, spent in busy.items()}
    moved = {part: spent + taken.get(part, 0.0) for part, spent in seconds.items()}
    moved[WAITING] = seconds[WAITING] - sum(taken.values())
    return moved
