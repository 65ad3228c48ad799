"""Run the cases of `verdicts.py`: what the product saw of each, and the truth about it, measured by other means."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import byol
from byol.data.sources.open import TensorSource
from byol.data.transform import Transform
from byol.encoders.file import WEIGHTS, load_encoder
from byol.errors import UserError
from byol.evals.calibration import calibrate_on
from byol.evals.features import Passes, extract
from byol.evals.fewshot import standardize
from byol.evals.knn import K, nearest, vote_is_right
from byol.evals.logistic import LogisticPath
from byol.evals.paired import Pairs
from byol.methods.base import TrainingSet
from byol.pretraining.health import effective_rank
from byol.pretraining.run_folder import load_plan
from byol.pretraining.state import build_state
from byol.runtime.metrics import read_metrics
from verdict_cases import Case
from verdict_data import DataSet

CPU = torch.device("cpu")
PASSES = Passes(CPU, workers=1)
LINEAR_L2 = 1.0
"""Penalty of the linear classifier, the same before and after: on features of mean squared length 1."""
LOOKS = 12
"""Health measurements of a run, about."""
ENCODER = {"encoder": "resnet10", "encoder__width": 0.25, "encoder__stem": "stride2"}
"""Small enough for three hundred runs on two cores."""
BATCH = 64
"""Images per update, where a case does not say."""


def run_case(case: Case, whole: DataSet, starts: Mapping[str, Path], runs: Path) -> dict[str, Any]:
    """Train, and say what was seen and what is true, as one line of the results."""
    data = case.data(whole)
    folder = runs / f"{whole.name}-{case.name}-{case.seed}".replace(" ", "-").replace(",", "")
    settings: dict[str, Any] = {"batch_size": BATCH, "image_size": min(32, data.train.images.shape[-1])}
    settings |= ENCODER | case.settings
    if case.starts_from:
        settings["encoder__weights"] = str(starts[case.starts_from])
    updates = max(1, round(settings["epochs"] * len(data.train) / settings["batch_size"]))
    every = max(1, updates // LOOKS)
    line: dict[str, Any] = {"set": whole.name, "case": case.name, "seed": case.seed}
    line["folder"] = folder.name
    try:
        outcome = byol.pretrain(
            data.train,
            monitor=data.monitor if data.train.labels is not None else None,
            out=folder,
            quiet=True,
            seed=case.seed,
            logging__health_every=every,
            logging__log_every=every,
            logging__stop_on_collapse=False,
            **settings,
        )
    except UserError as error:
        return line | {"refused": str(error)}
    if outcome.verdict is None or not (folder / WEIGHTS).is_file():
        return line | {"updates": updates, **_seen(folder), "truth": {"finite": False}}
    start = starts[case.starts_from] if case.starts_from else None
    bank = data.train if case.relabeled else whole.train
    return line | {"updates": updates, **_seen(folder), "truth": _truth(folder, start, bank, data)}


def _seen(folder: Path) -> dict[str, Any]:
    """What the verdict may rest on: the looks, the losses, the readings."""
    lines = read_metrics(folder / "metrics.jsonl")
    looks = [
        {"step": line["step"]} | {key[7:]: _short(value) for key, value in line.items() if key.startswith("health/")}
        for line in lines
        if "health/spread" in line
    ]
    last = {key[4:]: _short(value) for line in lines for key, value in line.items() if key.startswith("knn/")}
    return {
        "looks": {name: [look[name] for look in looks] for name in looks[0]},
        "losses": [_short(line["loss"]) for line in lines if "loss" in line],
        "gradient_norms": [_short(line["gradient_norm"]) for line in lines if "loss" in line],
        "readings": last,
    }


def _truth(folder: Path, start: Path | None, bank: TensorSource, data: DataSet) -> dict[str, Any]:
    """k-NN and a linear classifier on held-out images, before training and after, and how far outputs have shrunk."""
    config, size = load_plan(folder)[1].config, data.test.images.shape[-1]
    transform = Transform(image_size=size, mean=config.encoder.mean, std=config.encoder.std)
    torch.manual_seed(0)
    if start is None:
        before = build_state(config, TrainingSet(len(data.train)), CPU).method.encoder
        calibrate_on(before, bank, transform, PASSES)
    else:
        before = load_encoder(start)
    after = load_encoder(folder)
    right: dict[str, dict[str, Tensor]] = {}
    shrunk: dict[str, Any] = {}
    for name, encoder in (("before", before), ("after", after)):
        train, test = (extract(encoder, part, transform, PASSES).values for part in (bank, data.test))
        if not torch.isfinite(train).all():
            return {"finite": False}
        right[name] = _right(train, _labels(bank), test, _labels(data.test))
        shrunk |= {f"rank_{name}": _short(effective_rank(test[:512]))}
    found: dict[str, Any] = {"finite": True, "queries": len(data.test), **shrunk}
    for judge in ("knn", "linear"):
        was, now = right["before"][judge], right["after"][judge]
        pairs = Pairs.of(was, now)
        found[judge] = {
            "before": _short(float(was.float().mean())),
            "after": _short(float(now.float().mean())),
            "gained": pairs.gained,
            "lost": pairs.lost,
        }
    return found


def _right(train: Tensor, labels: Tensor, test: Tensor, truth: Tensor) -> dict[str, Tensor]:
    bank, queries = standardize(train, test)
    logits = LogisticPath(bank, labels, int(max(labels.max(), truth.max())) + 1).fit(LINEAR_L2).logits(queries)
    return {"knn": vote_is_right(*nearest(train, labels, test, K), truth), "linear": logits.argmax(dim=1) == truth}


def _labels(source: TensorSource) -> Tensor:
    assert source.labels is not None
    return torch.tensor(source.labels)


def _short(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.4g}")
