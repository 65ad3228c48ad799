"""Threads that each compute alone, for work that comes in many small pieces."""

import threading
from concurrent.futures import ThreadPoolExecutor

import torch


def lone_threads(count: int, name: str) -> ThreadPoolExecutor:
    """A pool of threads in each of which PyTorch computes with that one thread only.

    Threads that opened teams of threads would fight over the cores.
    """
    before = torch.get_num_threads()  # asked for, it stays this thread's own number, whatever others set
    pool = ThreadPoolExecutor(count, thread_name_prefix=name, initializer=torch.set_num_threads, initargs=(1,))
    all_there = threading.Barrier(count)
    for arrival in [pool.submit(all_there.wait) for _ in range(count)]:  # so that each task starts a thread
        arrival.result()
    torch.set_num_threads(before)  # PyTorch hands the number that was set last to every thread yet to start
    return pool
