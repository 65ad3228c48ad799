"""How the numbers of the recipe cifar10-cpu were chosen: on 45,000 training images, judged on 5,000 others of them.

    OMP_NUM_THREADS=1 python benchmarks/choose_cifar10_cpu.py --epochs 6 recipe size-24 ...

Each variant changes the starting point in a few places, runs a whole schedule of a few epochs, and appends a JSON line
with the 20-NN accuracy on the 5,000 at four points (the other 45,000 vote at the last, 10,000 of them before) to
`benchmarks/results/choose-cifar10-cpu.jsonl`. The test part is never looked at. One seed each, unless told otherwise:
a guide, not a proof.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from byol import machine, schedules
from byol.choose import small_views
from byol.config import NetworkConfig, OptimConfig, PretrainConfig, TargetConfig, replace
from byol.data.loader import Loader
from byol.data.memory import hold
from byol.data.sources import TensorSource, open_source
from byol.evals.features import Transform
from byol.monitor import Monitor
from byol.train import build, train_step
from results_file import RESULTS
from workloads import DATA


def starting_point(epochs: float) -> PretrainConfig:
    """The recipe as it was before this search; every variant is a change of it."""
    return PretrainConfig(
        encoder="resnet10",
        image_size=32,
        batch_size=256,
        epochs=epochs,
        network=NetworkConfig(width=0.5, stem="stride2", hidden=1024, output=128),
        optim=OptimConfig(name="adamw", lr=2e-3, weight_decay=0.05, warmup_epochs=1),
        target=TargetConfig(tau=0.99),
        augment=small_views(),
    )


def both_views(**changes: Any) -> dict[str, Any]:
    """The same changes to both views."""
    return {f"augment__{view}__{name}": value for view in ("view1", "view2") for name, value in changes.items()}


WEAK = both_views(brightness=0.2, contrast=0.2, saturation=0.1, hue=0.05)
SGD = {"optim__name": "sgd", "optim__weight_decay": 5e-4}
SMALLER = {"image_size": 24}
FAST = {"optim__predictor_lr": 10.0}
VARIANTS: dict[str, dict[str, Any]] = {
    "start": {},
    "lr-0.001": {"optim__lr": 0.001},
    "lr-0.004": {"optim__lr": 0.004},
    "batch-128": {"batch_size": 128, "optim__lr": 0.004},
    "tau-0.97": {"target__tau": 0.97},
    "tau-0.996": {"target__tau": 0.996},
    "area-0.08": both_views(area=(0.08, 1.0)),
    "area-0.35": both_views(area=(0.35, 1.0)),
    "weak-color": WEAK,
    "decay-1e-4": {"optim__weight_decay": 1e-4},
    "decay-0.5": {"optim__weight_decay": 0.5},
    "sgd-0.1": {**SGD, "optim__lr": 0.1},
    "sgd-0.4": {**SGD, "optim__lr": 0.4},
    "size-24": SMALLER,
    "size-20": {"image_size": 20},
    "size-24-tau-0.97": {**SMALLER, "target__tau": 0.97},
    "size-24-lr-0.004": {**SMALLER, "optim__lr": 0.004},
    "size-24-batch-128": {**SMALLER, "batch_size": 128, "optim__lr": 0.004},
    "size-24-area-0.35": {**SMALLER, **both_views(area=(0.35, 1.0))},
    "size-24-area-0.08": {**SMALLER, **both_views(area=(0.08, 1.0))},
    "size-24-weak-color": {**SMALLER, **WEAK},
    "size-24-predictor-10": {**SMALLER, **FAST},
    "size-24-predictor-10-weak-color": {**SMALLER, **FAST, **WEAK},
    "size-24-predictor-10-weak-color-tau-0.95": {**SMALLER, **FAST, **WEAK, "target__tau": 0.95},
    "size-24-predictor-30-weak-color": {**SMALLER, **WEAK, "optim__predictor_lr": 30.0},
    "size-24-batch-128-fast": {**SMALLER, **FAST, **WEAK, "batch_size": 128, "optim__lr": 2e-3, "target__tau": 0.97},
    "size-24-batch-64-fast": {**SMALLER, **FAST, **WEAK, "batch_size": 64, "optim__lr": 4e-3, "target__tau": 0.98},
    "size-24-batch-64-rate-0.0005-fast": {
        **SMALLER,
        **FAST,
        **WEAK,
        "batch_size": 64,
        "optim__lr": 2e-3,
        "target__tau": 0.98,
    },
    "size-24-batch-64-predictor-1": {**SMALLER, **WEAK, "batch_size": 64, "optim__lr": 4e-3, "target__tau": 0.98},
    "size-24-decay-0.5": {**SMALLER, "optim__weight_decay": 0.5},
    "size-24-sgd-0.4": {**SMALLER, **SGD, "optim__lr": 0.4},
    "size-24-output-256": {**SMALLER, "network__output": 256, "network__hidden": 2048},
    "size-24-wide": {**SMALLER, "network__width": 0.75},
}
HELD_OUT = 5000
SEEN_AT = 32
"""Side at which the k-NN looks at images: as they are stored."""
OUT = RESULTS / "choose-cifar10-cpu.jsonl"


def main() -> None:
    """Run variants by name; without one, all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="*", metavar="VARIANT", help=", ".join(VARIANTS))
    parser.add_argument("--epochs", type=float, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    machine.keep_freed_memory()
    everything = hold(open_source(DATA / "cifar10" / "train.parquet"), workers=1, shrink_to=32)
    assert isinstance(everything.images, torch.Tensor)
    assert everything.source.labels is not None
    split = len(everything.images) - HELD_OUT
    train = TensorSource(everything.images[:split], everything.source.labels[:split])
    held_out = TensorSource(everything.images[split:], everything.source.labels[split:])
    for name in options.variants or list(VARIANTS):
        config = replace(starting_point(options.epochs), **{**VARIANTS[name], "seed": options.seed})
        line = json.dumps({"variant": name, "changes": VARIANTS[name], **run(config, train, held_out)})
        print(line, flush=True)
        with options.out.open("a") as file:
            file.write(line + "\n")


def run(config: PretrainConfig, train: TensorSource, held_out: TensorSource) -> dict[str, Any]:
    """A whole schedule, and what became of the features."""
    device = torch.device("cpu")
    transform = Transform(image_size=SEEN_AT, mean=config.augment.mean, std=config.augment.std)
    sample = Monitor(train.subset(range(10_000)), held_out, transform, device, workers=1, autocast=True)
    whole = Monitor(train, held_out, transform, device, workers=1, autocast=True)
    state = build(config, 3, device)
    state.method.train()
    loader = Loader(train, config, device, workers=1, held=train.images)
    total, warmup = config.total_steps(len(train)), config.warmup_steps(len(train))
    autocast = torch.autocast("cpu", torch.bfloat16)
    peak = config.optim.peak_lr(config.batch_size)
    accuracies, seconds, began = [], 0.0, time.perf_counter()
    for batches in loader.batches(0, total):
        lr = schedules.learning_rate(state.step, peak=peak, warmup_steps=warmup, total_steps=total)
        tau = schedules.tau(state.step, base=config.target.tau, total_steps=total)
        train_step(state, state.method, batches, config, lr, tau, autocast)
        if state.step in {total * part // 4 for part in range(1, 5)}:
            seconds += time.perf_counter() - began
            monitor = whole if state.step == total else sample
            accuracies.append(round(monitor.read(state.method.encoder, full=True).accuracy, 4))
            began = time.perf_counter()
    return {
        "epochs": config.epochs,
        "seed": config.seed,
        "knn": accuracies,
        "images_per_second": round(total * config.batch_size / seconds),
        "threads": torch.get_num_threads(),
    }


if __name__ == "__main__":
    main()
