"""How the numbers of the recipe cifar10-cpu were chosen: on 45,000 training images, judged on 5,000 others of them.

    OMP_NUM_THREADS=1 python benchmarks/choose_cifar10_cpu.py start size-24 ...

Each variant changes the starting point in a few places, runs a whole schedule of four epochs, and notes the 20-NN
accuracy on the 5,000 (the other 45,000 vote). The test part is never looked at. One seed: a guide, not a proof.
"""

import argparse
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from byol.config.encoder import EncoderSpec
from byol.config.methods import BYOLConfig
from byol.config.optim import OptimConfig
from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.data.loader import Loader, Storage
from byol.data.memory import decode_all
from byol.data.sources.open import TensorSource, open_source
from byol.data.transform import Transform
from byol.evals.features import Passes
from byol.pretraining.checks import training_set
from byol.pretraining.monitor import Monitor
from byol.pretraining.setup import pipeline_of
from byol.pretraining.state import build_state
from byol.pretraining.train import train
from byol.recipes.small import small_views
from byol.runtime import device as machine
from results_file import RESULTS, Row, show, write
from workloads import DATA


def starting_point(epochs: float) -> PretrainConfig:
    """The recipe as it was before this search; every variant is a change of it."""
    return PretrainConfig(
        encoder=EncoderSpec(name="resnet10", width=0.5, stem="stride2"),
        image_size=32,
        batch_size=256,
        epochs=epochs,
        method=BYOLConfig(hidden=1024, output=128, tau=0.99),
        optim=OptimConfig(name="adamw", lr=2e-3, weight_decay=0.05, warmup_epochs=1),
        precision="bf16",
        augment=small_views(),
    )


def both_views(**changes: Any) -> dict[str, Any]:
    """The same changes to both views."""
    return {f"augment__{view}__{name}": value for view in ("view1", "view2") for name, value in changes.items()}


GENTLE = both_views(brightness=0.2, contrast=0.2, saturation=0.1, hue=0.05)
SMALLER = {"image_size": 24}
FAST = {"method__predictor_lr": 10.0}
VARIANTS: dict[str, dict[str, Any]] = {
    "start": {},
    "lr-0.004": {"optim__lr": 0.004},
    "size-24": SMALLER,
    "size-20": {"image_size": 20},
    "size-24-tau-0.97": {**SMALLER, "method__tau": 0.97},
    "size-24-gentle": {**SMALLER, **GENTLE},
    "size-24-predictor-10": {**SMALLER, **FAST},
    "size-24-gentle-predictor-30": {**SMALLER, **GENTLE, "method__predictor_lr": 30.0},
    "size-24-gentle-predictor-10-tau-0.95": {**SMALLER, **GENTLE, **FAST, "method__tau": 0.95},
    "the same, batch-128": {**SMALLER, **GENTLE, **FAST, "batch_size": 128, "optim__lr": 2e-3, "method__tau": 0.97},
    "the same, batch-64": {**SMALLER, **GENTLE, **FAST, "batch_size": 64, "optim__lr": 4e-3, "method__tau": 0.98},
}
"""By name; a smaller batch keeps the peak rate that AdamW takes, 0.001, and the target its memory in images."""
HELD_OUT = 5000
SEEN_AT = 32
"""Side at which the k-NN looks at images: as they are stored."""


def main() -> None:
    """Run variants by name; without one, all."""
    options = asked(__doc__, VARIANTS)
    parts = training_parts()
    for name in options.variants or list(VARIANTS):
        config = replace(starting_point(options.epochs), **{**VARIANTS[name], "seed": options.seed})
        about = {**VARIANTS[name], "epochs": options.epochs, "seed": options.seed}
        row = Row(name, "20-NN accuracy, held out", "accuracy", [run(config, *parts)[0]], about)
        show(row)
        write("choose-cifar10-cpu", [row], options.out)


def asked(description: str | None, variants: Iterable[str]) -> argparse.Namespace:
    """The variants, epochs, seed and folder of the results that were typed."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="*", metavar="VARIANT", help=", ".join(variants))
    parser.add_argument("--epochs", type=float, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results file")
    return parser.parse_args()


def training_parts() -> tuple[TensorSource, TensorSource]:
    """CIFAR-10's training images in memory: those that are trained on, and those that are held out."""
    machine.keep_freed_memory()
    everything = decode_all(open_source(DATA / "cifar10" / "train.parquet"), workers=1, shrink_to=32)
    assert isinstance(everything.images, torch.Tensor)
    assert everything.source.labels is not None
    split = len(everything.images) - HELD_OUT
    train_part = TensorSource(everything.images[:split], everything.source.labels[:split])
    return train_part, TensorSource(everything.images[split:], everything.source.labels[split:])


def run(config: PretrainConfig, train_part: TensorSource, held_out: TensorSource) -> tuple[float, float]:
    """20-NN accuracy after a whole schedule, and the processor time of training, s."""
    device = torch.device("cpu")
    transform = Transform(image_size=SEEN_AT, mean=config.encoder.mean, std=config.encoder.std)
    monitor = Monitor(train_part, held_out, transform, Passes(device, workers=1, autocast=True))
    state = build_state(config, training_set(train_part), device)
    loader = Loader(Storage(train_part, 1, train_part.images), config, pipeline_of(config), device)
    steps = loader.batches(0, config.total_steps(len(train_part)))
    began = time.process_time()
    train(state, steps, config, len(train_part), lambda loss, norm, scheduled: True)
    seconds = time.process_time() - began
    return monitor.read(state.method.encoder, full=True).accuracy, seconds


if __name__ == "__main__":
    main()
