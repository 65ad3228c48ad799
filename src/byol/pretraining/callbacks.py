"""What watches the loop: metrics, health measures, k-NN readings, checkpoints, signals; each after a step, in order."""

import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TypeVar

import torch
from torch import Tensor

from byol.data.transform import Transform
from byol.evals.features import extract
from byol.methods.base import Features
from byol.methods.table import method_class
from byol.pretraining.budget import in_words
from byol.pretraining.health import measure, norms, represent_with
from byol.pretraining.history import History
from byol.pretraining.keep import Candidate, keep_best, keep_encoder, keeps_best
from byol.pretraining.live_page import LivePage
from byol.pretraining.monitor import Monitor
from byol.pretraining.setup import Run, probe
from byol.pretraining.start import look_at_start
from byol.pretraining.state import TrainState
from byol.pretraining.verdict import Verdict
from byol.runtime import checkpoint, distributed
from byol.runtime.signals import Stopping

log = logging.getLogger(__name__)

T = TypeVar("T")
SAY_SECONDS = 180.0
"""Where no progress bar is shown, a line says this often how far a run has come."""


class Callbacks:
    """Called after every step; says whether to go on.

    Args:
        run: what stays the same.
        state: what training changes.
        history: what was seen so far; grows.
        stopping: whether a signal asked for an end.
        page: of the run, renewed now and then.
    """

    def __init__(
        self, run: Run, state: TrainState, history: History, stopping: Stopping, page: LivePage | None = None
    ) -> None:
        self.run, self.state, self.history, self.stopping = run, state, history, stopping
        self.page = page or LivePage(None)
        self.method = method_class(run.config.method)
        self.config = run.config.logging
        self.total, self.warmup = run.config.total_steps(run.images), run.config.warmup_steps(run.images)
        every = self.config.knn_every_epochs
        usual = math.ceil(self.total / (4 + (run.config.patience or 0)))
        self.read_every = max(1, run.config.steps(every, run.images) if every else usual)
        self.represent = represent_with(state.method.encoder, state.method.projector)
        self.probe = probe(run)
        self.history.sums = self.history.sums.to(run.device)
        if state.step == 0:
            self.history.start = look_at_start(run, state.method, self.probe)
            run.metrics.write(0, self.history.start.as_metrics())
            state.method.before_training(self._features)
        # a run that was killed in its last words has made all its updates
        self.verdict: Verdict | None = self._verdict() if history.ended or state.step == self.total else None
        """Why the run was stopped, or what is said of it at its end; None where it was interrupted."""
        self.saved_at, self.saved_step = time.monotonic(), state.step
        self.since, self.timed = time.perf_counter(), 0
        self.said_at, self.waited = time.monotonic(), 0.0
        run.bar.start(self.total, state.step)

    def __call__(self, loss: Tensor, gradient_norm: Tensor, hyperparameters: Mapping[str, float]) -> bool:
        """Watch one step. Nothing is read from the device until it is logged."""
        self.history.sums += torch.stack([loss, gradient_norm])
        self.history.counted, self.timed = self.history.counted + 1, self.timed + 1
        ended = self.state.step == self.total
        if self._due(self.config.log_every) or ended:
            self._log(hyperparameters)
            if self._stops_by("diverged"):
                return False
        else:
            self.run.bar.advance(self.state.step)
        looked = time.perf_counter()
        if self._ends_epoch():
            self.state.method.after_epoch(self._features)
        if self._due(self.config.health_every) or ended:
            self._measure_health()
            stops = self._verdict().stops and self.config.stop_on_collapse and self.state.step > self.warmup
            if distributed.any_rank(stops, self.run.device):
                self.verdict = self._verdict()
                return False
        if ended:
            self.verdict = self._verdict()
            return False
        goes_on = self._read_save_listen()
        if self.history.ended:
            self.verdict = self._verdict()
            return False
        self.since += time.perf_counter() - looked  # looks, readings and checkpoints are no training
        return goes_on

    def timed_batches(self, steps: Iterator[T]) -> Iterator[T]:
        """The batches of the loader, while the time that the loop waits for them is noted."""
        while True:
            began = time.perf_counter()
            batches = next(steps, None)
            self.waited += time.perf_counter() - began
            if batches is None:
                return
            yield batches

    def save(self) -> None:
        """Write a checkpoint, and the encoder as far as it has come."""
        if self.run.folder is not None:
            tensors = checkpoint.gather_state(self.state.method, self.state.optimizer)
            checkpoint.save_checkpoint(self.run.folder.checkpoints, self.state.step, tensors, self.history.to_json())
            if self.state.step < self.total:
                keep_encoder(self.run, Candidate(self.state.method.encoder, self.state.step), finished=False)
        self.saved_at, self.saved_step = time.monotonic(), self.state.step

    def _due(self, every: int) -> bool:
        return self.state.step % every == 0

    def _verdict(self) -> Verdict:
        return self.history.verdict(self.method, self.run.config.encoder.weights is not None)

    def _stops_by(self, word: str) -> bool:
        verdict = self._verdict()
        if verdict.word == word and self.config.stop_on_collapse:
            self.verdict = verdict
            return True
        return False

    def _log(self, hyperparameters: Mapping[str, float]) -> None:
        """Write the means since the last time."""
        history, step = self.history, self.state.step
        loss, norm = (distributed.mean(history.sums) / history.counted).tolist()
        rate = self.timed * self.run.config.batch_size / (time.perf_counter() - self.since)
        history.losses.append(loss)
        history.gradient_norms.append(norm)
        history.images_per_second = rate
        history.sums.zero_()
        history.counted = 0
        values = {"loss": loss, "gradient_norm": norm, **hyperparameters}
        if self.config.norms:
            with self._autocast():
                values |= norms(self.represent, self.probe[0])
        self.run.metrics.write(step, {**values, "images_per_second": rate})
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in hyperparameters.items())
        self.run.bar.advance(step, f"loss {loss:.3f}  {numbers}  {rate:.0f} img/s")
        if not self.run.bar.shown and time.monotonic() - self.said_at >= SAY_SECONDS:
            self._say(loss, rate)
        self.since, self.timed, self.waited = time.perf_counter(), 0, 0.0

    def _say(self, loss: float, rate: float) -> None:
        """One line, where no progress bar is shown."""
        waited = self.waited / (time.perf_counter() - self.since)
        left = (self.total - self.state.step) * self.run.config.batch_size / rate
        log.info(
            f"after {self.state.step} of {self.total} updates: loss {loss:.3f}, {rate:.0f} images/s, {waited:.0%} of "
            f"the time waiting for images, about {in_words(left / 60)} left"
        )
        self.said_at = time.monotonic()

    def _measure_health(self) -> None:
        with self._autocast():
            health = measure(self.represent, *self.probe)
        self.history.health.append(health)
        self.run.metrics.write(self.state.step, health.as_metrics())

    def _read_save_listen(self) -> bool:
        """k-NN by the epoch, checkpoints by the clock, signals; whether to go on."""
        if self.run.monitor is not None and self._due(self.read_every):
            self._read(self.run.monitor)
        if self._due(self.config.health_every):
            self.run.bad.share()
        stopping = bool(self.stopping)
        if distributed.world_size() > 1:  # all processes must stop at the same step
            # on GPUs, whose steps are short, only now and then: asking waits for the device
            due = self.run.device.type == "cpu" or self._due(self.config.log_every)
            stopping = due and distributed.any_rank(stopping, self.run.device)
        if not stopping and time.monotonic() - self.saved_at > 60 * self.config.checkpoint_minutes:
            self.save()
        self.page.renew()
        return not stopping

    def _read(self, monitor: Monitor) -> None:
        """k-NN on a sample; the best-read encoder is put aside, and a run with a patience may end."""
        reading, history, patience = (
            monitor.read(self.state.method.encoder, full=False),
            self.history,
            self.run.config.patience,
        )
        values = {"knn/sample_accuracy": reading.accuracy, "knn/sample_images": reading.queries}
        self.run.metrics.write(self.state.step, values)
        log.info(
            f"after {self.state.step} updates: 20-NN accuracy {reading.accuracy:.1%} (a sample of {reading.queries})"
        )
        history.stale += 1
        if history.best is None or reading.accuracy > history.best:
            history.best, history.stale = reading.accuracy, 0
            if keeps_best(self.run):
                keep_best(self.run, self.state)
        if patience is not None and distributed.any_rank(history.stale >= patience, self.run.device):
            history.ended = True
            log.info(
                f"ends after {self.state.step} of {self.total} updates: the last {patience} readings were no better "
                f"than {history.best:.1%} (--patience {patience})"
            )

    def _ends_epoch(self) -> bool:
        """Whether the step that was just made is the last of an epoch."""
        images, seen = self.run.images, self.state.step * self.run.config.batch_size
        return seen // images > (seen - self.run.config.batch_size) // images

    def _features(self) -> Features:
        """Features of all training images, in every process."""
        transform = Transform.of(self.run.config.read_encoder())
        return extract(self.state.method.encoder, self.run.source, transform, self.run.passes)

    def _autocast(self) -> AbstractContextManager[object]:
        return self.run.autocast
