"""Images per second: the input pipeline alone, the step alone on views made before, and both together."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

import torch

from byol.bench.ceilings import synchronize
from byol.bench.profile import Profile, Updates, begun, profile, untimed
from byol.config.run import PretrainConfig
from byol.data.batch import Batch, CropBatch
from byol.data.loader import Loader
from byol.methods.base import Method, Progress, TrainingSet
from byol.pretraining.checks import training_set
from byol.pretraining.state import TrainState, build_state
from byol.pretraining.train import TrainStep

STARTED = 5
"""Updates of which it is seen how long their kernels take to start."""
LR = 0.0
"""Learning rate of the updates that are timed: they cost what others cost, and the weights stay as they are."""


def last_scheduled(method: Method) -> dict[str, float]:
    """What a method schedules for the end of a run, where a moving average stands still."""
    return method.scheduled(Progress(1, 1))


@dataclass
class Subject:
    """A run that is measured: its loader, and the step of a state built for it.

    Every measurement goes on in the data where the last one ended.

    Args:
        loader: of the run; its config has a precision of `bf16` or `float32`.
    """

    loader: Loader
    position: int = 0
    """Step whose images come next."""
    state: TrainState = field(init=False)
    train_step: TrainStep = field(init=False)
    scheduled: Mapping[str, float] = field(init=False)
    ready: list[Batch] = field(init=False)
    """A batch whose views are made."""

    def __post_init__(self) -> None:
        self.state = build_state(self.config, self.data, self.loader.device)
        self.train_step = TrainStep(self.state, self.config)
        self.scheduled = last_scheduled(self.state.method)
        self.ready = [batch.augmented() for batch in next(self._batches(1))]
        for _ in range(1 + self.train_step.warmup_steps):
            self._step(self.ready)

    @property
    def config(self) -> PretrainConfig:
        """The settings of the run."""
        return self.loader.config

    @property
    def data(self) -> TrainingSet:
        """What is known of the images."""
        return training_set(self.loader.storage.source)

    def pipeline(self, batches: int) -> float:
        """All views, normalized, with nobody training; `untimed` batches are made before."""
        return pipeline(self.loader, self._coming(batches), batches)

    def started_share(self) -> float:
        """Share of an update's time in which its kernels are still being started; near 1, the device waits for them.

        The median of a few, each from an idle device to an idle device: many in a row would fill the queue of what is
        started. 1 on a CPU, which starts nothing ahead.
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
        """Forward, backward, optimizer and what the method does after it, on views made before."""
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
        return profile(self.train_step, self.loader, Updates(first, updates, self.scheduled, LR))

    def _coming(self, batches: int) -> Iterator[list[CropBatch]]:
        """Those to be timed, the untimed ones before, and what is prefetched of what comes after."""
        return self._batches(begun(self.loader, batches))

    def _batches(self, count: int) -> Iterator[list[CropBatch]]:
        first = self.position
        self.position += count
        return self.loader.batches(first, first + count)

    def _step(self, parts: list[CropBatch] | list[Batch]) -> None:
        self.train_step(parts, LR, self.scheduled)


def pipeline(loader: Loader, coming: Iterator[list[CropBatch]], batches: int) -> float:
    """Images per second whose views are made."""

    def make(parts: list[CropBatch]) -> None:
        for batch in parts:
            batch.augmented()

    return timed(loader, coming, batches, make)


def timed(
    loader: Loader, coming: Iterator[list[CropBatch]], batches: int, act: Callable[[list[CropBatch]], None]
) -> float:
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
