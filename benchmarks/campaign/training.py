"""Trainings of the campaign: runs of the product that are stopped in time and gone on with in the next call."""

import shutil
from pathlib import Path
from typing import Any

from byol.pretraining.keep import is_finished
from byol.pretraining.resume import resume
from byol.pretraining.run import pretrain
from byol.runtime.metrics import read_metrics
from campaign.unit import Unfinished


def train(folder: Path, data: str, monitor: str, recipe: str, settings: dict[str, Any]) -> None:
    """Train to the end in a folder, from where an earlier call has come to.

    Raises:
        Unfinished: a signal stopped it; its checkpoint is in the folder.
    """
    if is_finished(folder):
        return
    if (folder / "config.json").is_file():
        outcome = resume(folder, quiet=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)  # of a run that never began
        outcome = pretrain(data, recipe=recipe, monitor=monitor, out=folder, quiet=True, **settings)
    if outcome.interrupted:
        raise Unfinished("stopped in time; the next call on this machine goes on with it")


def minutes_at(folder: Path, batch_size: int) -> dict[int, float]:
    """Minutes of training up to each line of a run's metrics; looks, readings and checkpoints are not counted."""
    minutes, before, at = 0.0, 0, {0: 0.0}
    for line in read_metrics(folder / "metrics.jsonl"):
        if line.get("images_per_second"):
            minutes += (line["step"] - before) * batch_size / line["images_per_second"] / 60
            before = line["step"]
            at[before] = minutes
    return at
