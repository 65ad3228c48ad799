"""What the small things of the scale `cpu` of `byol paper` do to the order of rows: one of them changed at a time.

    python benchmarks/vary_paper_scale.py scale optimiser colour ...

Trained on the scale's images and judged on held-out training images, as in `choose_paper_scale.py`; the test part is
never looked at. The rows are those on which most of the paper's order hangs. One seed, one thread a cell; two calls may
run side by side.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import torch

from byol import machine
from byol.choose import small_views
from byol.config import replace
from byol.paper.scales import scale_named
from choose_paper_scale import found, held_out, run
from results_file import RESULTS, show, write

VARIATIONS: dict[str, dict[str, Any]] = {
    "scale": {},
    "predictor": {"optim__predictor_lr": 1.0},
    "colour": {"augment": small_views()},
    "optimiser": {"optim__name": "sgd", "optim__lr": 0.12, "optim__weight_decay": 5e-4},
    "views": {"image_size": 32},
    "width": {"network__width": 1.0},
    "depth": {"encoder": "resnet18"},
    "stem": {"network__stem": "small"},
    "views-long": {"image_size": 32, "epochs": 40.0},
}
"""What is changed, by what it is, and the first of the things that cost most with the longer run that it may ask for.
SGD's numbers are those of the recipe cifar10."""
ROWS = (
    ("targets", "tau-0.99"),
    ("batch-size", "simclr-4096"),
    ("targets", "tau-0"),
    ("targets", "tau-1"),
    ("heads", "projector-1-predictor-1"),
)


def main() -> None:
    """Run variations by name; without one, all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variations", nargs="*", metavar="VARIATION", help=", ".join(VARIATIONS))
    parser.add_argument("--only", nargs="*", default=[], metavar="TABLE/CELL", help="rows; by default all of ROWS")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results file")
    options = parser.parse_args()
    machine.keep_freed_memory()
    torch.set_num_threads(1)
    scale = scale_named("cpu")
    data = held_out(scale)
    rows = [tuple(name.split("/")) for name in options.only] or list(ROWS)
    for name in options.variations or list(VARIATIONS):
        varied = dataclasses.replace(scale, config=replace(scale.config, **VARIATIONS[name]))
        for table, cell in rows:
            show(row := run(f"{name}: {table}/{cell}", found(varied, table, cell), varied, data))
            write("vary-paper-scale", [row], options.out)


if __name__ == "__main__":
    main()
