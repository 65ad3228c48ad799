"""SIGINT, SIGTERM and SIGHUP: noted while training, so that a run ends with a checkpoint."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

REPEAT_SECONDS = 2.0
"""Signals closer together than this are duplicates: a scheduler and torchrun may both send one."""

ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that ask for an end; Windows has no SIGHUP, which a terminal sends when it is closed."""

Handlers = dict[signal.Signals, Any]


class Stopping:
    """Whether a signal asked for an end."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None


@contextmanager
def noted_signals() -> Iterator[Stopping]:
    """Note SIGINT, SIGTERM and SIGHUP instead of ending by them; another one, later, ends the process as usual."""
    stopping, first = Stopping(), 0.0

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if not stopping:
            stopping.signal, first = number, time.monotonic()
        elif time.monotonic() - first > REPEAT_SECONDS:
            for name, handler in before.items():
                signal.signal(name, handler)
            signal.raise_signal(number)

    with _handled_by(note, _not_ignored()) as before:
        yield stopping


@contextmanager
def orderly_exit() -> Iterator[None]:
    """SIGTERM and SIGHUP run every `finally`, as SIGINT does, and end with the exit code of a shell."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    with _handled_by(leave, [name for name in _not_ignored() if name != signal.SIGINT]):
        yield


def _not_ignored() -> list[signal.Signals]:
    """Those that this process was not told to ignore: nohup has it ignore the end of its terminal."""
    return [name for name in ENDING if signal.getsignal(name) is not signal.SIG_IGN]


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None], names: list[signal.Signals]) -> Iterator[Handlers]:
    """Handle signals by a function for the time of a `with`, which is given the handlers before."""
    before: Handlers = {}
    try:
        for name in names:
            before[name] = signal.signal(name, handler)
    except ValueError:  # not the main thread: the program that started us handles signals
        before.clear()
    try:
        yield before
    finally:
        for name, earlier in before.items():
            signal.signal(name, earlier)
