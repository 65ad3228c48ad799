"""Segmentation on CamVid and detection on Tiny-ImageNet's boxes: a trained encoder beside the same network untrained.

    python benchmarks/dense_tasks.py RUN [--only segmentation detection] [--seeds 3]

The protocols of docs/evaluate.md at a size that two cores bear in half an hour: the same head, the same steps, the same
rate and the same seeds for both encoders, frozen and fine-tuned. Writes `benchmarks/results/dense-tasks.json`.
"""

import argparse
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from byol.encoders.load import open_encoder
from byol.evals import detection, segmentation
from byol.evals.boxes import open_boxes
from byol.evals.evaluation import Task
from byol.evals.masks import open_masks
from results_file import RESULTS, Row, show, write
from workloads import DATA

CLASSES, PER_CLASS = 10, 300
"""Classes of Tiny-ImageNet that are detected, and images of each in either part, at most."""

SEGMENTATION = segmentation.SegmentationConfig(
    crop=160, scale=(0.5, 1.0), batch_size=8, steps=200, lrs=(3e-2,), seeds=1
)
DETECTION = detection.DetectionConfig(
    longest=(96, 96),
    steps=400,
    lr=5e-3,
    batch_size=4,
    anchors=(24, 48, 80),
    regions=32,
    proposals=50,
    pooled=6,
    flip=0.5,
)


def main() -> None:
    """Run what is asked for, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument(
        "--only", nargs="+", choices=["segmentation", "detection"], default=["segmentation", "detection"]
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="updates of each training, for a trial")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    works = {"segmentation": measure_segmentation, "detection": measure_detection}
    for name in options.only:
        for frozen in (True, False):
            group = f"{name}, {'frozen' if frozen else 'fine-tuned'}"
            figures = works[name](options.run, frozen, options.seeds, options.steps)
            made = [Row(group, f"{metric}, {who}", "accuracy", values, about) for metric, who, values, about in figures]
            rows = [*made, _gain(made)]
            for row in rows:
                show(row)
            # after each group: a call that is cut off leaves what it has measured
            print(f"written to {write('dense-tasks', rows, options.out)}", flush=True)


def _gain(rows: list[Row]) -> Row:
    """How far the trained encoder is ahead, seed by seed."""
    trained, untrained = rows
    gains = [a - b for a, b in zip(trained.values, untrained.values, strict=True)]
    return Row(trained.group, "trained minus untrained", "accuracy", gains, {}, goal=0.0)


Figure = tuple[str, str, list[float], dict[str, Any]]


def measure_segmentation(run: Path, frozen: bool, seeds: int, steps: int | None) -> list[Figure]:
    """Mean IoU on CamVid's test part, per encoder and seed."""
    train, test = (open_masks(DATA / "camvid" / f"{part}.parquet") for part in ("train", "test"))
    config = replace(SEGMENTATION, frozen=frozen, steps=steps or SEGMENTATION.steps)

    def once(spec: str, seed: int) -> float:
        return segmentation.evaluate(Task(open_encoder(spec), train, test), replace(config, seed=seed))["miou"]

    return _both(run, "mIoU", once, range(seeds), vars(config))


def measure_detection(run: Path, frozen: bool, seeds: int, steps: int | None) -> list[Figure]:
    """AP50 on ten classes of Tiny-ImageNet, per encoder and seed."""
    parts = []
    for part in ("train", "val"):
        whole = open_boxes(DATA / "tiny-imagenet-100" / f"{part}.parquet")
        chosen: list[int] = []
        for label in range(CLASSES):
            chosen += [i for i, objects in enumerate(whole.objects) if int(objects.labels[0]) == label][:PER_CLASS]
        parts.append(whole.subset(chosen))
    config = replace(DETECTION, frozen=frozen, steps=steps or DETECTION.steps)

    def once(spec: str, seed: int) -> float:
        return detection.evaluate(Task(open_encoder(spec), *parts), replace(config, seed=seed))["ap50"]

    return _both(run, "AP50", once, range(seeds), vars(config))


def _both(
    run: Path, metric: str, once: Callable[[str, int], float], seeds: Iterable[int], about: dict[str, Any]
) -> list[Figure]:
    specs = {"trained": str(run), "untrained": f"random:{run}"}
    return [(metric, who, [once(spec, seed) for seed in seeds], about) for who, spec in specs.items()]


if __name__ == "__main__":
    main()
