"""Owners: several processes in one run's folder. One owns it, the others are told so and touch nothing."""

import errno
import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from byol.pretraining.keep import is_finished
from faults.kills import at_call, kill_at_call
from faults.product import Ended, Process, byol, require_the_same, toy, training
from faults.trial import Trial, require

MANY = 10
TOLD = ("Another process trains in", "holds a run already", "is finished")
"""What those are told that do not own the folder."""


def trials(count: int, seed: int = 0) -> Iterator[Trial]:
    """Ten at once that start or go on, and one that comes late, with locks of the file system and without."""
    for locks, before in (("with locks", with_locks), ("without locks", without_locks)):
        yield Trial("ten runs that start at once in one folder", locks, lambda f, b=before: at_once(f, b))
        yield Trial("ten that go on at once with a killed run", locks, lambda f, b=before: gone_on_at_once(f, b))
        yield Trial("a second process beside a live run", locks, lambda f, b=before: beside(f, b))
    yield Trial("ten runs that start at once without a folder's name", "each gets its own", each_its_own)


def with_locks() -> None:
    """The file system as it is."""


def without_locks() -> None:
    """A file system that knows no locks, as some that are shared over a network."""

    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    fcntl.flock = refuse  # type: ignore[assignment]
    fcntl.lockf = refuse  # type: ignore[assignment]


def at_once(folder: Path, before: Callable[[], None]) -> str:
    """Ten processes get the same command in the same moment."""
    out, (data, expected) = folder / "run", toy()
    ended = [process.wait() for process in [Process(training(data, out), before) for _ in range(MANY)]]
    _one_owner(ended)
    require_the_same(out, expected)
    return f"1 owner; {MANY - 1} told: {_said(ended)}"


def gone_on_at_once(folder: Path, before: Callable[[], None]) -> str:
    """A run is killed; ten processes go on with it in the same moment."""
    out, (data, expected) = folder / "run", toy()
    kill = kill_at_call("byol.pretraining.train:TrainStep.__call__", 6)
    killed = Process(training(data, out), lambda: (before(), kill())[0]).wait()
    require(killed.code == -signal.SIGKILL, killed.sentence)
    ended = [process.wait() for process in [Process(training(data, out), before) for _ in range(MANY)]]
    _one_owner(ended)
    require_the_same(out, expected)
    return f"1 owner; {MANY - 1} told: {_said(ended)}"


def beside(folder: Path, before: Callable[[], None]) -> str:
    """While a run waits in its fifth update another process starts there, and one goes on with it."""
    out, (data, expected) = folder / "run", toy()
    gate = folder / "gate"

    def wait_at_gate(*arguments: object) -> None:
        gate.touch()
        while gate.exists():
            time.sleep(0.01)

    arm = at_call("byol.pretraining.train:TrainStep.__call__", 5, wait_at_gate)
    owner = Process(training(data, out), lambda: (before(), arm())[0])
    while not gate.exists():
        require(owner.running(), "the owner ended")
        time.sleep(0.01)
    files = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    resumed = byol("pretrain", "--resume", out, before=before)
    started = byol("pretrain", data, "--out", out, before=before)
    require({path: path.read_bytes() for path in files} == files, "a file was touched")
    gate.unlink()
    require(owner.wait().code == 0, "the owner did not come to its end")
    for other in (resumed, started):
        require(other.code == 2 and any(word in other.said for word in TOLD), other.said[-500:])
    require_the_same(out, expected)
    return f"told: {_said([resumed, started])}"


def each_its_own(folder: Path) -> str:
    """Without --out each process makes a folder of its own."""
    data, expected = toy()
    arguments = tuple(part for part in training(data, folder / "x") if part not in ("--out", str(folder / "x")))
    processes = [Process(arguments, lambda: os.chdir(folder)) for _ in range(MANY)]
    codes = [process.wait().code for process in processes]
    require(codes == [0] * MANY, f"exit codes {codes}")
    made = sorted(path.name for path in (folder / "runs").iterdir())
    require(len(made) == MANY and all(is_finished(folder / "runs" / name) for name in made), f"{made}")
    for name in made:
        require_the_same(folder / "runs" / name, expected)
    return f"{made[0]} to {made[-1]}"


def _one_owner(ended: list[Ended]) -> None:
    codes = sorted(one.code for one in ended)
    require(codes == [0] + [2] * (len(ended) - 1), f"exit codes {codes}: {[one.sentence[:200] for one in ended]}")
    for one in ended:
        require(one.code == 0 or any(word in one.said for word in TOLD), f"not told: {one.said[-500:]}")
        require("Traceback" not in one.said, one.said[-500:])


def _said(ended: list[Ended]) -> str:
    return ", ".join(sorted({word for one in ended for word in TOLD if one.code and word in one.said}))
