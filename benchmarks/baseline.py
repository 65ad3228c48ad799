"""What an untrained encoder is worth, before its batch norm has seen images and after, beside bare pixels.

    OMP_NUM_THREADS=1 python benchmarks/baseline.py        # two minutes of one core

20-NN accuracy on the sets of `verdict_data.py`, by the small ResNet of the processor recipes with three seeds of
weights. Writes benchmarks/results/baseline.json.
"""

import argparse
from pathlib import Path

import torch

from byol.data.transform import Transform
from byol.encoders.build import make_encoder
from byol.encoders.load import open_encoder
from byol.evals.calibration import calibrate_on
from byol.evals.features import Passes, extract
from byol.evals.knn import knn_accuracy
from byol.recipes.small import small_on_cpu
from results_file import RESULTS, Row, show, write
from verdict_data import DATA_SETS, DataSet

PASSES = Passes(torch.device("cpu"), workers=1)
WAYS = ("pixels", "untrained", "untrained, calibrated")


def main(arguments: list[str] | None = None) -> list[Row]:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(DATA_SETS), default=list(DATA_SETS), metavar="SET")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results file")
    options = parser.parse_args(arguments)
    rows = [row for name in options.only for row in measure(DATA_SETS[name](), options.seeds)]
    for row in rows:
        show(row)
    print(f"written to {write('baseline', rows, options.out)}")
    return rows


def measure(data: DataSet, seeds: list[int]) -> list[Row]:
    """Accuracy of the three on one data set."""
    spec, size = small_on_cpu(epochs=1).encoder, data.train.images.shape[-1]
    transform = Transform(image_size=size, mean=spec.mean, std=spec.std)
    pixels = open_encoder("pixels")
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    found["pixels"].append(accuracy(pixels.module, data, pixels.transform))
    for seed in seeds:
        torch.manual_seed(seed)
        encoder = make_encoder(spec)
        found["untrained"].append(accuracy(encoder, data, transform))
        calibrate_on(encoder, data.train, transform, PASSES)
        found["untrained, calibrated"].append(accuracy(encoder, data, transform))
    about = {"encoder": spec.name, "width": spec.width, "train": len(data.train), "test": len(data.test)}
    return [Row(f"{data.name}: {way}", "20-NN accuracy", "accuracy", values, about) for way, values in found.items()]


def accuracy(encoder: torch.nn.Module, data: DataSet, transform: Transform) -> float:
    """20-NN accuracy on the test part."""
    train, test = (extract(encoder, part, transform, PASSES).values for part in (data.train, data.test))
    return knn_accuracy(train, torch.tensor(data.train.labels), test, torch.tensor(data.test.labels))


if __name__ == "__main__":
    main()
