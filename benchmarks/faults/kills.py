"""Kills: signals at random moments of every phase of a run, which then goes on to the same end, byte for byte."""

import importlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults.product import SIGNALS, UPDATES, Process, go_on_to_the_end, require_the_same, toy, training
from faults.trial import Trial, require

CHECKPOINT_SECONDS = 10.0
"""From a signal that asks for an end to the end, at most."""
FILE_EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir")
"""Audit events of Python before a file is touched."""


@dataclass(frozen=True)
class Phase:
    """A part of a run: from the call of a function on, for a while."""

    name: str
    function: str
    """Module and name, where it is looked up."""
    calls: tuple[int, int]
    """A call between these, both included, counted from 1."""
    seconds: float
    """The signal comes within so long after the call."""


PHASES = (
    Phase("opening images", "byol.pretraining.run:open_images", (1, 1), 0.1),
    Phase("survey", "byol.pretraining.planner:find_facts", (1, 1), 0.1),
    Phase("loading images", "byol.pretraining.run:prepare", (1, 1), 0.1),
    Phase("first look", "byol.pretraining.callbacks:look_at_start", (1, 1), 0.1),
    Phase("first checkpoint", "byol.runtime.checkpoint:save_checkpoint", (1, 1), 0.02),
    Phase("update", "byol.pretraining.train:TrainStep.__call__", (2, UPDATES), 0.05),
    Phase("checkpoint", "byol.runtime.checkpoint:save_checkpoint", (2, UPDATES), 0.02),
    Phase("reading labels", "byol.pretraining.monitor:Monitor.read", (1, 3), 0.1),
    Phase("last words", "byol.pretraining.finish:judge_encoder", (1, 1), 0.5),
    Phase("writing the encoder", "byol.pretraining.keep:save_encoder", (1, UPDATES), 0.01),
    Phase("writing the page", "byol.pretraining.finish:write_run_page", (1, 1), 0.03),
)


def trials(count: int, seed: int = 0) -> Iterator[Trial]:
    """Each phase by each signal, Python's start, and `count` kills between two operations on files."""
    for phase in PHASES:
        for name in SIGNALS:
            yield Trial(f"{name}, then go on", phase.name, lambda folder, p=phase, n=name: killed(folder, p, n, seed))
    for name in SIGNALS:
        yield Trial(f"{name}, then go on", "start of Python", lambda folder, n=name: killed_early(folder, n, seed))
    for number in range(count):
        yield Trial(
            "SIGKILL before an operation on a file, then go on",
            f"draw {number}",
            lambda folder, n=number: killed_at_file(folder, random.Random(f"{seed} {n}").random()),
        )


def killed(folder: Path, phase: Phase, name: str, seed: int) -> str:
    """A signal in a phase; the run goes on to the same end."""
    draw = random.Random(f"{seed} {phase.name} {name}")
    call, delay = draw.randint(*phase.calls), draw.uniform(0, phase.seconds)
    sent = folder / "sent"
    arm = signal_after(phase.function, call, delay, getattr(signal, name), sent)
    return _seen_and_gone_on(folder, name, arm, sent, f"call {call}, {1000 * delay:.0f} ms in")


def killed_at_file(folder: Path, share: float) -> str:
    """SIGKILL just before one of the run's operations on its folder, which `share` of them precede."""
    out, (data, expected) = folder / "run", toy()
    total = _file_operations()
    number = 1 + int(share * total)
    seen = Process(training(data, out), lambda: count_files(out, lambda n: n == number and kill_self())).wait()
    require(seen.code == -signal.SIGKILL, f"operation {number} of {total} did not come: {seen.sentence}")
    go_on_to_the_end(data, out)
    require_the_same(out, expected)
    return f"operation {number} of {total}"


def killed_early(folder: Path, name: str, seed: int) -> str:
    """A signal while Python still imports."""
    out, (data, expected) = folder / "run", toy()
    delay = random.Random(f"{seed} early {name}").uniform(0.05, 2.0)
    command = [sys.executable, "-m", "byol", *training(data, out)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        time.sleep(delay)
        process.send_signal(getattr(signal, name))
        code = process.wait()
    go_on_to_the_end(data, out)
    require_the_same(out, expected)
    return f"after {1000 * delay:.0f} ms, exit code {code}"


def _seen_and_gone_on(folder: Path, name: str, arm: Callable[[], None], sent: Path, when: str) -> str:
    out, (data, expected) = folder / "run", toy()
    ended = Process(training(data, out), arm).wait()
    require(sent.exists(), f"the moment never came: {ended.sentence}")
    waited = max(0.0, time.time() - sent.stat().st_mtime)
    require("Traceback" not in ended.said, f"a traceback: {ended.said[-800:]}")
    if name == "SIGKILL":
        require(ended.code in (-signal.SIGKILL, 0), f"exit code {ended.code}")
    else:
        require(waited <= CHECKPOINT_SECONDS, f"{waited:.1f} s from the signal to the end")
    goes = go_on_to_the_end(data, out)
    require_the_same(out, expected)
    return f"{when}; exit code {ended.code} after {waited:.2f} s; gone on {len(goes)} times"


def signal_after(function: str, call: int, delay: float, number: int, sent: Path) -> Callable[[], None]:
    """What arms a process: a while after a call of a function it sends itself a signal, and notes that in a file."""

    def send() -> None:
        sent.touch()
        os.kill(os.getpid(), number)

    def later(*arguments: object) -> None:
        timer = threading.Timer(delay, send)
        timer.daemon = True
        timer.start()

    return at_call(function, call, later)


def kill_at_call(function: str, call: int) -> Callable[[], None]:
    """What arms a process to be killed when a function is called for the nth time."""
    return at_call(function, call, kill_self)


def at_call(function: str, call: int, act: Callable[..., object]) -> Callable[[], None]:
    """What arms a process to do something just before the nth call of a function, with what it is called with."""

    def arm() -> None:
        place, name, whole = look_up(function)
        calls = 0

        def watched(*arguments: object, **settings: object) -> object:
            nonlocal calls
            calls += 1
            if calls == call:
                act(*arguments)
            return whole(*arguments, **settings)

        setattr(place, name, watched)

    return arm


def look_up(function: str) -> tuple[Any, str, Callable[..., Any]]:
    """Where a function is looked up, its name there, and itself."""
    module, _, path = function.partition(":")
    place: Any = importlib.import_module(module)
    *owners, name = path.split(".")
    for owner in owners:
        place = getattr(place, owner)
    return place, name, getattr(place, name)


def count_files(folder: Path, at: Callable[[int], object]) -> None:
    """Call `at` with 1, 2, ... before each operation on files in a folder, for the rest of this process."""
    count = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event in FILE_EVENTS and str(arguments[0]).startswith(str(folder)):
            count += 1
            at(count)

    sys.addaudithook(hook)


def kill_self(*arguments: object) -> None:
    """End this process as the system does when memory is full."""
    os.kill(os.getpid(), signal.SIGKILL)


_COUNTED: list[int] = []


def _file_operations() -> int:
    """How many operations on files a run that nothing disturbs makes in its folder."""
    if not _COUNTED:
        import tempfile

        data, _ = toy()
        with tempfile.TemporaryDirectory() as folder:
            note = Path(folder) / "count"
            out = Path(folder) / "run"
            descriptor = os.open(note, os.O_WRONLY | os.O_CREAT)
            ended = Process(
                training(data, out), lambda: count_files(out, lambda n: os.pwrite(descriptor, b"%09d" % n, 0))
            ).wait()
            os.close(descriptor)
            require(ended.code == 0, ended.said)
            _COUNTED.append(int(note.read_text()))
    return _COUNTED[0]
