"""Run what has no result yet: one training after another, or several in parallel, each in a process of its own."""

import multiprocessing
import os
import queue
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from byol.errors import UserError
from byol.paper.cells import Table
from byol.paper.data import Data, open_data
from byol.paper.measure import Interrupted, measure
from byol.paper.plan import Job, ResultStore, part_of, plan
from byol.paper.scales import Scale
from byol.runtime import device as machine
from byol.runtime import distributed
from byol.runtime.signals import noted_signals

Say = Callable[[str], None]

LOCAL_RANK = "LOCAL_RANK"
"""Environment variable with the index of the GPU that belongs to a process."""
OMP_NUM_THREADS = "OMP_NUM_THREADS"
"""Environment variable that libraries read once, when a process loads them."""


@dataclass(frozen=True, kw_only=True)
class Paths:
    """Where images are read from, and where results and runs are kept."""

    train: str
    test: str
    results: Path
    runs: Path
    """Folders of unfinished trainings, which are resumed."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Which cells are run, and how many at a time."""

    seeds: int = 1
    """Number of seeds, counted from 0."""
    only: tuple[str, ...] = ()
    """Patterns of cell names; empty for all cells."""
    part: str = "1/1"
    """`2/4` runs the second of four parts, for several calls that share the results folder. Under torchrun each process
    runs a part of its own, on a GPU of its own."""
    processes: int | None = None
    """Trainings in parallel; by default one per core, or one per GPU."""


@dataclass
class RunSummary:
    """The outcome of a call."""

    measured: int = 0
    """Number of trainings."""
    failed: list[str] = field(default_factory=list)
    """One sentence per cell that failed."""
    interrupted: bool = False


@dataclass(frozen=True)
class Outcome:
    """The outcome of one training: a line for the results file, or an error; neither where a signal interrupted it."""

    line: dict[str, Any] | None = None
    error: str = ""

    @property
    def interrupted(self) -> bool:
        return self.line is None and not self.error


@dataclass(frozen=True)
class JobRunner:
    """What all trainings of a call share; it can be sent to another process."""

    scale: Scale
    paths: Paths
    threads: int
    """CPU threads of one training."""

    def open_data(self) -> Data:
        """The images, decoded.

        Raises:
            UserError: see `byol.paper.data.open_data`.
        """
        return open_data(self.paths.train, self.paths.test, self.scale.images)

    def measure(self, job: Job, data: Data) -> Outcome:
        """Train and evaluate; an error becomes part of the outcome, so that the other cells go on."""
        folder = self.paths.runs / self.scale.name / job.name
        try:
            line = measure(job.config, self.scale, data, folder, extras=job.extras, threads=self.threads)
        except Interrupted:
            return Outcome()
        except UserError as error:
            return Outcome(error=str(error))
        except Exception as error:  # a bug or a full memory: keep the trace, and go on with the other cells
            traceback.print_exc(file=sys.stderr)
            return Outcome(error=f"{type(error).__name__}: {error}")
        return Outcome(line)


@dataclass
class Recorder:
    """Writes outcomes to the results files, reports them, and sums them up."""

    store: ResultStore
    say: Say
    summary: RunSummary = field(default_factory=RunSummary)

    def record(self, job: Job, outcome: Outcome) -> None:
        """Keep the outcome of one training."""
        if outcome.line is not None:
            self._keep(job, outcome.line)
        elif outcome.error:
            self.fail(f"{job.name}: {outcome.error}")
        else:
            self.summary.interrupted = True

    def fail(self, sentence: str) -> None:
        """Note a failure."""
        self.summary.failed.append(sentence)
        self.say(sentence)

    def _keep(self, job: Job, line: dict[str, Any]) -> None:
        for table, cell in self.store.missing(job):
            self.store.add(table, cell, line)
        self.summary.measured += 1
        figures = [f"{name} {100 * line[name]:.1f} %" for name in ("linear", "knn") if line[name] is not None]
        seconds = sum(line["seconds"].values())
        self.say(f"{time.strftime('%H:%M')} {job.name}: {', '.join([*figures, line['verdict']])}, {seconds:.0f} s")


def run(
    tables: Sequence[Table],
    scale: Scale,
    paths: Paths,
    options: RunOptions,
    *,
    say: Say = print,
    data: Data | None = None,
) -> RunSummary:
    """Measure every cell that has no result yet, and append a line for each.

    Args:
        tables: in the order in which they are run.
        scale: encoder, data and schedule of the cells.
        paths: images, results, runs.
        options: which cells, and how many at a time.
        say: receives progress messages.
        data: the images, if they are already open; everything then runs in this process.

    Raises:
        UserError: no such cell, part or data.
    """
    jobs = _jobs(tables, scale, options)
    processes = options.processes or _default_processes()
    runner = JobRunner(scale, paths, threads=max(1, machine.cores() // processes))
    opened = data or runner.open_data()
    recorder = Recorder(ResultStore(paths.results, scale, opened.fingerprint), say)
    for complaint in recorder.store.complaints(tables):
        say(complaint)
    missing = [job for job in jobs if not recorder.store.reuse(job)]
    say(f"{len(jobs) - len(missing)} of {len(jobs)} trainings are done; {len(missing)} to run")
    if processes == 1 or data is not None:
        _run_sequentially(runner, missing, opened, recorder)
    elif missing:
        _run_in_parallel(runner, missing, min(processes, len(missing)), recorder)
    return recorder.summary


def _jobs(tables: Sequence[Table], scale: Scale, options: RunOptions) -> list[Job]:
    """The trainings of this process."""
    group = distributed.leave_group() if distributed.launched() else None
    jobs = part_of(plan(tables, scale, options.seeds, options.only), options.part)
    return part_of(jobs, f"{group[0] + 1}/{group[1]}") if group is not None else jobs


def _default_processes() -> int:
    """One process per GPU that is not assigned to another process, or one per core."""
    device = machine.choose_device("auto")[0].type
    if device == "cuda":
        return 1 if LOCAL_RANK in os.environ else torch.cuda.device_count()
    return machine.cores() if device == "cpu" else 1


def _run_sequentially(runner: JobRunner, jobs: list[Job], data: Data, recorder: Recorder) -> None:
    for job in jobs:
        recorder.record(job, runner.measure(job, data))
        if recorder.summary.interrupted:
            return


def _run_in_parallel(runner: JobRunner, jobs: list[Job], processes: int, recorder: Recorder) -> None:
    """Worker processes take one training after another from a queue; only this process writes results."""
    context = multiprocessing.get_context("spawn")
    waiting, outcomes = context.Queue(), context.Queue()
    for number in [*range(len(jobs)), *[None] * processes]:
        waiting.put(number)
    workers = [
        context.Process(target=_work, args=(index, runner, jobs, waiting, outcomes), daemon=True)
        for index in range(processes)
    ]
    with noted_signals() as stopping:
        with _environment(OMP_NUM_THREADS, str(runner.threads)):
            for worker in workers:
                worker.start()
        stopped = False
        while any(worker.is_alive() for worker in workers) or not outcomes.empty():
            if stopping and not stopped:
                recorder.summary.interrupted = stopped = True
                recorder.say("stopping: running cells save a checkpoint")
                for worker in workers:
                    worker.terminate()
            try:
                number, outcome = outcomes.get(timeout=0.5)
            except queue.Empty:
                continue
            recorder.record(jobs[number], outcome)
    for worker in workers:
        worker.join()
    codes = [worker.exitcode for worker in workers if worker.exitcode]
    if codes and not recorder.summary.interrupted:
        recorder.fail(f"{len(codes)} of {processes} processes ended early (exit codes {codes}); call again to go on")


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """An environment variable has a value while this lasts."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _work(index: int, runner: JobRunner, jobs: list[Job], waiting: Any, outcomes: Any) -> None:
    """One worker process: training after training until the queue says stop, a signal comes, or the parent dies."""
    torch.set_num_threads(runner.threads)
    if torch.cuda.is_available():
        os.environ.setdefault(LOCAL_RANK, str(index % torch.cuda.device_count()))
    data = runner.open_data()
    parent = multiprocessing.parent_process()
    while (parent is None or parent.is_alive()) and (number := waiting.get()) is not None:
        outcome = runner.measure(jobs[number], data)
        outcomes.put((number, outcome))
        if outcome.interrupted:
            return
