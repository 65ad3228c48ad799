"""Where the time of an update goes, in plain words: a watch on `TrainStep` and the loader while they do their work.

Nothing is composed anew: the updates that are timed are a run's own, so what they train is what a run trains. On a GPU
the watch waits for the device at each look, so parts that overlap in a run stand here one after the other; their sum is
longer than an update is.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn

from byol.augment import crop as crops
from byol.bench.ceilings import synchronize
from byol.bench.stopwatch import Stopwatch
from byol.data import batch as batching
from byol.data import loader as loading
from byol.data.batch import CropBatch
from byol.data.loader import Loader
from byol.methods.base import Progress
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
    ONLINE: "networks that learn, on all views",
    TARGET: "networks that no gradient reaches, such as a target",
    BACKWARD: "gradients of the online network",
    OPTIMIZER: "new weights",
    UPDATE: "what the method does after the step: the target's moving average",
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
        """Part of the whole that each takes."""
        return {part: seconds / self.total for part, seconds in self.seconds.items()}


def profile(train_step: TrainStep, loader: Loader, *, first: int, updates: int) -> Profile:
    """Train `updates` updates from step `first` on, with a watch on the parts; `untimed` ones before, without.

    Args:
        train_step: its state is trained further, at a learning rate of 0.
        loader: where the images come from.
        first: the step whose images come next.
        updates: how many are timed.
    """
    config = loader.config
    batches = loader.batches(first, first + begun(loader, updates))
    scheduled = train_step.state.method.scheduled(LAST)
    for parts in islice(batches, untimed(loader)):
        train_step(parts, 0.0, scheduled)
    watch = Stopwatch(lambda: synchronize(loader.device))
    with watch_on(watch, train_step.state, loader), watch.part(REST):
        for parts in islice(_waited(watch, batches), updates):
            train_step(parts, 0.0, scheduled)
    seconds = {part: watch.seconds[part] / updates for part in PARTS}
    beside = {part: spent / updates for part, spent in watch.beside.items()}
    if not loader.prefetches:
        seconds, beside = _put_threads_in_line(seconds, beside, loader.storage.workers), {}
    return Profile(seconds, beside, config.batch_size)


LAST = Progress(1, 1)
"""The end of a run: what `Method.scheduled` gives there leaves a moving average as it is."""


def untimed(loader: Loader) -> int:
    """Batches that are taken before the clock starts: one, and those that were prefetched before."""
    return 1 + loader.prefetches


def begun(loader: Loader, timed: int) -> int:
    """Batches that are begun for so many timed ones: those before, and as many as are prefetched beyond the last, so
    that neither filling the queue nor emptying it is counted."""
    return untimed(loader) + timed + loader.prefetches


@contextmanager
def watch_on(watch: Stopwatch, state: TrainState, loader: Loader) -> Iterator[None]:
    """Lay the watch on every part of an update, for the time of a `with`.

    A method's children are its networks: those with weights that learn are timed as `ONLINE`, the others as `TARGET`.
    """
    method = state.method
    places = [
        (loader.storage.source, "image", DECODE),
        (loading, "crop", CROP),
        (batching, "make_views", COLOR),
        (loading, "make_views_of_one", COLOR),
        (batching, "fused_views", COLOR),
        (crops, "crop_views", CROP),
        (torch.autograd, "backward", BACKWARD),
        (state.optimizer, "step", OPTIMIZER),
        (method, "after_step", UPDATE),
    ]
    with ExitStack() as stack:
        for owner, attribute, part in places:
            stack.enter_context(watch.on(owner, attribute, part))
        for name, network in list(method.named_children()):
            learns = any(p.requires_grad for p in network.parameters())
            setattr(method, name, Timed(network, watch, ONLINE if learns else TARGET))
            stack.callback(setattr, method, name, network)
        yield


class Timed(nn.Module):
    """A network whose calls count for a part of the watch; what torch.compile has compiled lies within."""

    def __init__(self, network: nn.Module, watch: Stopwatch, part: str) -> None:
        super().__init__()
        self.network, self.watch, self.part = network, watch, part

    def forward(self, *inputs: Tensor) -> Tensor:
        """What the network gives."""
        with self.watch.part(self.part):
            output: Tensor = self.network(*inputs)
            return output


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
