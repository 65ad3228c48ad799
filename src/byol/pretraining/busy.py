"""A busy machine: where others use its cores, fewer threads of PyTorch train faster.

Each operation that PyTorch splits among threads ends when the last of them has done its part. A thread that waits for
a core because something else runs there holds up all others, so two threads on two busy cores can be more than ten
times slower than one.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from byol.data.loader import Loader
from byol.pretraining.budget import first_updates
from byol.pretraining.setup import Run
from byol.pretraining.state import TrainState, build_state
from byol.runtime import device as machine
from byol.runtime import distributed


@contextmanager
def threads_kept(count: int | None = None) -> Iterator[int]:
    """Have as many threads after a `with` as before it, which it gives; within it `count`, if that is a number."""
    there = torch.get_num_threads()
    try:
        if count is not None:
            torch.set_num_threads(count)
        yield there
    finally:
        torch.set_num_threads(there)


def choose_threads(run: Run) -> str:
    """Set as many threads of PyTorch as train a prepared run fastest, on a processor, by one process.

    Returns:
        A sentence, or nothing where there is nothing to choose.
    """
    there = torch.get_num_threads()
    if run.device.type != "cpu" or distributed.world_size() > 1 or there == 1:
        return ""
    state = build_state(run.config, run.data, run.device)  # which is thrown away
    seconds: dict[int, float] = {}
    # from the fewest on: on a busy machine one update of all threads can take minutes
    for count in [*(2**power for power in range(there.bit_length()) if 2**power < there), there]:
        torch.set_num_threads(count)
        seconds[count] = _seconds_per_update(state, run.loader)
        if seconds[count] > min(seconds.values()):
            break
    fastest = min(seconds, key=seconds.__getitem__)
    torch.set_num_threads(fastest)
    times = ", ".join(f"{each:.2g} s with {n}" for n, each in seconds.items())
    kept = "thread trains" if fastest == 1 else "threads train"
    busy = f"the machine is busy (load {machine.load():.1f} on {machine.cores()} cores)"
    return f"{busy}: an update takes {times}, so {fastest} {kept}"


def _seconds_per_update(state: TrainState, loader: Loader) -> float:
    """One update, after one that is not timed."""
    _, second = first_updates(state, loader, 2)
    return second
