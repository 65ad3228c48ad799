"""The last words of a run: whether it worked, whether it was worth it, and the encoder that it leaves."""

import logging

import torch

from byol.encoders.build import feature_count
from byol.encoders.file import EncoderCard, save_encoder
from byol.evals.paired import Pairs
from byol.methods.base import Method
from byol.pretraining.health import Verdict, measure, represent_with, untrained
from byol.pretraining.monitor import Reading, gain_in_words
from byol.pretraining.setup import Run, probe
from byol.pretraining.start import calibrate, start_encoder_of
from byol.pretraining.state import TrainState

log = logging.getLogger(__name__)

STYLES = {"healthy": "bold green", "weak": "bold yellow", "untrained": "bold"}
"""How the verdict is shown; the others are red."""


def judge_untrained(run: Run, method: Method) -> Verdict:
    """One look at an encoder that takes no step; its batch norm sees training images first."""
    if run.config.encoder.weights is None:
        calibrate(run, method.encoder)
    view1, view2 = probe(run)
    with run.autocast:
        look = measure(represent_with(method.encoder, method.projector), view1, view2)
    run.metrics.write(0, {f"health/{k}": v for k, v in look.as_dict().items()})
    return untrained(look)


def judge_encoder(run: Run, state: TrainState, verdict: Verdict) -> tuple[Reading | None, Reading | None]:
    """Say whether it worked and whether it was worth it, and write the encoder.

    Returns:
        The readings of the trained encoder and of an untrained one, where there are labels.
    """
    log.info(verdict.sentence, extra={"style": STYLES.get(verdict.word, "bold red")})
    if verdict.advice:
        log.info(verdict.advice)
    readings: tuple[Reading | None, Reading | None] = None, None
    if run.monitor is not None and verdict.word != "diverged":
        readings = _readings(run, state)
    if run.folder is not None and state.step == run.config.total_steps(run.images):
        encoder = state.method.encoder
        path = save_encoder(run.folder.path, encoder, _card(run, encoder))  # last: a run that has it is finished
        log.info(f"encoder {path}", extra={"style": "bold"})
    return readings


def _readings(run: Run, state: TrainState) -> tuple[Reading, Reading]:
    assert run.monitor is not None
    encoder = state.method.encoder
    reading = run.monitor.read(encoder, full=True)
    words = f"on {reading.queries} images that training never saw ({reading.bank} vote)"
    if state.step == 0:
        run.metrics.write(0, {"knn/accuracy": reading.accuracy, "knn/untrained": reading.accuracy})
        log.info(
            f"20-NN accuracy {reading.accuracy:.1%} {words}: what the architecture alone is worth",
            extra={"style": "bold"},
        )
        return reading, reading
    fresh = run.monitor.read(start_encoder_of(run), full=True)
    pixels = run.monitor.read_pixels()
    pairs = Pairs.of(fresh.correct, reading.correct)
    sample = run.monitor.sample(encoder, reading)
    run.metrics.write(
        state.step,
        {
            "knn/accuracy": reading.accuracy,
            "knn/untrained": fresh.accuracy,
            "knn/pixels": pixels.accuracy,
            "knn/gained": pairs.gained,
            "knn/lost": pairs.lost,
            "knn/sample_accuracy": sample.accuracy,
            "knn/sample_images": sample.queries,
        },
    )
    log.info(
        f"20-NN accuracy {reading.accuracy:.1%} {words}; an untrained encoder has {fresh.accuracy:.1%}: "
        f"{gain_in_words(reading, fresh)}",
        extra={"style": "bold"},
    )
    return reading, fresh


def _card(run: Run, encoder: torch.nn.Module) -> EncoderCard:
    config, trained = run.config, run.config.epochs > 0
    return EncoderCard(
        encoder=config.trained_encoder(),
        features=feature_count(encoder),
        method=config.method.name,
        epochs=config.epochs,
        seed=config.seed,
        images=run.images if trained else 0,
    )
