"""The encoder in a run's folder: as far as it has come while the run goes on, and that of its end."""

from pathlib import Path

from byol.encoders.build import feature_count
from byol.encoders.file import CARD, WEIGHTS, EncoderCard, read_card, save_encoder
from byol.encoders.start import describe_start
from byol.errors import UserError
from byol.pretraining.run_folder import RunPlan
from byol.pretraining.setup import Run
from byol.pretraining.state import TrainState


def keep_encoder(run: Run, state: TrainState) -> Path | None:
    """Write the encoder as it is, and how far it was trained.

    Returns:
        The path of the weights; None where the run has no folder.
    """
    if run.folder is None:
        return None
    config, total = run.config, run.config.total_steps(run.images)
    card = EncoderCard(
        encoder=config.trained_encoder(),
        features=feature_count(state.method.encoder),
        method=config.method.name,
        epochs=config.epochs if state.step == total else config.epochs * state.step / total,
        seed=config.seed,
        images=run.images if state.step or config.epochs else 0,
        start=describe_start(config.encoder),
    )
    return save_encoder(run.folder.path, state.method.encoder, card)


def drop_encoder(run: Run) -> None:
    """Take away the encoder that a run had so far: before that of its end is written, and where there is none."""
    if run.folder is not None:
        (run.folder.path / WEIGHTS).unlink(missing_ok=True)
        (run.folder.path / CARD).unlink(missing_ok=True)


def is_finished(folder: Path, plan: RunPlan) -> bool:
    """Whether the encoder in a run's folder is that of its end."""
    try:
        return (folder / WEIGHTS).is_file() and read_card(folder / CARD).epochs >= plan.config.epochs
    except UserError:
        return False
