"""Run what is missing: one cell after another, or several side by side in processes of their own."""

import multiprocessing
import os
import queue
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from byol.errors import UserError
from byol.paper.cells import Table
from byol.paper.measure import Data, Interrupted, measure, open_data
from byol.paper.plan import Job, ResultStore, part_of, plan
from byol.paper.scales import Scale
from byol.runtime import device as machine
from byol.runtime import distributed
from byol.runtime.signals import noted_signals

Say = Callable[[str], None]

LOCAL_RANK = "LOCAL_RANK"
"""Variable that says which GPU of the machine is a process's own."""


@dataclass(frozen=True, kw_only=True)
class Paths:
    """Where things are read from and kept."""

    train: str
    test: str
    results: Path
    runs: Path
    """Folders of cells that are not done, to go on from."""


@dataclass
class Report:
    """What a call of the runner came to."""

    measured: int = 0
    """Trainings."""
    failed: list[str] = field(default_factory=list)
    """A sentence for each cell that could not be run."""
    interrupted: bool = False


def run(
    tables: Sequence[Table],
    scale: Scale,
    where: Paths,
    *,
    seeds: int = 1,
    only: tuple[str, ...] = (),
    jobs: int | None = None,
    part: str = "1/1",
    say: Say = print,
    data: Data | None = None,
) -> Report:
    """Measure every cell that has no result yet, and append a line for each.

    Args:
        tables: in the order in which they are run.
        scale: what fills the cells in.
        where: data, results, runs.
        seeds: so many, from 0.
        only: patterns of cells' names.
        jobs: processes side by side; by default one per core, or one per GPU.
        part: `2/4` takes the second of four parts, for as many calls that share the results' folder. Under torchrun
            each process takes a part of its own, on a GPU of its own.
        say: where words go.
        data: the images, if they are open already; one process then.

    Raises:
        UserError: no such cell, part or data.
    """
    if distributed.launched():
        number, of = distributed.leave_group()
        todo = part_of(part_of(plan(tables, scale, seeds, only), part), f"{number + 1}/{of}")
    else:
        todo = part_of(plan(tables, scale, seeds, only), part)
    parallel_for = jobs or _places()
    opened = data or open_data(where.train, where.test, scale.images)
    done = ResultStore(where.results, scale, opened.fingerprint)
    for sentence in done.complaints(tables):
        say(sentence)
    missing = [job for job in todo if not done.reuse(job)]
    say(f"{len(todo) - len(missing)} of {len(todo)} trainings are done; {len(missing)} are to be run")
    report = Report()
    if not missing:
        return report
    threads = max(1, machine.cores() // parallel_for)
    if parallel_for == 1 or data is not None:
        _one_by_one(missing, scale, where, opened, done, threads, report, say)
    else:
        _side_by_side(missing, scale, where, min(parallel_for, len(missing)), threads, done, report, say)
    return report


def _places() -> int:
    """Cells side by side by default: one per GPU that is this process's own, or per core."""
    device = machine.choose_device("auto")[0].type
    if device == "cuda":
        return 1 if LOCAL_RANK in os.environ else torch.cuda.device_count()
    return machine.cores() if device == "cpu" else 1


def _one_by_one(
    jobs: list[Job], scale: Scale, where: Paths, data: Data, done: ResultStore, threads: int, report: Report, say: Say
) -> None:
    for job in jobs:
        line, error = _measured(job, scale, where, data, threads)
        _take(job, line, error, done, report, say)
        if report.interrupted:
            return


def _measured(
    job: Job, scale: Scale, where: Paths, data: Data, threads: int
) -> tuple[dict[str, Any] | None, str | None]:
    """A job's line, or what was wrong with it; neither where it was interrupted."""
    folder = where.runs / scale.name / job.name
    try:
        return measure(job.config, scale, data, folder, fine_tunes=job.fine_tunes, threads=threads), None
    except Interrupted:
        return None, None
    except UserError as error:
        return None, str(error)
    except Exception as error:  # the other cells go on; the trace is for whoever looks into it
        traceback.print_exc(file=sys.stderr)
        return None, f"{type(error).__name__}: {error}"


def _take(
    job: Job, line: dict[str, Any] | None, error: str | None, done: ResultStore, report: Report, say: Say
) -> None:
    if line is not None:
        _keep(job, line, done, report, say)
    elif error is not None:
        report.failed.append(f"{job.name}: {error}")
        say(report.failed[-1])
    else:
        report.interrupted = True


def _keep(job: Job, line: dict[str, Any], done: ResultStore, report: Report, say: Say) -> None:
    for table, cell in done.missing(job):
        done.add(table, cell, line)
    report.measured += 1
    shares = [f"{name} {100 * line[name]:.1f} %" for name in ("linear", "knn") if line[name] is not None]
    seconds = sum(line["seconds"].values())
    say(f"{time.strftime('%H:%M')} {job.name}: {', '.join([*shares, line['verdict']])}, {seconds:.0f} s")


def _side_by_side(
    jobs: list[Job],
    scale: Scale,
    where: Paths,
    processes: int,
    threads: int,
    done: ResultStore,
    report: Report,
    say: Say,
) -> None:
    """Processes take one job after another from a queue; only this one writes results."""
    context = multiprocessing.get_context("spawn")
    waiting, results = context.Queue(), context.Queue()
    for number in range(len(jobs)):
        waiting.put(number)
    for _ in range(processes):
        waiting.put(None)
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read once, when a process loads its libraries
    workers = [
        context.Process(target=_work, args=(number, jobs, scale, where, threads, waiting, results), daemon=True)
        for number in range(processes)
    ]
    with noted_signals() as stopping:
        for worker in workers:
            worker.start()
        _restore("OMP_NUM_THREADS", before)
        told = False
        while any(worker.is_alive() for worker in workers) or not results.empty():
            if stopping and not told:
                report.interrupted = told = True
                say("stopping: cells that are being trained keep a checkpoint")
                for worker in workers:
                    worker.terminate()
            try:
                number, line, error = results.get(timeout=0.5)
            except queue.Empty:
                continue
            _take(jobs[number], line, error, done, report, say)
    for worker in workers:
        worker.join()
    died = [worker.exitcode for worker in workers if worker.exitcode]
    if died and not report.interrupted:
        report.failed.append(f"{len(died)} of {processes} processes ended early (codes {died}); call again to go on")
        say(report.failed[-1])


def _restore(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _work(number: int, jobs: list[Job], scale: Scale, where: Paths, threads: int, waiting: Any, results: Any) -> None:
    """One process: job after job until the queue says there are no more, or a signal came."""
    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        os.environ.setdefault(LOCAL_RANK, str(number % torch.cuda.device_count()))
    data = open_data(where.train, where.test, scale.images)
    parent = multiprocessing.parent_process()
    while (parent is None or parent.is_alive()) and (chosen := waiting.get()) is not None:
        line, error = _measured(jobs[chosen], scale, where, data, threads)
        results.put((chosen, line, error))
        if line is None and error is None:
            return
