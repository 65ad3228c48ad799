"""How near the loader's threads come to as many processes, which share nothing: not the interpreter, not the memory.

    python benchmarks/threads.py            # about 2 minutes on two cores
    python benchmarks/threads.py --quick    # does it run at all; writes nothing

Full-size photographs, by as many threads as there are cores, and by as many processes of one thread each: crops alone,
as a GPU's run has them, and views, as a processor's has them. In turn, several rounds; what is judged is the ratio.
"""

import multiprocessing
from multiprocessing.connection import Connection
from types import TracebackType

import torch

from byol.runtime import device as machine
from options import add_images, common_options
from results_file import Row, in_rounds, ratios, show, write
from throughput import quick
from workloads import CROPS_224, PIPELINES, Ours, Workload, load

WORK = {"crops-224": CROPS_224, "pipeline-224": PIPELINES["pipeline-224"]}


class Team:
    """Processes that each have a loader with some threads, and measure at the same time."""

    def __init__(self, workload: Workload, jpeg: str, processes: int, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.ends: list[Connection] = []
        self.members = []
        for _ in range(processes):
            ours, theirs = context.Pipe()
            self.ends.append(ours)
            alone = processes > 1
            self.members.append(
                context.Process(target=_member, args=(theirs, workload, jpeg, threads, alone), daemon=True)
            )

    def __enter__(self) -> "Team":
        for member in self.members:
            member.start()
        for end in self.ends:
            end.recv()  # ready
        return self

    def measure(self) -> float:
        """Images per second of all members together."""
        for end in self.ends:
            end.send(True)
        return sum(float(end.recv()) for end in self.ends)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for end, member in zip(self.ends, self.members, strict=True):
            end.send(False)
            end.close()
            member.join()
            member.close()


def _member(end: Connection, workload: Workload, jpeg: str, threads: int, alone: bool) -> None:
    if alone:
        torch.set_num_threads(1)  # PyTorch's own: the other cores are the other members'
    ours = Ours(workload, load(workload, "", jpeg), threads)
    end.send("ready")
    while end.recv():
        end.send(ours.pipeline())


def main(arguments: list[str] | None = None) -> list[Row]:
    """Measure, print, and write `benchmarks/results/threads.json`."""
    parser = common_options(__doc__, 5, list(WORK))
    add_images(parser)
    options = parser.parse_args(arguments)
    cores = machine.cores()
    rows = []
    for name in options.only:
        workload = quick(WORK[name]) if options.quick else WORK[name]
        with Team(workload, options.jpeg, 1, cores) as threads, Team(workload, options.jpeg, cores, 1) as processes:
            measures = {"threads": threads.measure, "processes": processes.measure}
            values = in_rounds(measures, 1 if options.quick else options.rounds)
        rows += [
            Row(name, f"{cores} threads", "images/s", values["threads"]),
            Row(name, f"{cores} processes of one thread", "images/s", values["processes"]),
            Row(name, "threads / processes", "ratio", ratios(values["threads"], values["processes"])),
        ]
    for row in rows:
        show(row)
    if not options.quick:
        print(f"written to {write('threads', rows, options.out)}")
    return rows


if __name__ == "__main__":
    main()
