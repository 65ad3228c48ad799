"""Results on the disk: one JSON object a line, `TABLE-SCALE.jsonl`, only ever appended to."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from byol.config.run import PretrainConfig
from byol.config.values import from_json, replace
from byol.errors import UserError

NEEDED: dict[str, type | tuple[type, ...]] = {
    "cell": str,
    "seed": int,
    "config": dict,
    "evaluation": dict,
    "data": dict,
    "knn": (float, int, type(None)),
    "linear": (float, int, type(None)),
    "semi": (dict, type(None)),
    "verdict": str,
    "seconds": dict,
    "machine": dict,
}
"""What a line must have to be one."""
NEEDED_OF_DATA = ("images", "test_images", "classes", "fingerprint")
NEEDED_OF_MACHINE = ("cpu", "gpu", "cores", "threads", "torch", "byol", "date")


@dataclass
class Lines:
    """What a results file holds."""

    path: Path
    found: list[dict[str, Any]] = field(default_factory=list)
    """Whole lines, in the order in which they were written."""
    corrupt: list[int] = field(default_factory=list)
    """Numbers of lines that are none, counted from 1."""

    def complaint(self) -> str:
        """A sentence about corrupt lines; empty where there are none."""
        if not self.corrupt:
            return ""
        several = len(self.corrupt) > 1
        numbers = ", ".join(map(str, self.corrupt))
        return (
            f"{self.path}: line{'s' if several else ''} {numbers} cannot be read and {'are' if several else 'is'} "
            f"passed over; the cell{'s' if several else ''} will be run again, and what is corrupt can be deleted."
        )


def results_file(folder: Path, table: str, scale: str) -> Path:
    """Where the results of a table at a scale lie."""
    return folder / f"{table}-{scale}.jsonl"


def read_lines(path: Path) -> Lines:
    """All lines of a results file; none where it does not exist."""
    lines = Lines(path)
    if path.is_file():
        for number, text in enumerate(path.read_bytes().split(b"\n"), start=1):
            if not text.strip():
                continue
            try:
                line = json.loads(text)
            except ValueError:
                line = None
            if _whole(line):
                lines.found.append(line)
            else:
                lines.corrupt.append(number)
    return lines


def _whole(line: object) -> bool:
    """Whether this is a line of results, with all that is read of one."""
    return (
        isinstance(line, dict)
        and all(key in line and isinstance(line[key], kind) for key, kind in NEEDED.items())
        and all(key in line["data"] for key in NEEDED_OF_DATA)
        and all(key in line["machine"] for key in NEEDED_OF_MACHINE)
    )


def append_line(path: Path, line: Mapping[str, Any]) -> None:
    """Append one line, whole: in one write to the end of the file, on the disk when this returns.

    A torn last line of a run that was killed is closed first, so that it cannot swallow this one. Processes that
    append at once wait for each other where the system can lock files.

    Raises:
        UserError: the folder is not writable, or the disk full.
    """
    text = (json.dumps(line, allow_nan=False) + "\n").encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file, _locked(file.fileno()):
            size = file.seek(0, os.SEEK_END)
            if size:
                file.seek(size - 1)
                if file.read(1) != b"\n":
                    text = b"\n" + text
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror}. Free the disk or give another --results.") from error


@contextmanager
def _locked(number: int, *, wait: bool = True) -> Iterator[None]:
    """Nobody else has an open file while this lasts; the system takes the lock back when a process dies."""
    try:
        import fcntl
    except ImportError:  # Windows: appending to the end is all there is
        yield
        return
    fcntl.flock(number, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        yield
    finally:
        fcntl.flock(number, fcntl.LOCK_UN)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """A run's folder for one process at a time.

    Raises:
        UserError: another process has it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = folder.with_name(folder.name + ".lock")
    with path.open("ab") as file:
        try:
            with _locked(file.fileno(), wait=False):
                yield
        except BlockingIOError as error:
            raise UserError(
                f"{folder} is being worked on by another process; give each call a --part of its own, or wait."
            ) from error
    path.unlink(missing_ok=True)


def result_config(config: PretrainConfig) -> PretrainConfig:
    """A config without what changes no result: where and how an update is computed, and how a run is watched."""
    plain = PretrainConfig()
    apart = {"device": plain.device, "precision": plain.precision, "data": plain.data, "logging": plain.logging}
    return replace(
        config, **apart, optim__activation_checkpointing=False, optim__compile=False, optim__cuda_graph=False
    )


def measured_with(line: Mapping[str, Any]) -> PretrainConfig | None:
    """Essence of the config that a line was measured with: settings that came later take their default.

    None where a setting is no longer there, or no longer allowed.
    """
    return _read_config(json.dumps(line["config"]))


@cache
def _read_config(text: str) -> PretrainConfig | None:
    try:
        return result_config(from_json(PretrainConfig, json.loads(text)))
    except (UserError, TypeError, AttributeError):
        return None


def fits(line: Mapping[str, Any], config: PretrainConfig, evaluation: Mapping[str, Any], data: str | None) -> bool:
    """Whether a line is what would be measured now; a line that is not is stale.

    Args:
        line: of a results file.
        config: essence of the cell's, with the seed.
        evaluation: how the cell is evaluated, as JSON values; more in the line does no harm.
        data: fingerprint of training and test images; None where it does not matter.
    """
    return (
        measured_with(line) == config
        and all(line["evaluation"].get(key) == value for key, value in evaluation.items())
        and (data is None or line["data"]["fingerprint"] == data)
    )


def latest(lines: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The last of some lines."""
    last = None
    for line in lines:
        last = line
    return last
