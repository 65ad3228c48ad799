"""How the scale `cpu` of `byol paper` was chosen: what a cell of each candidate shows, and what it costs.

    python benchmarks/choose_paper_scale.py narrow wide-short ...

Of CIFAR-10's training part the first 20,000 images are trained on and the last 5,000 judged on; the test part is never
looked at. Each candidate trains the rows that a table has to tell apart: BYOL, a target that never moves, and SimCLR.
One seed, one thread a cell; two calls may run side by side.
"""

import argparse
import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import torch

from byol.config.values import replace
from byol.data.sources.digest import digest
from byol.data.sources.open import TensorSource
from byol.paper.catalog import TABLES
from byol.paper.cells import Cell
from byol.paper.data import Data, open_data
from byol.paper.measure import measure
from byol.paper.scales import Scale, scale_named, watched
from byol.recipes.small import small_views
from byol.runtime import device as machine
from results_file import RESULTS, Row, show, write
from workloads import DATA

START: dict[str, Any] = {"image_size": 24, "method__predictor_lr": 1.0, "augment": small_views()}
"""What the scale was before this search: every candidate is a change of it."""
FAST = {"method__predictor_lr": 10.0}
GENTLE = {"augment": small_views(color=0.5)}
MANY = {"batch_size": 64, "optim__lr": 4e-3}
CANDIDATES: dict[str, dict[str, Any]] = {
    "wide": {"encoder__width": 0.5, "epochs": 8.0},
    "wide-short": {"encoder__width": 0.5, "epochs": 5.0},
    "wide-short-fast": {"encoder__width": 0.5, "epochs": 5.0, **FAST},
    "wide-short-many-fast": {"encoder__width": 0.5, "epochs": 4.0, **FAST, **MANY},
    "narrow": {"encoder__width": 0.25, "epochs": 8.0},
    "narrow-many": {"encoder__width": 0.25, "epochs": 8.0, **MANY},
    "narrow-many-fast": {"encoder__width": 0.25, "epochs": 8.0, **FAST, **MANY},
    "small-views-fast": {"encoder__width": 0.5, "image_size": 16, "epochs": 8.0, **FAST},
    "small-views-gentle": {"encoder__width": 0.5, "image_size": 16, "epochs": 8.0, **GENTLE},
    "small-views-fast-gentle": {"encoder__width": 0.5, "image_size": 16, "epochs": 8.0, **FAST, **GENTLE},
    "middle-fast-gentle": {"encoder__width": 0.5, "image_size": 20, "epochs": 6.0, **FAST, **GENTLE},
    "wide-short-fast-gentle": {"encoder__width": 0.5, "epochs": 5.0, **FAST, **GENTLE},
    "small-narrow-long": {"encoder__width": 0.25, "image_size": 16, "epochs": 20.0},
    "small-narrow-long-fast": {"encoder__width": 0.25, "image_size": 16, "epochs": 20.0, **FAST},
    "small-views-many-fast": {"encoder__width": 0.5, "image_size": 16, "epochs": 8.0, **FAST, **MANY},
}
ROWS = (("targets", "tau-0.99"), ("targets", "tau-1"), ("batch-size", "simclr-4096"))
HELD_OUT = 5000


def main() -> None:
    """Run candidates by name; without one, all."""
    candidates = {name: START | changes for name, changes in CANDIDATES.items()}
    train_all("choose-paper-scale", __doc__, candidates, ROWS)


def train_all(
    file: str, description: str | None, candidates: dict[str, dict[str, Any]], rows: tuple[tuple[str, str], ...]
) -> None:
    """Train rows of candidates, each a change of the scale, as the command line asks; results go to FILE.json."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("candidates", nargs="*", metavar="NAME", help=", ".join(candidates))
    parser.add_argument("--only", nargs="*", default=[], metavar="TABLE/CELL", help="rows; by default those above")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results file")
    options = parser.parse_args()
    machine.keep_freed_memory()
    torch.set_num_threads(1)
    scale = scale_named("cpu")
    data = held_out(scale)
    wanted = [tuple(name.split("/")) for name in options.only] or list(rows)
    for name in options.candidates or list(candidates):
        candidate = dataclasses.replace(scale, config=replace(scale.config, **candidates[name]))
        for table, cell in wanted:
            show(row := run(f"{name}: {table}/{cell}", found(candidate, table, cell), candidate, data))
            write(file, [row], options.out)


def held_out(scale: Scale) -> Data:
    """The scale's training images, and as test images the last of the training part."""
    folder = DATA / "cifar10"
    everything = open_data(folder / "train.parquet", folder / "test.parquet", None).train
    assert isinstance(everything.images, torch.Tensor)
    assert everything.labels is not None
    images, labels = everything.images, everything.labels
    train = TensorSource(images[: scale.images], labels[: scale.images], everything.classes, "train")
    test = TensorSource(images[-HELD_OUT:], labels[-HELD_OUT:], everything.classes, "held out")
    return Data(train, test, digest([train.fingerprint(), test.fingerprint()]))


def found(scale: Scale, table: str, cell: str) -> Cell:
    """A cell by its names."""
    (one,) = (other for other in TABLES[table].cells(scale) if other.name == cell)
    return one


def run(name: str, cell: Cell, scale: Scale, data: Data) -> Row:
    """One training and its classifier."""
    config = watched(cell.config(scale), len(data.train))
    with tempfile.TemporaryDirectory() as folder:
        line = measure(config, scale, data, Path(folder) / "run", threads=1)
    about = {key: line[key] for key in ("config", "knn", "verdict", "updates", "seconds")}
    return Row(name, "linear classifier, held out", "accuracy", [line["linear"]], about)


if __name__ == "__main__":
    main()
