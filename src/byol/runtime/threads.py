"""Threads that work side by side, each alone: PyTorch's own threads would have every one of them wait for the others.

An operation that PyTorch splits among the cores costs a meeting of all threads at its end. That is nothing for a large
one and more than the work itself for an image's worth, and where several threads of ours start such operations at once,
they fight for the cores.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from threading import Barrier

import torch


def _start(workers: int, name: str) -> ThreadPoolExecutor:
    """A pool whose threads each run PyTorch's operations by themselves."""
    there = torch.get_num_threads()
    started = Barrier(workers + 1)

    def alone() -> None:
        torch.get_num_threads()  # first, or a thread asks again how many there are, and forgets the next line
        torch.set_num_threads(1)
        started.wait()

    pool = ThreadPoolExecutor(workers, thread_name_prefix=name, initializer=alone)
    for _ in range(workers):  # a task each: a pool starts a thread only for work that no thread is free to take
        pool.submit(int)
    started.wait()
    torch.set_num_threads(there)  # what threads started later begin with; ours keep their 1
    return pool


@contextmanager
def single_threaded_pool(workers: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """A pool of `workers` threads for the time of a `with`; what has not begun by its end is dropped."""
    pool = _start(workers, name)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@cache
def _standing(workers: int) -> ThreadPoolExecutor:
    return _start(workers, "part")


def parallel_for(work: Callable[[slice], None], parts: list[slice]) -> None:
    """Do all parts of some work, as many at a time as PyTorch has threads."""
    if torch.get_num_threads() == 1 or len(parts) == 1:
        for part in parts:
            work(part)
        return
    for done in [_standing(torch.get_num_threads()).submit(work, part) for part in parts]:
        done.result()
