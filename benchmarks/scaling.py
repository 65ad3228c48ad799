"""One process and two, on this machine: images per second, and what they send each other.

    python benchmarks/scaling.py                   # two minutes on two cores
    python benchmarks/scaling.py --quick           # does it run at all; writes nothing

The narrow network at a batch of 256 images for each process, one thread each, gloo between them: so two processes have
twice the work, and would be twice as fast if they never waited for each other. Bytes are those that one process gave
into reductions during an update, counted while it ran. Writes benchmarks/results/scaling.json.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from byol.bench.dry_run import batch_on_meta, build_on_meta, dry_step
from byol.bench.measure import Subject
from byol.bench.scaling import traffic_of
from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.data.loader import Loader, Storage
from byol.data.sources.embedded import embedded_photos
from byol.errors import UserError
from byol.methods.base import TrainingSet
from byol.pretraining.setup import pipeline_of
from byol.runtime import device as machine
from byol.runtime import distributed
from results_file import RESULTS, Row, ratios, show, write
from throughput import quick
from workloads import WORKLOADS

PROCESSES = (1, 2)
STEPS = 10
"""Updates of one measurement."""


def main(arguments: list[str] | None = None) -> list[Row]:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round of tiny steps; writes nothing")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results file")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        print(json.dumps(work(options.quick)), flush=True)
        return []
    rounds = 1 if options.quick else options.rounds
    found = [{count: measure(count, options.quick) for count in PROCESSES} for _ in range(rounds)]  # in turn
    rows = table(found, options.quick)
    for row in rows:
        show(row)
    if not options.quick:
        print(f"written to {write('scaling', rows, options.out)}")
    return rows


def config_of(processes: int, tiny: bool) -> PretrainConfig:
    """The narrow network, with as many images for each process however many there are."""
    workload = quick(WORKLOADS["narrow-32"]) if tiny else WORKLOADS["narrow-32"]
    return replace(workload.config, batch_size=processes * workload.config.batch_size)


def table(found: list[dict[int, dict[str, Any]]], tiny: bool) -> list[Row]:
    """Rows from what the processes said, round by round."""
    rates = {count: [each[count]["images_per_second"] for each in found] for count in PROCESSES}
    most = [count * rate for count, rate in ((PROCESSES[-1], rate) for rate in rates[1])]
    about = {"batch_size_each": config_of(1, tiny).batch_size, "threads_each": 1, "backend": "gloo", "steps": STEPS}
    sent = found[0][PROCESSES[-1]]
    config = config_of(1, tiny)
    method = build_on_meta(config, TrainingSet(images=config.batch_size))
    paper = traffic_of(method, dry_step(method, batch_on_meta(config)))
    return [
        *(Row("scaling", f"{count} process{'es' * (count > 1)}", "images/s", rates[count], about) for count in rates),
        Row("scaling", "2 processes / twice 1 process", "ratio", ratios(rates[PROCESSES[-1]], most), about),
        Row("all-reduce", "gradients of an update, counted", "kB", [sent["gradients"] / 1e3]),
        Row("all-reduce", "gradients of an update, by formula", "kB", [paper.gradients / 1e3]),
        Row("all-reduce", "batch norm of an update, counted", "kB", [sent["statistics"] / 1e3]),
        Row("all-reduce", "batch norm of an update, by formula", "kB", [paper.statistics / 1e3]),
        Row("all-reduce", "batch norm's calls of an update, counted", "calls", [float(sent["calls"])]),
        Row("all-reduce", "batch norm's calls of an update, by formula", "calls", [float(paper.calls)]),
    ]


def measure(processes: int, tiny: bool) -> dict[str, Any]:
    """What the first of some processes found.

    Raises:
        UserError: one of them failed; its message stands above.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(Path(__file__).resolve()), "--worker", *(["--quick"] if tiny else [])]
    started = []
    for rank in range(processes):
        environment = {**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        out = subprocess.PIPE if rank == 0 else subprocess.DEVNULL
        started.append(subprocess.Popen(command, env=environment, stdout=out, text=True))
    said, _ = started[0].communicate()
    if any(process.wait() for process in started):
        raise UserError(f"One of {processes} processes failed; its message stands above.")
    answer: dict[str, Any] = json.loads(said.splitlines()[-1])
    return answer


def work(tiny: bool) -> dict[str, Any]:
    """What one process does: time some updates, then count what another one sends."""
    device = torch.device("cpu")
    machine.keep_freed_memory()
    torch.set_num_threads(1)
    with distributed.processes(device):
        config = replace(
            config_of(distributed.world_size(), tiny), precision=machine.choose_precision("auto", device)[0]
        )
        source = embedded_photos(per_photo=4 if tiny else None)
        storage = Storage(source, 1, source.images)
        subject = Subject(Loader(storage, config, pipeline_of(config), device, distributed.member()))
        distributed.barrier()
        rate = subject.together(1 if tiny else STEPS)
        return {"images_per_second": rate, **count_sent(subject)}


def count_sent(subject: Subject) -> dict[str, int]:
    """Bytes that this process gives into reductions in one update, and the calls for batch norm."""
    sent = {"gradients": 0, "statistics": 0, "calls": 0}
    reduce, of_gradients = dist.all_reduce, [False]

    def counted(tensor: Tensor, *arguments: Any, **named: Any) -> Any:
        sent["gradients" if of_gradients[0] else "statistics"] += tensor.nbytes
        sent["calls"] += not of_gradients[0]
        return reduce(tensor, *arguments, **named)

    def hook(state: None, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
        of_gradients[0] = True
        try:
            return allreduce_hook(state, bucket)
        finally:
            of_gradients[0] = False

    if isinstance(subject.train_step.model, DistributedDataParallel):
        subject.train_step.model.register_comm_hook(None, hook)
    dist.all_reduce = counted
    try:
        subject.step(1)
    finally:
        dist.all_reduce = reduce
    return sent


if __name__ == "__main__":
    main()
