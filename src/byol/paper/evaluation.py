"""What a cell's encoder is worth, by the product's own evaluations."""

import dataclasses
import json
import tempfile
from typing import Any

import numpy as np

from byol.encoders.load import LoadedEncoder
from byol.evals import fewshot, knn, layers, semi, transfer
from byol.evals.cache import FeatureConfig, NonFiniteFeatures
from byol.evals.evaluation import Task
from byol.evals.fewshot import FewshotConfig
from byol.evals.knn import K, KnnConfig
from byol.evals.layers import LayersConfig
from byol.evals.transfer import TransferConfig
from byol.paper.cells import PLAIN, Extras
from byol.paper.data import Data
from byol.paper.scales import Scale
from byol.runtime import device as machine

HELD_OUT = 0.1
"""Share of the training images on which the penalty is chosen, of each class alike."""
FEW = 10
"""Labels per class, for cells that are also measured with few of them."""


def evaluation_of(scale: Scale, extras: Extras = PLAIN) -> dict[str, Any]:
    """How a cell is evaluated, as JSON values."""
    found: dict[str, Any] = {"knn": K, "penalties": list(scale.penalties), "held_out": HELD_OUT}
    if "semi" in extras:
        found["semi"] = json.loads(json.dumps(dataclasses.asdict(scale.semi)))
    if "layers" in extras:
        found["few"] = FEW
        found["layers"] = list(LayersConfig(held_out=HELD_OUT).l2)
    return found


def evaluate(
    encoder: LoadedEncoder, data: Data, scale: Scale, extras: Extras = PLAIN, *, threads: int
) -> dict[str, Any]:
    """Evaluate an encoder: k-NN, linear transfer, and what else is asked for.

    Returns:
        Shares in [0, 1] of the test images; all None if the encoder's features are NaN or infinite.
        `knn`: 20 nearest neighbors. `linear`: logistic regression on frozen features, its penalty chosen on held-out
        training images and fitted again on all; `l2` is that penalty. `semi`: top-1 after fine-tuning by share of the
        labels, or None if that is not in `extras`. With "layers": `few`, a linear classifier on `FEW` labels per class;
        `layers`, one on each stage by the stage's name, and `layer`, the stage that is best on held-out images.
    """
    device, _ = machine.choose_device("auto")
    task = Task(encoder, data.train, data.test, device)
    more: dict[str, Any] = {"few": None, "layers": None, "layer": None} if "layers" in extras else {}
    with tempfile.TemporaryDirectory() as folder:  # one pass over the images serves all that take features
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
            if "layers" in extras:
                more = _few(task, features) | _layers(task, features)
        except NonFiniteFeatures:
            return {"knn": None, "linear": None, "l2": None, "semi": None, **more}
    by_share = None
    if "semi" in extras:
        tuned = semi.evaluate(task, scale.semi)
        by_share = {name: tuned[f"top1_{name}"] for name in (f"{100 * share:g}%" for share in scale.semi.shares)}
    (accuracy,) = (value for key, value in neighbors.items() if key.startswith("top1"))
    return {
        "knn": round(float(np.float32(accuracy)), 6),  # single precision, as in all results files
        "linear": round(regression["top1"], 6),
        "l2": regression["l2"],
        "semi": by_share,
        **more,
    }


def _few(task: Task, features: FeatureConfig) -> dict[str, float]:
    found = fewshot.evaluate(task, FewshotConfig(per_class=(FEW,), features=features))
    return {"few": round(found[f"top1_{FEW}"], 6)}


def _layers(task: Task, features: FeatureConfig) -> dict[str, Any]:
    found = layers.evaluate(task, LayersConfig(held_out=HELD_OUT, features=features))
    by_name = {key.removeprefix("top1_"): round(value, 6) for key, value in found.items() if key.startswith("top1_")}
    return {"layers": by_name, "layer": list(by_name)[int(found["best"]) - 1]}
