"""byol beside lightly and byol-pytorch: the same work, in the same run, on this machine.

    pip install 'byol[bench]'
    python benchmarks/peers.py                     # everything, about 20 minutes on two cores
    python benchmarks/peers.py --only resnet18-32 pipeline-32
    python benchmarks/peers.py --quick             # does it run at all; writes nothing

Each contestant is a process of its own, so that no worker or thread of one stands in another's way; they measure in
turn, several rounds, and what is judged is the ratio in each round.
"""

import argparse
import dataclasses
import subprocess
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path

from byol.runtime import device as machine
from contestants import HELPED, NAMES, NOTHING, WAYS, measure_of, serve
from options import add_images, common_options
from results_file import Row, in_rounds, ratios, show, write
from throughput import quick
from workloads import ON_GPU, PIPELINES, WORKLOADS, Workload

GOALS = {
    "resnet18-32": 2.7,
    "resnet50-224": 2.7,
    "narrow-32": 2.5,
    "pipeline-32": 8.0,
    "pipeline-224": 2.5,
}
"""Times lightly's speed that byol wants to reach."""
MEMORY_GOAL = 0.75
"""Of lightly's peak memory, which byol wants to stay below: of the whole process, or of tensors on a GPU."""
SETTLE_SECONDS = 2.0
"""Pause after each measurement, in which a loader's workers fill their queue and fall asleep."""
SLOW_STEPS = {"resnet18-32": 3, "resnet50-224": 3, "narrow-32": 12}
"""Updates in one measurement: fewer than in `throughput.py`, since peers need longer for each."""
PEER_PIPELINE_BATCHES = {"pipeline-32": 10, "pipeline-224": 20}


def main(arguments: list[str] | None = None) -> list[Row]:
    """Measure, print, and write `benchmarks/results/peers.json`."""
    names = [*WORKLOADS, *PIPELINES]
    parser = common_options(__doc__, 5, names)
    add_images(parser)
    parser.add_argument("--against", nargs="+", choices=NAMES[1:], default=NAMES[1:], metavar="PEER")
    parser.add_argument("--workers", type=int, default=min(16, machine.cores()), help="of a peer's DataLoader")
    parser.add_argument("--contestant", nargs=2, metavar=("WORK", "NAME"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.contestant:
        work, name = options.contestant
        warnings.simplefilter("ignore")
        workload = _workload(work, name, options.quick)
        serve(measure_of(name, workload, options.small, options.jpeg, options.workers))
        return []
    rows: list[Row] = []
    for name in options.only:
        rows += compare(name, options)
    if not options.quick:
        versions = {peer: version(peer) for peer in ("lightly", "byol-pytorch")}
        print(f"written to {write('peers', rows, options.out, versions)}")
    return rows


def compare(work: str, options: argparse.Namespace, us: str = "byol") -> list[Row]:
    """All contestants of one workload, in turn; `us` is the way in which byol computes."""
    trains = _workload(work, us, options.quick).steps > 0
    names = [us, *(n for n in options.against if trains or n == "lightly")]
    contestants = {name: Contestant(work, name, options) for name in names}
    try:
        values = in_rounds(
            {name: contestant.measure for name, contestant in contestants.items()},
            1 if options.quick else options.rounds,
        )
    finally:
        for contestant in contestants.values():
            contestant.close()
    rows = []
    for name in names:
        workload = _workload(work, name, options.quick)
        rows.append(Row(work, name, "images/s", values[name], _about(name, workload, options.workers)))
        if trains:
            rows.append(Row(work, f"{name}, peak memory", "MB", [contestants[name].peak]))
    for name in names[1:]:
        judged = name == "lightly" and work in GOALS and not options.quick
        goal, memory_goal = (GOALS[work], MEMORY_GOAL) if judged else (None, None)
        rows.append(Row(work, f"{us} / {name}", "ratio", ratios(values[us], values[name]), goal=goal))
        if trains:
            share = contestants[us].peak / contestants[name].peak
            what = f"{us} / {name}, peak memory"
            rows.append(Row(work, what, "ratio", [share], goal=memory_goal, at_most=True))
    for row in rows:
        show(row)
    return rows


class Contestant:
    """A process that measures when asked."""

    def __init__(self, work: str, name: str, options: argparse.Namespace) -> None:
        command = [sys.executable, str(Path(__file__).resolve()), "--contestant", work, name]
        command += ["--small", options.small, "--jpeg", options.jpeg, "--workers", str(options.workers)]
        command += ["--quick"] if options.quick else []
        self.name, self.settle = name, 0.2 if options.quick else SETTLE_SECONDS
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.peak = 0.0
        """Most memory that it has taken, in MB."""
        self._answer()  # nobody measures before all are ready

    def measure(self) -> float:
        """Images per second, once."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        value, peak = self._answer().split()
        self.peak = int(peak) / 1e6
        time.sleep(self.settle)
        return float(value)

    def close(self) -> None:
        """End the process and whatever it started."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"The contestant {self.name!r} ended early; its messages stand above.")
        return line.strip()


def _workload(work: str, name: str, tiny: bool) -> Workload:
    """The work, with as many steps as one measurement of this contestant takes."""
    workload = {**WORKLOADS, **PIPELINES, **ON_GPU}[work]
    if tiny:
        return quick(workload)
    if work in SLOW_STEPS:
        return dataclasses.replace(workload, steps=SLOW_STEPS[work])
    if name not in WAYS and work in PEER_PIPELINE_BATCHES:
        return dataclasses.replace(workload, pipeline_batches=PEER_PIPELINE_BATCHES[work])
    return workload


def _about(name: str, workload: Workload, workers: int) -> dict[str, object]:
    config = workload.config
    ours, given = name in WAYS, HELPED.get(name, NOTHING)
    device, _ = machine.choose_device("auto")
    precision = machine.choose_precision("auto", device)[0] if ours else "bf16" if given.bf16 else "float32"
    return {
        "encoder": config.encoder.name,
        "image_size": config.image_size,
        "batch_size": config.batch_size,
        "heads": [config.method.hidden, config.method.output],
        "precision": precision,
        "channels_last": ours or given.bf16,
        "compiled": given.compiled or WAYS.get(name, {}).get("optim__compile", False),
        "workers": workers,
        "batches": workload.steps or workload.pipeline_batches,
    }


if __name__ == "__main__":
    main()
