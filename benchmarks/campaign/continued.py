"""Stage 5, continued pretraining on a domain far from photographs: four rows on the same images.

An untrained encoder, one trained from scratch, the start as it was, and the start trained further. The images and the
start are packed by `gpu.py --pack --far TRAIN TEST --start FOLDER`.
"""

import dataclasses
from functools import partial
from typing import Any

from byol.config.run import PretrainConfig
from byol.encoders.file import WEIGHTS, read_encoder
from campaign.accuracy import accuracies
from campaign.quality import TINY
from campaign.setting import Setting
from campaign.training import train
from campaign.unit import Measured, Unit
from results_file import Row

EPOCHS = 100
"""Of the two trainings; the start gets no more than the scratch run."""
ENCODER = "resnet50"
"""Where no start is packed."""
UNTRAINED, SCRATCH, START, CONTINUED = "untrained", "from scratch", "the start as it was", "continued"


def units(setting: Setting) -> list[Unit]:
    """A unit for each row, cheapest first."""

    def unit(row: str, seconds: float, missing: str = "") -> Unit:
        return Unit(
            stage="continued",
            what=row,
            seconds=seconds,
            work=partial(measure, row, setting),
            resumes=row in (SCRATCH, CONTINUED),
            missing=missing or _no_images(setting),
        )

    no_start = _no_start(setting)
    return [
        unit(UNTRAINED, 60),
        unit(START, 60, no_start),
        unit(CONTINUED, 600, no_start or _no_continuing()),
        unit(SCRATCH, 600),
    ]


def _no_images(setting: Setting) -> str:
    here = setting.far is not None
    return "" if here else "not available: no images of a far domain are packed (gpu.py --pack --far TRAIN TEST)"


def _no_start(setting: Setting) -> str:
    here = setting.start is not None
    return "" if here else "not available: no encoder to start from is packed (gpu.py --pack --start FOLDER)"


def _no_continuing() -> str:
    """Until a run can be told to continue from weights: `weights` becomes a setting of every run."""
    known = {field.name for field in dataclasses.fields(PretrainConfig)}
    return "" if "weights" in known else "not available: byol pretrain has no --weights yet"


def measure(row: str, setting: Setting) -> Measured:
    """Train where the row asks for it, and evaluate.

    Raises:
        Unfinished: the training was stopped in time.
    """
    assert setting.far is not None, "checked before"
    images, test = setting.far
    encoder = str(setting.start)
    if row != START:
        folder = setting.work / f"continued-{row.replace(' ', '-')}"
        train(folder, images, test, "auto", settings_of(row, setting))
        encoder = str(folder)
    about = {"row": row, "epochs": EPOCHS if row in (SCRATCH, CONTINUED) else 0}
    found = accuracies(encoder, images, test)
    knn, linear = found.values()
    rows = [Row("continued pretraining", f"{row}: {what}", "accuracy", [value], about) for what, value in found.items()]
    return Measured(rows, f"20-NN {knn:.1%}, linear {linear:.1%}")


def settings_of(row: str, setting: Setting) -> dict[str, Any]:
    """The settings of a row's run: all rows have the start's network."""
    epochs = 0 if row == UNTRAINED else 1 if setting.tiny else EPOCHS
    settings: dict[str, Any] = {"epochs": epochs, "encoder": "resnet18" if setting.tiny else ENCODER}
    if setting.start is not None:
        spec = read_encoder(setting.start / WEIGHTS)[1].encoder
        settings |= {"encoder": spec.name, "encoder__width": spec.width, "encoder__stem": spec.stem}
    if row == CONTINUED:
        settings["weights"] = str(setting.start)
    return {**settings, **(TINY if setting.tiny else {})}
