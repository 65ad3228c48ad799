"""The encoder in a run's folder: as far as it has come while the run goes on, and at the end the one that is kept.

That is the last one, or the best-read one (`--keep`): continued pretraining can forget what its start weights knew, and
readings on labels show it.
"""

import copy
import logging
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from byol.encoders.build import feature_count
from byol.encoders.file import CARD, WEIGHTS, EncoderCard, read_card, save_encoder
from byol.encoders.start import describe_start
from byol.errors import UserError
from byol.pretraining.setup import Run
from byol.pretraining.state import TrainState
from byol.runtime.checkpoint import save_tensors

log = logging.getLogger(__name__)

BEST = "best.safetensors"
"""The encoder that was read best so far, until the run ends."""


@dataclass(frozen=True)
class Candidate:
    """An encoder that a run may keep."""

    encoder: nn.Module
    step: int
    """Updates after which it was as it is."""


def keeps_best(run: Run) -> bool:
    """Whether the best-read encoder is kept: where it was asked for, from trained weights, or with a patience."""
    wanted = run.config.encoder.weights is not None or run.config.patience is not None
    return run.monitor is not None and (run.config.keep == "best" or (run.config.keep == "auto" and wanted))


def keep_encoder(run: Run, kept: Candidate, finished: bool) -> Path | None:
    """Write an encoder, and how far it was trained.

    Args:
        run: whose encoder it is.
        kept: what is written.
        finished: whether the run has ended.

    Returns:
        The path of the weights; None where the run has no folder.
    """
    if run.folder is None:
        return None
    config, total = run.config, run.config.total_steps(run.images)
    card = EncoderCard(
        encoder=config.trained_encoder(),
        features=feature_count(kept.encoder),
        method=config.method.name,
        epochs=config.epochs if kept.step == total else config.epochs * kept.step / total,
        seed=config.seed,
        images=run.images if config.epochs else 0,
        finished=finished,
        start=describe_start(config.encoder),
        reading=config.data.reading,
        axes=config.data.axes,
    )
    return save_encoder(run.folder.path, kept.encoder, card)


def keep_best(run: Run, state: TrainState) -> None:
    """Put the encoder aside that was read better than all before it."""
    if run.folder is not None:
        # its step lies with it: a run that goes on from an earlier checkpoint may find a later one
        tensors = dict(state.method.encoder.state_dict())
        checksum = str(_checksum(state.step, tensors))
        save_tensors(run.folder.path / BEST, tensors, {"format": "pt", "step": str(state.step), "crc32": checksum})


def best_of(run: Run, state: TrainState) -> Candidate | None:
    """The encoder that was put aside; None where there is none, or where its file is torn, which is told."""
    if run.folder is None or not (run.folder.path / BEST).is_file():
        return None
    encoder = copy.deepcopy(state.method.encoder)
    try:
        with safe_open(run.folder.path / BEST, "pt") as file:
            metadata = file.metadata()
            step, tensors = int(metadata["step"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        checksum = _checksum(step, tensors)
        if int(metadata.get("crc32", checksum)) != checksum:  # older versions wrote none
            raise ValueError("its checksum is wrong")
        encoder.load_state_dict(tensors, strict=True)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        log.warning(f"The best encoder so far, {BEST}, is torn ({error}); the last encoder is kept.")
        return None
    return Candidate(encoder, step)


def _checksum(step: int, tensors: Mapping[str, Tensor]) -> int:
    """CRC-32 of an encoder and of how far it was trained."""
    checksum = zlib.crc32(str(step).encode())
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        checksum = zlib.crc32(value.numpy().tobytes(), zlib.crc32(name.encode(), checksum))
    return checksum


def drop_encoder(run: Run) -> None:
    """Take away the encoder that a run had so far: before that of its end is written, and where there is none."""
    if run.folder is not None:
        for name in (WEIGHTS, CARD):
            (run.folder.path / name).unlink(missing_ok=True)


def drop_best(run: Run) -> None:
    """Take away the best-read encoder, once the run has written the one that it keeps."""
    if run.folder is not None:
        (run.folder.path / BEST).unlink(missing_ok=True)


def is_finished(folder: Path) -> bool:
    """Whether the encoder in a run's folder is that of its end."""
    try:
        return (folder / WEIGHTS).is_file() and read_card(folder / CARD).finished
    except UserError:
        return False
