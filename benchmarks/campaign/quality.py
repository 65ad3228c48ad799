"""Stage 3, quality for time: CIFAR-10 by the recipe `cifar10`, the accuracy it reaches, and the minutes it takes.

lightly publishes 0.869 20-NN after 200 epochs of BYOL in 121.9 minutes on one A6000 (its benchmarks page), solo-learn
92.58 linear after 1000 epochs.
"""

from functools import partial
from pathlib import Path
from typing import Any

from byol.pretraining.run_folder import load_plan
from byol.runtime.metrics import read_metrics
from campaign.accuracy import KNN, accuracies
from campaign.setting import Setting
from campaign.speed import BOTH, needs_gpu
from campaign.training import minutes_at, train
from campaign.unit import Measured, Unfinished, Unit
from contestants import WAYS
from results_file import Row

EPOCHS = (50, 200)
"""Each with a schedule of its own."""
GOALS = {200: 0.87}
"""20-NN accuracy; lightly's rounded up."""
READINGS = 10
"""k-NN readings on a sample, over a run."""
IMAGES_PER_SECOND = 12_000
"""Assumed for the time that a run takes."""
TINY: dict[str, Any] = {
    "image_size": 16,
    "batch_size": 16,
    "precision": "float32",
    "encoder__width": 0.125,
    "encoder__stem": "stride2",
    "method__hidden": 32,
    "method__output": 16,
    "logging__log_every": 2,
    "logging__health_every": 4,
}
"""Settings of a run of a second."""


def units(setting: Setting) -> list[Unit]:
    """The recipe as it is, then the fastest way of computing it, which must learn as much."""
    lengths = (1, 2) if setting.tiny else EPOCHS

    def unit(epochs: int, name: str, way: dict[str, Any], missing: str = "") -> Unit:
        return Unit(
            stage="quality",
            what=name,
            seconds=60 + epochs * 50_000 / IMAGES_PER_SECOND,
            work=partial(learn, name, {"epochs": epochs, **way}, setting),
            resumes=True,
            missing=missing,
        )

    plain = [unit(epochs, f"cifar10, {epochs} epochs", {}) for epochs in lengths]
    fast = f"cifar10, {lengths[-1]} epochs, compiled + CUDA graph"
    return [*plain, unit(lengths[-1], fast, WAYS[BOTH], needs_gpu(BOTH))]


def learn(name: str, settings: dict[str, Any], setting: Setting) -> Measured:
    """Train and evaluate; a training that is stopped in time has its readings so far.

    Raises:
        Unfinished: the training was stopped.
    """
    folder = setting.work / name.replace(", ", "-").replace(" ", "-")
    epochs = settings["epochs"]
    settings = {**settings, "logging__knn_every_epochs": max(1, epochs / READINGS), **(TINY if setting.tiny else {})}
    try:
        train(folder, setting.train, setting.test, "cifar10", settings)
    except Unfinished as stopped:
        raise Unfinished(str(stopped), readings(folder, name)) from None
    about = describe(folder)
    minutes = max(minutes_at(folder, about["batch_size"]).values())
    found = accuracies(str(folder), setting.train, setting.test)
    rows = [
        *(
            Row(name, what, "accuracy", [value], about, GOALS.get(epochs) if what == KNN else None)
            for what, value in found.items()
        ),
        Row(name, "minutes of training", "min", [minutes], about),
        *readings(folder, name),
    ]
    knn, linear = found.values()
    return Measured(rows, f"20-NN {knn:.1%}, linear {linear:.1%} after {minutes:.1f} minutes")


def readings(folder: Path, name: str) -> list[Row]:
    """The k-NN readings of a run on its fixed sample, with the minutes of training until then."""
    about = describe(folder)
    at = minutes_at(folder, about["batch_size"])
    rows = []
    for line in read_metrics(folder / "metrics.jsonl"):
        if "knn/sample_accuracy" in line:
            epoch = line["step"] * about["batch_size"] / about["images"]
            minutes = max(passed for step, passed in at.items() if step <= line["step"])
            what = f"20-NN on a sample after {epoch:.0f} epochs"
            rows.append(Row(name, what, "accuracy", [line["knn/sample_accuracy"]], {"minutes": round(minutes, 2)}))
    return rows


def describe(folder: Path) -> dict[str, Any]:
    """What a run was, for the results file."""
    plan = load_plan(folder)[1]
    config = plan.config
    return {
        "recipe": plan.recipe,
        "images": plan.images,
        "encoder": config.encoder.name,
        "stem": config.encoder.stem,
        "image_size": config.image_size,
        "batch_size": config.batch_size,
        "epochs": config.epochs,
        "precision": config.precision,
        "compile": config.optim.compile,
        "cuda_graph": config.optim.cuda_graph,
    }
