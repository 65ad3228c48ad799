"""What one pass over the images costs each system of `byol paper pretext`, at the settings of its row.

    python benchmarks/system_costs.py                # all systems
    python benchmarks/system_costs.py jigsaw cpc

CPU seconds of a longer training less those of a shorter one, so that starting counts for nothing: on one thread, of the
process, which other programs disturb less than time by the clock. Where a method clusters the images after an epoch,
the trainings have two epochs and one, else fractions of an epoch. They are kept in
`src/byol/paper/costs.json`, of which `byol.paper.costs` takes the medians over BYOL's: at other costs rows run again.
"""

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path

import torch

import byol
from byol.config.values import replace
from byol.data.sources.open import TensorSource
from byol.methods.base import Method
from byol.methods.table import method_class
from byol.paper.cells import Cell
from byol.paper.data import open_data
from byol.paper.scales import Scale, scale_named
from byol.paper.systems import systems
from byol.runtime import device as machine
from results_file import REPOSITORY, Row, in_rounds, show, write
from workloads import DATA

EPOCHS = (0.0128, 0.1)
"""Of the shorter and the longer training."""
WITH_CLUSTERS = (1.0, 2.0)
WATCHED = 200
"""Images of the reading that a method with labels makes at the end; else it would keep training images aside."""
PRECISION = "bf16"
"""What `auto` chooses for this encoder on a processor that multiplies it; timing both would count as training."""


def main() -> None:
    """Measure systems by name; without one, all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems", nargs="*", metavar="NAME")
    parser.add_argument("--scale", default="cpu")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--images", type=int, help="fewer than the scale has; clustering fewer is cheaper")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "src/byol/paper", help="folder of costs.json")
    options = parser.parse_args()
    machine.keep_freed_memory()
    torch.set_num_threads(1)
    scale = scale_named(options.scale)
    folder = DATA / "cifar10"
    images = open_data(folder / "train.parquet", folder / "test.parquet", options.images or scale.images).train
    for cell in systems(scale):
        if cell.config(scale).epochs == 0 or (options.systems and cell.name not in options.systems):
            continue
        values = in_rounds({cell.name: lambda cell=cell: seconds_of_a_pass(cell, scale, images)}, options.rounds)
        row = Row(scale.name, cell.name, "CPU seconds per pass", values[cell.name], {"images": len(images)})
        show(row)
        write("costs", [row], options.out)


def seconds_of_a_pass(cell: Cell, scale: Scale, images: TensorSource) -> float:
    """CPU seconds of one pass over the images."""
    kind = method_class(cell.config(scale).method)
    clusters = kind.after_epoch is not Method.after_epoch
    short, long = WITH_CLUSTERS if clusters else EPOCHS
    return (seconds(cell, scale, images, long) - seconds(cell, scale, images, short)) / (long - short)


def seconds(cell: Cell, scale: Scale, images: TensorSource, epochs: float) -> float:
    """CPU seconds of a training."""
    config = replace(cell.config(scale), epochs=epochs, optim__warmup_epochs=0, precision=PRECISION, device="cpu")
    config = replace(config, data__workers=1, logging__health_every=10**6)
    settings = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    held = settings.pop("data")
    settings |= {f"data__{field.name}": getattr(held, field.name) for field in dataclasses.fields(held)}
    labeled = "labels" in method_class(config.method).needs
    source = images if labeled else TensorSource(images.images, name=images.name)
    monitor = images.subset(range(WATCHED)) if labeled else None
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        byol.pretrain(source, out=Path(folder) / "run", monitor=monitor, quiet=True, **settings)
        return time.process_time() - began


if __name__ == "__main__":
    main()
