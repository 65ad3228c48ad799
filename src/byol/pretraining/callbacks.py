"""While a run goes on: checkpoints by the clock, k-NN readings by the epoch, an ear for signals."""

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from types import FrameType
from typing import Any, Literal

import torch

from byol.pretraining.health import Health
from byol.pretraining.setup import Run
from byol.pretraining.train import History, State
from byol.runtime import checkpoint, distributed
from byol.runtime.metrics import RunLog

REPEAT_SECONDS = 2.0
"""A second signal sooner than this is the first one told twice, by a scheduler and by torchrun."""


class Callbacks:
    """After each update: checkpoints by the clock, k-NN readings by the epoch, and an ear for signals."""

    def __init__(self, run: Run, state: State, watch: History, log: RunLog, total: int) -> None:
        self.run, self.state, self.watch, self.log, self.total = run, state, watch, log, total
        self.saved_at, self.saved_step = time.monotonic(), state.step
        self.stopping: dict[Literal["signal"], int] = {}
        every = run.config.watch.knn_every_epochs
        self.read_every = max(1, run.config.steps(every, run.images) if every else math.ceil(total / 4))

    def __call__(self, step: int) -> bool:
        """Whether to go on."""
        ended = step == self.total
        if self.run.monitor is not None and step % self.read_every == 0 and not ended:
            reading = self.run.monitor.read(self.state.method.encoder, full=False)
            self.log.metrics(step, {"knn/sample_accuracy": reading.accuracy, "knn/sample_images": reading.queries})
            self.log.say(f"after {step} updates: 20-NN accuracy {reading.accuracy:.1%} (a sample of {reading.queries})")
        if step % self.run.config.watch.health_every == 0:
            self.run.bad.share()
        asked = bool(self.stopping)
        if distributed.world_size() > 1:  # all processes must stop at the same step
            # on GPUs, whose steps are short, only now and then: asking waits for the device
            due = self.run.device.type == "cpu" or step % self.run.config.watch.log_every == 0
            asked = due and distributed.any_rank(asked, self.run.device)
        if not ended and not asked and time.monotonic() - self.saved_at > 60 * self.run.config.watch.checkpoint_minutes:
            self.save()
        if asked and not ended:
            self.log.say("stopping, as asked; the state is being kept")
        return ended or not asked

    def save(self) -> None:
        """Write a checkpoint."""
        if self.run.folder is not None:
            tensors = checkpoint.gather_state(self.state.method, self.state.optimizer)
            checkpoint.save_checkpoint(
                self.run.folder.checkpoints, self.state.step, tensors, history_as_json(self.watch)
            )
        self.saved_at, self.saved_step = time.monotonic(), self.state.step


ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that ask for an end; Windows has no SIGHUP, which a terminal sends when it is closed."""


Handlers = dict[signal.Signals, Any]


def _heard() -> list[signal.Signals]:
    """Those that this process was not told to ignore: nohup has it ignore the end of its terminal."""
    return [name for name in ENDING if signal.getsignal(name) is not signal.SIG_IGN]


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None], names: list[signal.Signals]) -> Iterator[Handlers]:
    """Have signals handled so for the time of a `with`, which gets the handlers before."""
    before: Handlers = {}
    try:
        for name in names:
            before[name] = signal.signal(name, handler)
    except ValueError:  # not the main thread: whoever started us listens
        before.clear()
    try:
        yield before
    finally:
        for name, earlier in before.items():
            signal.signal(name, earlier)


@contextmanager
def tidy_end() -> Iterator[None]:
    """SIGTERM and SIGHUP leave by way of every `finally`, as SIGINT does, with the exit code of a shell."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    with _handled_by(leave, [name for name in _heard() if name != signal.SIGINT]):
        yield


@contextmanager
def signals() -> Iterator[dict[Literal["signal"], int]]:
    """Note SIGINT, SIGTERM and SIGHUP instead of dying of them; another one, later, kills as usual."""
    seen: dict[Literal["signal"], int] = {}
    first = 0.0

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if "signal" not in seen:
            seen["signal"], first = number, time.monotonic()
        elif time.monotonic() - first > REPEAT_SECONDS:
            for name, handler in before.items():
                signal.signal(name, handler)
            signal.raise_signal(number)

    with _handled_by(note, _heard()) as before:
        yield seen


def history_as_json(watch: History) -> dict[str, Any]:
    return {
        "losses": watch.losses[-100:],
        "gradient_norms": watch.gradient_norms[-100:],
        "health": [asdict(h) for h in watch.health[-10:]],
        "since": watch.sums.tolist(),
        "counted": watch.counted,
    }


def restore_history(watch: History, extra: dict[str, Any]) -> None:
    watch.losses, watch.gradient_norms = list(extra["losses"]), list(extra["gradient_norms"])
    watch.health = [Health(**values) for values in extra["health"]]
    watch.sums, watch.counted = torch.tensor(extra["since"]), extra["counted"]
