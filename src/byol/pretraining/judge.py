"""The last words of a run: whether it worked, whether it was worth it, and the encoder that it leaves."""

import logging
from dataclasses import dataclass, field, replace

from torch import nn

from byol.methods.base import Method
from byol.pretraining.keep import Candidate, best_of, drop_best, drop_encoder, keep_encoder, keeps_best
from byol.pretraining.monitor import Monitor, Reading
from byol.pretraining.run_page import save_verdict
from byol.pretraining.setup import Run, probe
from byol.pretraining.start import calibrate, look_at_start, start_encoder_of
from byol.pretraining.state import TrainState
from byol.pretraining.verdict import Verdict, untrained, with_labels

log = logging.getLogger(__name__)

STYLES = {"learned": "bold green", "learned little": "bold yellow", "untrained": "bold", "cannot tell": "bold yellow"}
"""How the verdict is shown; the others are red."""


@dataclass(frozen=True)
class Judgment:
    """The verdict, and the readings that it rests on where there are labels."""

    verdict: Verdict
    reading: Reading | None = None
    """Of the trained encoder."""
    start: Reading | None = None
    """Of the encoder that the run began with."""
    pixels: Reading | None = None
    before: nn.Module | None = field(default=None, repr=False)
    """The encoder that the run began with, where it was read."""
    kept: nn.Module | None = field(default=None, repr=False)
    """The encoder that is kept, or the last one where none is."""


def judge_untrained(run: Run, method: Method) -> Verdict:
    """One look at an encoder that takes no step; its batch norm sees training images first."""
    look = look_at_start(run, method, probe(run))
    if run.config.encoder.weights is None:
        calibrate(run, method.encoder)
    run.metrics.write(0, look.as_metrics())
    return untrained(look)


def judge_encoder(run: Run, state: TrainState, verdict: Verdict, complete: bool) -> Judgment:
    """Say whether it worked and whether it was worth it, and write the encoder.

    Args:
        run: that has ended.
        state: what training left.
        verdict: from the measures.
        complete: whether training went on to its end; where it was stopped, no encoder is left.
    """
    found, kept = Judgment(verdict), Candidate(state.method.encoder, state.step)
    if run.monitor is not None and verdict.word != "diverged":
        if state.step == 0:
            found = _read_untrained(run, run.monitor, state, verdict)
        else:
            found, kept = _read_trained(run, run.monitor, _candidates(run, state), verdict)
    log.info(found.verdict.sentence, extra={"style": STYLES.get(found.verdict.word, "bold red")})
    if found.verdict.advice:
        log.info(found.verdict.advice)
    if run.folder is not None:
        log.info(f"page {run.folder.page}")  # which `finish` writes when all else is there
        save_verdict(run.folder, found.verdict, state.step)  # before the encoder: a run that has it is finished
    drop_encoder(run)  # a run that was stopped leaves none, but for what was put aside
    path = None
    if complete and verdict.word != "diverged":
        path = keep_encoder(run, kept, finished=True)  # last: a run that has it is finished
        drop_best(run)
    if run.folder is not None and path is not None:
        log.info(f"encoder {path}", extra={"style": "bold"})
        log.info(f"in Python: import byol; encoder = byol.load_encoder({str(run.folder.path)!r})")
    return replace(found, kept=kept.encoder)


def _read_untrained(run: Run, monitor: Monitor, state: TrainState, verdict: Verdict) -> Judgment:
    reading, pixels = monitor.read(state.method.encoder, full=True), monitor.read_pixels()
    same = {"knn/accuracy": reading.accuracy, "knn/start": reading.accuracy}
    run.metrics.write(0, same | {"knn/pixels": pixels.accuracy})
    words = f"20-NN accuracy {reading.accuracy:.1%} ({reading.queries} images), bare pixels {pixels.accuracy:.1%}"
    said = Verdict(verdict.word, f"{verdict.sentence} {words}: what the architecture alone is worth.")
    return Judgment(said, reading, reading, pixels)


def _candidates(run: Run, state: TrainState) -> list[Candidate]:
    """The encoders that were trained and may be kept, the last one first."""
    last = Candidate(state.method.encoder, state.step)
    aside = best_of(run, state) if keeps_best(run) else None
    return [last] if aside is None else [last, aside]


def _read_trained(run: Run, monitor: Monitor, trained: list[Candidate], verdict: Verdict) -> tuple[Judgment, Candidate]:
    """The readings, what they mean, and the encoder that is kept."""
    readings = [monitor.read(each.encoder, full=True) for each in trained]
    # of equal ones the last counts
    chosen = max(range(len(trained)), key=lambda number: readings[number].accuracy)
    kept, reading = trained[chosen], readings[chosen]
    if kept is not trained[0]:
        log.info(
            f"kept: the encoder after {kept.step} of {trained[0].step} updates, which reads {reading.accuracy:.1%}, "
            f"where the last one reads {readings[0].accuracy:.1%}"
        )
    sample = monitor.sample(kept.encoder, reading)
    before = start_encoder_of(run)
    start, pixels = monitor.read(before, full=True), monitor.read_pixels()
    started = run.config.encoder.weights is not None
    if started and keeps_best(run) and reading.accuracy <= start.accuracy:
        kept = Candidate(before, 0)
        log.info(
            f"kept: the start weights as they were, as no encoder that was trained reads better ({start.accuracy:.1%})"
        )
    pairs = reading.pairs_since(start)
    run.metrics.write(
        trained[0].step,
        {
            "knn/accuracy": reading.accuracy,
            "knn/start": start.accuracy,
            "knn/pixels": pixels.accuracy,
            "knn/gained": pairs.gained,
            "knn/lost": pairs.lost,
            "knn/copies": pixels.copies,
            "knn/sample_accuracy": sample.accuracy,
            "knn/sample_images": sample.queries,
            "knn/kept_step": kept.step,
        },
    )
    return Judgment(with_labels(verdict, reading, start, pixels, started), reading, start, pixels, before), kept
