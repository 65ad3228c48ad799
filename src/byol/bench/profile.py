"""Where the time of an update goes, in plain words: a watch on `train_step` and the loader while they do their work.

Nothing is composed anew: the updates that are timed are a run's own, so what they train is what a run trains. On a GPU
the watch waits for the device at each look, so parts that overlap in a run stand here one after the other; their sum is
longer than an update is.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn

from byol.augment import crop
from byol.bench.ceilings import synchronize
from byol.bench.stopwatch import Stopwatch
from byol.config.run import PretrainConfig
from byol.data import loader as loading
from byol.data.loader import Batch, Loader
from byol.pretraining.train import State, train_step

DECODE, CROP, COLOR, WAITING = "decode", "crop", "color", "waiting for images"
ONLINE, TARGET, BACKWARD = "online forward", "target forward", "backward"
OPTIMIZER, UPDATE, REST = "optimizer", "target update", "the rest"
PARTS = {
    DECODE: "bytes to pixels",
    CROP: "crops and their resizing",
    COLOR: "flips, color, blur, solarize, normalization",
    WAITING: "drawing numbers, gathering images, and waiting for the threads that decode",
    ONLINE: "encoder, projector and predictor on both views",
    TARGET: "target encoder and projector on both views",
    BACKWARD: "gradients of the online network",
    OPTIMIZER: "new weights",
    UPDATE: "the target's moving average",
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


def profile(
    state: State,
    loader: Loader,
    config: PretrainConfig,
    autocast: AbstractContextManager[object],
    *,
    first: int,
    updates: int,
    lr: float = 0.0,
    tau: float = 1.0,
) -> Profile:
    """Train `updates` updates from step `first` on, with a watch on the parts; `untimed` ones before, without.

    Args:
        state: trained further; with the rate of 0 and tau of 1 that are the defaults, to the same weights.
    """
    method = state.method
    batches = loader.batches(first, first + begun(loader, updates))
    for parts in islice(batches, untimed(loader)):
        train_step(state, method, parts, config, lr, tau, autocast)
    watch = Stopwatch(lambda: synchronize(loader.device))
    with watch_on(watch, state, loader), watch.part(REST):
        for parts in islice(_waited(watch, batches), updates):
            train_step(state, method, parts, config, lr, tau, autocast)
    seconds = {part: watch.seconds[part] / updates for part in PARTS}
    beside = {part: spent / updates for part, spent in watch.beside.items()}
    if not loader.decodes_ahead:
        seconds, beside = _put_threads_in_line(seconds, beside, loader.workers), {}
    return Profile(seconds, beside, config.batch_size)


def untimed(loader: Loader) -> int:
    """Batches that are taken before the clock starts: one, and what was decoded ahead while nobody asked."""
    return 1 + loader.decodes_ahead


def begun(loader: Loader, timed: int) -> int:
    """Batches that are begun for so many timed ones: those before, and as many as are decoded ahead beyond the last, so
    that neither a queue's filling nor its emptying is counted."""
    return untimed(loader) + timed + loader.decodes_ahead


def watch_on(watch: Stopwatch, state: State, loader: Loader) -> ExitStack:
    """Lay the watch on every part of an update that has a function of its own."""
    method = state.method
    places = [
        (loader.source, "image", DECODE),
        (loading, "crop", CROP),
        (loading, "make_views", COLOR),
        (loading, "make_views_of_one", COLOR),
        (loading, "fused_views", COLOR),
        (crop, "crop_views", CROP),
        (torch.autograd, "backward", BACKWARD),
        (state.optimizer, "step", OPTIMIZER),
        (method, "update_target", UPDATE),
    ]
    places += [(network, _call(network), ONLINE) for network in (method.encoder, method.projector, method.predictor)]
    places += [(network, _call(network), TARGET) for network in (method.target_encoder, method.target_projector)]
    stack = ExitStack()
    for owner, attribute, part in places:
        stack.enter_context(watch.on(owner, attribute, part))
    return stack


def _call(network: nn.Module | Tensor) -> str:
    """What a network does when called; of a compiled one the whole, lest the watch be compiled with it."""
    assert isinstance(network, nn.Module)
    return "forward" if network._compiled_call_impl is None else "_compiled_call_impl"


def _waited(watch: Stopwatch, batches: Iterator[list[Batch]]) -> Iterator[list[Batch]]:
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
