"""An update in other ways: both directions of the loss at once, as byol trains, recomputed, nothing cast, compiled.

    python benchmarks/steps.py                    # 15 minutes on two cores
    python benchmarks/steps.py --quick            # does it run at all; writes nothing

Every measurement is a process of its own that builds the networks of a workload and trains on views made before. Its
memory is what the first update takes at most beyond what was there when it began: the process's on a processor,
tensors' on a GPU. Its speed is the median of the updates that follow. Where nothing is cast, the networks' weights are
kept in bf16 from the start, which trains another thing: it bounds what casting them less often could save. Writes
benchmarks/results/steps.json.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn

import taken
from byol.bench.ceilings import synchronize
from byol.bench.measure import LR, last_scheduled
from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.data.batch import Batch
from byol.methods.base import TrainingSet
from byol.pretraining.state import build_state
from byol.pretraining.train import TrainStep
from byol.runtime import device as machine
from options import common_options
from results_file import Row, in_rounds, ratios, show, write
from throughput import quick
from workloads import WORKLOADS

WAYS = ("both directions at once", "byol", "byol, recomputed", "byol, nothing cast", "byol, compiled")
COMPILED = ("narrow-32", "resnet18-32")
"""The workloads whose networks are compiled, too: ResNet-50's convolutions are nearly all of its work."""
UPDATES, SECONDS = 3, 5.0
"""That are timed at least."""


def main(arguments: list[str] | None = None) -> list[Row]:
    """Measure, print, and write."""
    parser = common_options(__doc__, 3, list(WORKLOADS))
    parser.add_argument("--measure", nargs=2, metavar=("WORK", "WAY"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure:
        work, way = options.measure
        print(*measure(config_of(work, options.quick), way, 0.0 if options.quick else SECONDS))
        return []
    rows: list[Row] = []
    for work in options.only:
        rows += compare(work, 1 if options.quick else options.rounds, options.quick)
    if not options.quick:
        print(f"written to {write('steps', rows, options.out)}")
    return rows


def config_of(work: str, tiny: bool) -> PretrainConfig:
    """The run of a workload."""
    workload = WORKLOADS[work]
    return quick(workload).config if tiny else workload.config


def compare(work: str, rounds: int, tiny: bool) -> list[Row]:
    """The ways of one workload, in turn."""
    ways = WAYS if work in COMPILED else WAYS[:-1]
    memory: dict[str, list[float]] = {way: [] for way in ways}

    def speed(way: str) -> float:
        command = [sys.executable, str(Path(__file__).resolve()), "--measure", work, way, *["--quick"] * tiny]
        took, rate = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
        memory[way].append(float(took) / 1e6)
        return float(rate)

    speeds = in_rounds({way: lambda way=way: speed(way) for way in ways}, rounds)  # type: ignore[misc]
    config = config_of(work, tiny)
    about = {"encoder": config.encoder.name, "image_size": config.image_size, "batch_size": config.batch_size}
    rows = [Row(work, f"{way}: memory", "MB", memory[way], about) for way in ways]
    first = ways[0]
    for way in ways[1:]:
        rows.append(Row(work, f"{way}: memory / {first}", "ratio", ratios(memory[way], memory[first])))
        rows.append(Row(work, f"{way}: speed / {first}", "ratio", ratios(speeds[way], speeds[first])))
    for row in rows:
        show(row)
    return rows


def measure(config: PretrainConfig, way: str, least: float) -> tuple[int, float]:
    """Bytes that an update takes, and images per second over so many seconds at least."""
    device, _ = machine.choose_device(config.device)
    machine.make_ready(device)
    precision, _ = machine.choose_precision(config.precision, device)
    config = replace(config, precision=precision)
    config = replace(config, optim__activation_checkpointing=way == WAYS[2], optim__compile=way == WAYS[4])
    state = build_state(config, TrainingSet(config.batch_size), device)
    train_step, scheduled = TrainStep(state, config), last_scheduled(state.method)
    if way == WAYS[0]:
        state.method.terms = lambda batch: [batch.views]  # type: ignore[method-assign]
    if way == WAYS[3] and precision == "bf16":
        for layer in state.method.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.to(torch.bfloat16)
    shape = (config.batch_size, 3, config.image_size, config.image_size)
    views = Batch((torch.randn(shape, device=device), torch.randn(shape, device=device)))

    def update() -> Tensor:
        return train_step([views], LR, scheduled)[0]

    taken.forget(device)
    before = taken.now(device)
    update()
    synchronize(device)
    memory = taken.most(device) - before
    seconds: list[float] = []
    while len(seconds) < UPDATES or sum(seconds) < least:
        began = time.perf_counter()
        update()
        synchronize(device)
        seconds.append(time.perf_counter() - began)
    return memory, config.batch_size / statistics.median(seconds)


if __name__ == "__main__":
    main()
