"""From the networks of a run to its last words: train to the end or to an interruption, and keep what there is."""

import logging
import shlex
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from byol.encoders.build import parameter_count
from byol.encoders.file import load_encoder
from byol.encoders.weights.open import forget
from byol.errors import UnreachableImage, UserError
from byol.pretraining.callbacks import Callbacks
from byol.pretraining.history import History
from byol.pretraining.judge import Judgment, judge_encoder, judge_untrained
from byol.pretraining.live_page import LivePage, page_kept
from byol.pretraining.memory import memory_explained
from byol.pretraining.monitor import Reading
from byol.pretraining.pictures import pictures_of
from byol.pretraining.run_page import write_run_page
from byol.pretraining.setup import Run
from byol.pretraining.start import start_encoder_of
from byol.pretraining.state import TrainState
from byol.pretraining.train import train
from byol.pretraining.verdict import Verdict
from byol.runtime import distributed
from byol.runtime.program import program
from byol.runtime.signals import noted_signals

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    folder: Path
    verdict: Verdict | None
    """None where the run was interrupted."""
    reading: Reading | None = None
    """k-NN accuracy of the trained encoder, where there were labels."""
    start: Reading | None = None
    """The same for the encoder that the run began with; where its weights were fresh, after its batch norm had seen
    training images."""
    pixels: Reading | None = None
    """The same for the images' own values."""
    interrupted: bool = False

    def encoder(self) -> nn.Module:
        """The trained encoder, in evaluation mode."""
        return load_encoder(self.folder)


def finish(run: Run, state: TrainState, history: History) -> Outcome:
    """Train to the end or to an interruption, judge, and keep what there is."""
    forget()  # the file of the start weights: the networks have them
    config, total = run.config, run.config.total_steps(run.images)
    epochs = f"{config.epochs:.4g} epoch{'' if config.epochs == 1 else 's'} = {total} updates"
    length = f"{run.images} images, batch {config.batch_size}, {epochs}" if total else "no training"
    size = parameter_count(state.method.encoder) / 1e6
    log.info(f"{config.method.name} on {config.encoder.name}: {size:.1f} M parameters, {length}")
    where = run.folder.path if run.folder is not None else Path()
    log.info(f"run {where}", extra={"style": "bold"})
    with page_kept(run) as page:
        verdict = _trained(run, state, history, page) if total else judge_untrained(run, state.method)
        if verdict is None:
            log.info(f"interrupted after {state.step} of {total} updates; go on with: {_go_on(run)}")
            return Outcome(where, None, interrupted=True)
        try:
            found = judge_encoder(run, state, verdict, complete=history.ended or state.step == total)
            _write_page(run, state.step, found)
        except OSError as error:
            raise UserError(f"{_cannot_write(error)} All of it is kept; go on with: {_go_on(run)}") from error
    distributed.barrier()
    return Outcome(where, found.verdict, found.reading, found.start, found.pixels)


def _write_page(run: Run, step: int, found: Judgment) -> None:
    """The pictures, and the page that shows them and the verdict; all processes must call it."""
    if run.config.logging.pictures and found.kept is not None:
        before = (found.before or start_encoder_of(run)) if step else None
        pictures = pictures_of(run, before, found.kept)
        if run.folder is not None:
            pictures.save(run.folder)
    if run.folder is not None:
        write_run_page(run.folder.path)


def _go_on(run: Run) -> str:
    where = run.folder.path if run.folder is not None else Path()
    return f"{program()} {shlex.join(['pretrain', '--resume', str(where)])}"


def _cannot_write(error: OSError) -> str:
    where = f" {error.filename}" if error.filename else ""
    return f"The run cannot write{where}: {error.strerror or error}."


def _trained(run: Run, state: TrainState, history: History, page: LivePage) -> Verdict | None:
    """Train to the end or to an interruption, and keep the state; None where it was interrupted."""
    total, known = run.config.total_steps(run.images), len(run.bad)
    with noted_signals() as stopping:
        callbacks: Callbacks | None = None
        try:
            with memory_explained(run):
                callbacks = Callbacks(run, state, history, stopping, page)
                until = state.step if history.ended else total
                batches = callbacks.timed_batches(run.loader.batches(state.step, until))
                train(state, batches, run.config, run.images, callbacks)
            callbacks.save()  # before anything is said: the reader may be gone
            run.bar.stop()
        except (UserError, OSError) as error:  # mostly a disk that is full
            said = str(error) if isinstance(error, UserError) else _cannot_write(error)
            gone = isinstance(error.__cause__, UnreachableImage)  # between two updates: the state is whole
            if gone and callbacks is not None and distributed.world_size() == 1:
                with suppress(UserError, OSError):  # of a run folder on the same disk
                    callbacks.save()
            if callbacks is not None and callbacks.saved_step:  # where nothing was learned there is nothing to keep
                said += f" It is kept up to update {callbacks.saved_step}; go on with: {_go_on(run)}"
            raise UserError(said) from error
        run.bad.share()
        distributed.barrier()  # torchrun ends all processes when one ends
    if len(run.bad) > known and run.folder is not None:
        log.warning(
            f"{len(run.bad) - known} more images could not be read, were passed over, and are listed in "
            f"{run.folder.bad_images}",
            extra={"style": "yellow"},
        )
    return callbacks.verdict
