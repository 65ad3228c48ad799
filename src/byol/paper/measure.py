"""One cell: train it through the product's own pretraining, then see what its encoder is worth."""

import dataclasses
import math
import shutil
import statistics
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from byol.config.methods import MethodConfig
from byol.config.run import PretrainConfig
from byol.config.values import replace, to_json
from byol.data.sources.open import TensorSource
from byol.encoders.load import open_encoder
from byol.errors import UserError
from byol.methods.table import method_class
from byol.paper.cells import PLAIN, Extras
from byol.paper.data import Data
from byol.paper.evaluation import evaluate, evaluation_of
from byol.paper.results import alone, result_config
from byol.paper.scales import Scale
from byol.pretraining.health import Health
from byol.pretraining.keep import is_finished
from byol.pretraining.resume import resume
from byol.pretraining.run import pretrain
from byol.pretraining.run_folder import load_plan
from byol.pretraining.verdict import Course, judge
from byol.runtime import device as machine
from byol.runtime.metrics import read_metrics


class Interrupted(Exception):  # noqa: N818  (it is no error)
    """A signal ended the training; the run's folder has a checkpoint to go on from."""


def measure(
    config: PretrainConfig, scale: Scale, data: Data, folder: Path, *, extras: Extras = PLAIN, threads: int
) -> dict[str, Any]:
    """Train and evaluate one cell; the line of the results file, without the names of table and cell.

    Args:
        config: of the cell, with the seed.
        scale: how the encoder is evaluated.
        data: what is trained and tested on.
        folder: of the run; it goes on where an earlier try was stopped, and is removed in the end.
        extras: what is measured besides the linear classifier and the nearest neighbors.
        threads: for decoding and evaluating.

    Raises:
        Interrupted: by SIGINT or SIGTERM while it trained.
        UserError: settings that cannot be trained on these images, or another process is in the folder.
    """
    with alone(folder):
        return _measure(config, scale, data, folder, extras, threads)


def _measure(
    config: PretrainConfig, scale: Scale, data: Data, folder: Path, extras: Extras, threads: int
) -> dict[str, Any]:
    config = replace(config, data__workers=threads)
    began = time.perf_counter()
    _train(config, data, folder)
    trained = time.perf_counter()
    found = evaluate(open_encoder(str(folder)), data, scale, extras, threads=threads)
    training = _training(folder, config.method)
    line = {
        "seed": config.seed,
        "config": to_json(load_plan(folder)[1].config),
        "scale": scale.name,
        "evaluation": evaluation_of(scale, extras),
        "data": {
            "train": _short(data.train.name),
            "images": len(data.train),
            "test": _short(data.test.name),
            "test_images": len(data.test),
            "classes": len(set(data.test.labels or ())),
            "fingerprint": data.fingerprint,
        },
        **found,
        **training,
        "seconds": {"training": round(trained - began, 1), "evaluation": round(time.perf_counter() - trained, 1)},
        "machine": {**machine.describe(), "threads": threads, "byol": version("byol")},
    }
    shutil.rmtree(folder)
    return line


def _short(name: str) -> str:
    """A name without the folders above, which are of one machine only."""
    return "/".join(Path(name).parts[-2:])


def _train(config: PretrainConfig, data: Data, folder: Path) -> None:
    """Train to the end in a folder, from where an earlier try has come to."""
    by_labels = "labels" in method_class(config.method).needs
    if by_labels:  # with test images to watch on, no training image is kept aside; one reading, at the end
        config = replace(config, logging__knn_every_epochs=2 * config.epochs)
    monitor = data.test if by_labels else None
    # without labels nothing is kept aside either, and no time goes into readings
    source = data.train if by_labels else TensorSource(data.train.images, name=data.train.name)
    if (folder / "config.json").is_file():
        try:
            plan = load_plan(folder)[1]
            fits = result_config(plan.config) == result_config(config) and plan.fingerprint == source.fingerprint()
        except UserError:
            fits = False
        if fits and is_finished(folder):
            return
        if fits:
            _finish(resume(folder, quiet=True, data=source, monitor=monitor).interrupted)
            return
    shutil.rmtree(folder, ignore_errors=True)  # of another cell, or of a run that never began
    settings = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    held = settings.pop("data")  # pretrain's own `data` are the images
    settings |= {f"data__{field.name}": getattr(held, field.name) for field in dataclasses.fields(held)}
    _finish(pretrain(source, out=folder, monitor=monitor, quiet=True, **settings).interrupted)


def _finish(interrupted: bool) -> None:
    if interrupted:
        raise Interrupted


def _training(folder: Path, method: MethodConfig) -> dict[str, Any]:
    """Loss, speed, health and verdict of a finished run, from its metrics."""
    lines = read_metrics(folder / "metrics.jsonl")
    looks = {line["step"]: _health(line) for line in lines if "health/spread" in line}
    start, health = looks.pop(0, None), list(looks.values())
    losses, norms = ([_number(line[key]) for line in lines if key in line] for key in ("loss", "gradient_norm"))
    rates = [line["images_per_second"] for line in lines if line.get("images_per_second")]
    last = {key: _or_none(value) for key, value in health[-1].as_dict().items()} if health else None
    return {
        "loss": _or_none(losses[-1]) if losses else None,
        "images_per_second": round(statistics.median(rates), 1) if rates else None,
        "health": last,
        "verdict": judge(Course(health, losses, norms, start), method_class(method)).word if losses else "untrained",
        "updates": lines[-1]["step"] if lines else 0,
    }


def _health(line: Mapping[str, Any]) -> Health:
    names = [field.name for field in dataclasses.fields(Health)]
    return Health(**{name: _number(line[f"health/{name}"]) for name in names})


def _number(value: float | None) -> float:
    """metrics.jsonl has null for what is no number."""
    return math.nan if value is None else value


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
