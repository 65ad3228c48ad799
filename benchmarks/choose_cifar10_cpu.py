"""How the numbers of the recipe cifar10-cpu were chosen: on 45,000 training images, judged on 5,000 others of them.

    OMP_NUM_THREADS=1 python benchmarks/choose_cifar10_cpu.py batch-64 lr-0.002 ...

Each variant changes the recipe in a few places, runs the first epochs of a 30-epoch schedule, and prints a JSON line
with the 20-NN accuracy on the 5,000 at four points (10,000 others of the 45,000 vote). The test part is never looked
at. One run each, one seed: a guide, not a proof.
"""

import json
import sys
import time
from typing import Any

import torch

from byol import schedules
from byol.choose import small_on_cpu
from byol.config import PretrainConfig, replace
from byol.data.loader import Loader
from byol.data.memory import hold
from byol.data.sources import TensorSource, open_source
from byol.evals.features import Transform
from byol.monitor import Monitor
from byol.train import build, train_step
from workloads import DATA

VARIANTS: dict[str, dict[str, Any]] = {
    "recipe": {},
    "lr-0.001": {"optim__lr": 0.001},
    "lr-0.005": {"optim__lr": 0.005},
    "batch-64": {"batch_size": 64, "optim__lr": 0.004},
    "batch-128": {"batch_size": 128, "optim__lr": 0.002},
    "tau-0.97": {"target__tau": 0.97},
    "tau-0.996": {"target__tau": 0.996},
    "area-0.08": {"augment__view1__area": (0.08, 1.0), "augment__view2__area": (0.08, 1.0)},
    "weak-color": {
        f"augment__{view}__{name}": value
        for view in ("view1", "view2")
        for name, value in {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.05, "gray": 0.1}.items()
    },
}
EPOCHS, HELD_OUT = 3, 5000


def main(names: list[str]) -> None:
    """Run variants by name; without one, all."""
    source = open_source(DATA / "cifar10" / "train.parquet")
    everything = hold(source, workers=2, shrink_to=32)
    assert isinstance(everything.images, torch.Tensor)
    assert source.labels is not None
    split = len(source) - HELD_OUT
    train = TensorSource(everything.images[:split], source.labels[:split])
    held_out = TensorSource(everything.images[split:], source.labels[split:])
    for name in names or list(VARIANTS):
        config = replace(small_on_cpu(30), **VARIANTS[name])
        print(json.dumps({"variant": name, "changes": VARIANTS[name], **run(config, train, held_out)}), flush=True)


def run(config: PretrainConfig, train: TensorSource, held_out: TensorSource) -> dict[str, Any]:
    """The first epochs of a schedule, and what became of the features."""
    device = torch.device("cpu")
    transform = Transform(image_size=config.image_size, mean=config.augment.mean, std=config.augment.std)
    monitor = Monitor(train.subset(range(10_000)), held_out, transform, device, workers=1, autocast=True)
    state = build(config, 3, device)
    loader = Loader(train, config, device, workers=1, held=train.images)
    total, warmup, last = (
        config.total_steps(len(train)),
        config.warmup_steps(len(train)),
        config.steps(EPOCHS, len(train)),
    )
    autocast = torch.autocast("cpu", torch.bfloat16)
    accuracies, began = [], time.perf_counter()
    for batches in loader.batches(0, last):
        peak = config.optim.peak_lr(config.batch_size)
        lr = schedules.learning_rate(state.step, peak=peak, warmup_steps=warmup, total_steps=total)
        tau = schedules.tau(state.step, base=config.target.tau, total_steps=total)
        train_step(state, state.method, batches, config, lr, tau, autocast)
        if state.step in {last * part // 4 for part in range(1, 5)}:
            accuracies.append(round(monitor.read(state.method.encoder, full=True).accuracy, 4))
    seconds = time.perf_counter() - began
    return {"epochs": EPOCHS, "knn": accuracies, "images_per_second": round(last * config.batch_size / seconds)}


if __name__ == "__main__":
    main(sys.argv[1:])
