"""A fault that is tried, and the line that is written of it."""

import json
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Line = dict[str, Any]


class LostError(AssertionError):
    """A fault had an effect that it must not have."""


@dataclass(frozen=True)
class Trial:
    """One fault, once."""

    fault: str
    """A row of the table."""
    case: str
    """Which time of it: its place, its signal, its seed."""
    act: Callable[[Path], str]
    """Tries it in an empty folder, and says in a few words what happened.

    Raises:
        LostError: something was lost or let in.
    """

    @property
    def key(self) -> Line:
        return {"fault": self.fault, "case": self.case}


def require(holds: bool, words: str) -> None:
    """Raise LostError with these words unless it holds."""
    if not holds:
        raise LostError(words)


def tried(trial: Trial) -> Line:
    """What came of a trial. An error that nobody foresaw counts as lost."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="byol-fault-") as folder:
        try:
            held, seen = True, trial.act(Path(folder))
        except LostError as error:
            held, seen = False, str(error)
        except Exception:
            held, seen = False, traceback.format_exc()[-1500:]
    return {**trial.key, "held": held, "seen": seen, "seconds": round(time.perf_counter() - began, 2)}


def read_lines(path: Path) -> list[Line]:
    """The lines that were written; a half-written last one is passed over."""
    lines = []
    for text in path.read_text().splitlines() if path.exists() else ():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return lines


def go_through(part: str, trials: Iterable[Trial], path: Path, commit: str) -> list[Line]:
    """Try what has no line yet, and append a line for each; returns the new ones."""
    there = [{key: line[key] for key in ("part", "fault", "case")} for line in read_lines(path)]
    new = []
    for trial in trials:
        if {"part": part, **trial.key} in there:
            continue
        line = {"part": part, **tried(trial), "commit": commit}
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(f"{'held' if line['held'] else 'LOST'}  {trial.fault}, {trial.case}: {line['seen']}", flush=True)
        new.append(line)
    return new
