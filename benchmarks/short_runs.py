"""Which batch size, rate and views a short run on a processor should have: what `auto` rests on.

    OMP_NUM_THREADS=1 python benchmarks/short_runs.py            # about four minutes of one core
    OMP_NUM_THREADS=1 python benchmarks/short_runs.py --only views:48:5.25 views:32:11.8 views:24:21 --seeds 0 1

6,000 images of twelve classes (Tiny-ImageNet), a tenth of them held out for testing. `64:0.001` is a
batch of 64 images and a peak rate of AdamW of 0.001, seen at 32 px, all in so many passes; `views:32:11.8` is what auto
decides, but with views of 32 px of the images of 64, and 11.8 passes: as many pixels as in 5.25 with views of 48 px.
"""

import argparse
import tempfile
import time
from pathlib import Path

import byol
from results_file import RESULTS, Row, show, write
from workloads import DATA

CLASSES, PER_CLASS, EPOCHS = 12, 500, 5.5


def main() -> None:
    """Run every setting with every seed, and keep what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=["256:0.002", "256:0.001", "64:0.001"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    source = byol.open_source(DATA / "tiny-imagenet-100" / "train.parquet")
    assert source.labels is not None
    chosen = [
        number
        for label in range(CLASSES)
        for number in [index for index, other in enumerate(source.labels) if other == label][:PER_CLASS]
    ]
    photos = source.subset(chosen)
    rows: list[Row] = []
    for name in given.only:
        label, settings = setting(name)
        accuracy, untrained, seconds = [], [], []
        for seed in given.seeds:
            with tempfile.TemporaryDirectory() as folder:
                began = time.process_time()
                outcome = byol.pretrain(photos, out=Path(folder) / "run", quiet=True, seed=seed, **settings)
                seconds.append(time.process_time() - began)
            assert outcome.reading is not None
            assert outcome.start is not None
            accuracy.append(outcome.reading.accuracy)
            untrained.append(outcome.start.accuracy)
        rows += [
            Row(label, "20-NN accuracy, held out", "accuracy", accuracy, settings),
            Row(label, "20-NN accuracy, untrained", "accuracy", untrained, settings),
            Row(label, "processor time", "s", seconds, settings),
        ]
        for row in rows[-3:]:
            show(row)
    write("short-runs", rows, given.out)


def setting(name: str) -> tuple[str, dict[str, float]]:
    """A name for the table, and what is given to `pretrain`."""
    if name.startswith("views:"):
        _, side, epochs = name.split(":")
        return f"views of {side} px, {epochs} passes", {
            "image_size": int(side),
            "encoder__input_size": 64,
            "epochs": float(epochs),
        }
    batch, peak = int(name.partition(":")[0]), float(name.partition(":")[2])
    return f"batch {batch}, rate {peak:g}", {
        **{"batch_size": batch, "epochs": EPOCHS, "image_size": 32},
        **{"optim__lr": peak * 256 / batch, "optim__warmup_epochs": 0.5, "method__tau": 0.97},
    }


if __name__ == "__main__":
    main()
