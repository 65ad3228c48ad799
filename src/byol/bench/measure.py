"""Images per second: the input pipeline alone, the step alone on views made before, and both together."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import islice

import torch
from torch import nn

from byol.bench.ceilings import synchronize
from byol.bench.profile import Profile, begun, profile, untimed
from byol.config.run import PretrainConfig
from byol.data.loader import Batch, Loader
from byol.pretraining.train import State, build, parallel, runner, train_step, unrecorded
from byol.runtime import device as machine
from byol.runtime.cuda_graph import Halves

STARTED = 5
"""Updates of which it is seen how long their kernels take to start."""
LR, TAU = 0.0, 1.0
"""Of the updates that are timed: they cost what others cost, and the network stays as it is."""


@dataclass
class Subject:
    """A run that is measured: its loader, its networks, and the precision that it takes here.

    Every measurement goes on in the data where the last one ended.
    """

    config: PretrainConfig
    loader: Loader
    channels: int
    precision: str
    """`bf16` or `float32`."""
    position: int = 0
    """Step whose images come next."""
    state: State = field(init=False)
    model: nn.Module = field(init=False)
    """The method, as several processes wrap it."""
    run: Halves = field(init=False)
    """What computes its updates."""
    ready: list[Batch] = field(init=False)

    def __post_init__(self) -> None:
        config = self.config
        self.state = build(config, self.channels, self.loader.device)
        self.model = parallel(self.state.method, self.loader.device, config.optim.compile).train()
        self.run = runner(config.optim, self.loader.device)
        self.ready = [Batch(batch.views(config)) for batch in next(self._batches(1))]
        for _ in range(1 + unrecorded(config.optim)):
            self._step(self.ready)

    @property
    def autocast(self) -> AbstractContextManager[object]:
        return machine.autocast(self.loader.device, self.precision == "bf16")

    def pipeline(self, batches: int) -> float:
        """Two normalized views each, with nobody training; `untimed` batches are made before."""
        return pipeline(self.loader, self._coming(batches), batches)

    def started_share(self) -> float:
        """Part of an update's time in which its kernels are still being started; near 1, the device waits for them.

        The median of a few, each from an idle device to an idle device: many in a row would fill the queue of what is
        started. 1 on a processor, which starts nothing ahead.
        """
        if self.loader.device.type == "cpu":
            return 1.0
        shares = []
        for _ in range(STARTED):
            synchronize(self.loader.device)
            began = time.perf_counter()
            self._step(self.ready)
            started = time.perf_counter() - began
            synchronize(self.loader.device)
            shares.append(started / (time.perf_counter() - began))
        return statistics.median(shares)

    def step(self, batches: int) -> float:
        """Forward, backward, optimizer and target on views made before."""
        began = time.perf_counter()
        for _ in range(batches):
            self._step(self.ready)
        return rate(self.loader.device, batches * self.config.batch_size, began)

    def together(self, batches: int) -> float:
        """As a run has them: loader, views and step; `untimed` updates are done before."""
        return timed(self.loader, self._coming(batches), batches, self._step)

    def profile(self, updates: int) -> Profile:
        """Where the time of an update goes."""
        first = self.position
        self.position += begun(self.loader, updates)
        return profile(
            self.state, self.loader, self.config, self.autocast, first=first, updates=updates, lr=LR, tau=TAU
        )

    def _coming(self, batches: int) -> Iterator[list[Batch]]:
        """Those to be timed, the untimed ones before, and what is decoded ahead of what comes after."""
        return self._batches(begun(self.loader, batches))

    def _batches(self, count: int) -> Iterator[list[Batch]]:
        first = self.position
        self.position += count
        return self.loader.batches(first, first + count)

    def _step(self, parts: list[Batch]) -> None:
        train_step(self.state, self.model, parts, self.config, LR, TAU, self.autocast, self.run)


def pipeline(loader: Loader, coming: Iterator[list[Batch]], batches: int) -> float:
    """Images per second whose views are made."""

    def make(parts: list[Batch]) -> None:
        for batch in parts:
            batch.views(loader.config)

    return timed(loader, coming, batches, make)


def timed(loader: Loader, coming: Iterator[list[Batch]], batches: int, act: Callable[[list[Batch]], None]) -> float:
    """Images per second of `batches` batches that come and are acted upon, after `untimed` ones."""
    for parts in islice(coming, untimed(loader)):
        act(parts)
    synchronize(loader.device)
    began = time.perf_counter()
    for parts in islice(coming, batches):
        act(parts)
    return rate(loader.device, batches * loader.config.batch_size, began)


def rate(device: torch.device, images: int, began: float) -> float:
    """Images per second since `began`, when the device is done."""
    synchronize(device)
    return images / (time.perf_counter() - began)


def batches_in(measure: Callable[[int], float], batch_size: int, seconds: float) -> int:
    """Batches that a measurement takes to last so long, one at least; found by measuring one."""
    return max(1, int(seconds * measure(1) / batch_size))
