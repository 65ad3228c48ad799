"""One cell: train it through the product's own pretraining, then see what its encoder is worth."""

import dataclasses
import json
import math
import shutil
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from byol.config.methods import MethodConfig
from byol.config.run import PretrainConfig
from byol.config.values import replace, to_json
from byol.data.memory import decode_all
from byol.data.sources.digest import digest
from byol.data.sources.open import Source, TensorSource, open_source
from byol.encoders.load import LoadedEncoder, open_encoder
from byol.errors import UserError
from byol.evals import knn, semi, transfer
from byol.evals.cache import FeatureConfig, NonFiniteFeatures
from byol.evals.evaluation import Task
from byol.evals.knn import K, KnnConfig
from byol.evals.labels import labeled_parts
from byol.evals.transfer import TransferConfig
from byol.methods.table import method_class
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

HELD_OUT = 0.1
"""Share of the training images on which the penalty is chosen, of each class alike."""


@dataclass(frozen=True)
class Data:
    """Training and test images, decoded, with labels."""

    train: TensorSource
    test: TensorSource
    fingerprint: str
    """Of both parts' pixels and labels."""


def open_data(train: str | Path | Source, test: str | Path | Source, images: int | None) -> Data:
    """Open and decode both parts; of the training images the first so many.

    Raises:
        UserError: there is nothing of the sort, too few images, no labels, or other labels in the test part.
    """
    train, test = (source if isinstance(source, Source) else open_source(source) for source in (train, test))
    if images is not None:
        if len(train) < images:
            raise UserError(
                f"{train.name} has {len(train)} images, but this scale trains on {images}; give --images with "
                f"{len(train)} or less, or more images."
            )
        train = train.subset(range(images))
    alike = labeled_parts(train, test)
    parts = _decoded(alike.train.source(alike.classes)), _decoded(alike.test.source(alike.classes))
    return Data(*parts, fingerprint=digest([part.fingerprint() for part in parts]))


def _decoded(source: Source) -> TensorSource:
    if isinstance(source, TensorSource):
        return source
    held = decode_all(source, machine.cores(), shrink_to=64)
    if not isinstance(held.images, torch.Tensor):
        raise UserError(f"The images of {source.name} differ in size; the tables are for sets of small images alike.")
    return TensorSource(held.images, held.source.labels, held.source.classes, source.name)


def evaluation_of(scale: Scale, *, fine_tunes: bool) -> dict[str, Any]:
    """How a cell is evaluated, as JSON values."""
    found: dict[str, Any] = {"knn": K, "penalties": list(scale.penalties), "held_out": HELD_OUT}
    if fine_tunes:
        found["semi"] = json.loads(json.dumps(dataclasses.asdict(scale.semi)))
    return found


class Interrupted(Exception):  # noqa: N818  (it is no error)
    """A signal ended the training; the run's folder has a checkpoint to go on from."""


def measure(
    config: PretrainConfig, scale: Scale, data: Data, folder: Path, *, fine_tunes: bool, threads: int
) -> dict[str, Any]:
    """Train and evaluate one cell; the line of the results file, without the names of table and cell.

    Args:
        config: of the cell, with the seed.
        scale: how the encoder is evaluated.
        data: what is trained and tested on.
        folder: of the run; it goes on where an earlier try was stopped, and is removed in the end.
        fine_tunes: whether the encoder is also fine-tuned with few labels.
        threads: for decoding and evaluating.

    Raises:
        Interrupted: by SIGINT or SIGTERM while it trained.
        UserError: settings that cannot be trained on these images, or another process is in the folder.
    """
    with alone(folder):
        return _measure(config, scale, data, folder, fine_tunes, threads)


def _measure(
    config: PretrainConfig, scale: Scale, data: Data, folder: Path, fine_tunes: bool, threads: int
) -> dict[str, Any]:
    config = replace(config, data__workers=threads)
    began = time.perf_counter()
    _train(config, data, folder)
    trained = time.perf_counter()
    found = evaluate(open_encoder(str(folder)), data, scale, fine_tunes=fine_tunes, threads=threads)
    training = _training(folder, config.method)
    line = {
        "seed": config.seed,
        "config": to_json(load_plan(folder)[1].config),
        "scale": scale.name,
        "evaluation": evaluation_of(scale, fine_tunes=fine_tunes),
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


def evaluate(encoder: LoadedEncoder, data: Data, scale: Scale, *, fine_tunes: bool, threads: int) -> dict[str, Any]:
    """Evaluate an encoder with the product's own evaluations: k-NN, linear transfer, fine-tuning with few labels.

    Returns:
        Shares in [0, 1] of the test images; all None if the encoder's features are NaN or infinite.
        `knn`: 20 nearest neighbors. `linear`: logistic regression on frozen features, its penalty chosen on held-out
        training images and fitted again on all; `l2` is that penalty. `semi`: top-1 after fine-tuning by share of the
        labels, or None without `fine_tunes`.
    """
    device, _ = machine.choose_device("auto")
    task = Task(encoder, data.train, data.test, device)
    with tempfile.TemporaryDirectory() as folder:  # one pass over the images serves both
        features = FeatureConfig(workers=threads, folder=folder)
        linear = TransferConfig(
            l2=scale.penalties,
            metric="top1",
            held_out=HELD_OUT,
            region=encoder.transform.region,
            float64_gap=False,
            features=features,
        )
        try:
            neighbors = knn.evaluate(task, KnnConfig(k=(K,), features=features))
            regression = transfer.evaluate(task, linear)
        except NonFiniteFeatures:
            return {"knn": None, "linear": None, "l2": None, "semi": None}
    by_share = None
    if fine_tunes:
        tuned = semi.evaluate(task, scale.semi)
        by_share = {name: tuned[f"top1_{name}"] for name in (f"{100 * share:g}%" for share in scale.semi.shares)}
    (accuracy,) = (value for key, value in neighbors.items() if key.startswith("top1"))
    return {
        "knn": round(float(np.float32(accuracy)), 6),  # single precision, as in all results files
        "linear": round(regression["top1"], 6),
        "l2": regression["l2"],
        "semi": by_share,
    }


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
