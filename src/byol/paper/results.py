"""Results files, `TABLE-SCALE.jsonl`: one JSON object per line, append-only."""

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
"""Keys that a line must have, and the types of their values."""
NEEDED_OF_DATA = ("images", "test_images", "classes", "fingerprint")
NEEDED_OF_MACHINE = ("cpu", "gpu", "cores", "threads", "torch", "byol", "date")


@dataclass
class Lines:
    """The content of a results file."""

    path: Path
    found: list[dict[str, Any]] = field(default_factory=list)
    """Valid lines, in the order in which they were written."""
    corrupt: list[int] = field(default_factory=list)
    """Numbers of invalid lines, counted from 1."""

    def complaint(self) -> str:
        """A sentence about corrupt lines; empty if there are none."""
        if not self.corrupt:
            return ""
        several = len(self.corrupt) > 1
        numbers = ", ".join(map(str, self.corrupt))
        return (
            f"{self.path}: line{'s' if several else ''} {numbers} cannot be read and {'are' if several else 'is'} "
            f"skipped; the cell{'s run' if several else ' runs'} again. You can delete the corrupt "
            f"line{'s' if several else ''}."
        )


def results_file(folder: Path, table: str, scale: str) -> Path:
    """The results file of a table at a scale."""
    return folder / f"{table}-{scale}.jsonl"


def read_lines(path: Path) -> Lines:
    """All lines of a results file; no lines if it does not exist."""
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
    """Whether this is a valid line: it has all keys that are ever read."""
    return (
        isinstance(line, dict)
        and all(key in line and isinstance(line[key], kind) for key, kind in NEEDED.items())
        and all(key in line["data"] for key in NEEDED_OF_DATA)
        and all(key in line["machine"] for key in NEEDED_OF_MACHINE)
    )


def append_line(path: Path, line: Mapping[str, Any]) -> None:
    """Append one line in a single write; it is on the disk when this returns.

    If the last line is incomplete because a run was killed, a line break comes first, so that the new line stays
    intact. Processes that append at the same time wait for each other, where the system can lock files.

    Raises:
        UserError: the folder is not writable, or the disk is full.
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
    """Hold an exclusive lock on an open file; the system releases it if the process dies."""
    try:
        import fcntl
    except ImportError:  # Windows has no flock; appends are unlocked there
        yield
        return
    fcntl.flock(number, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        yield
    finally:
        fcntl.flock(number, fcntl.LOCK_UN)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Reserve a run's folder for this process.

    Raises:
        UserError: another process has reserved it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = folder.with_name(folder.name + ".lock")
    with path.open("ab") as file:
        try:
            with _locked(file.fileno(), wait=False):
                yield
        except BlockingIOError as error:
            raise UserError(
                f"{folder} is in use by another process; give each call its own --part, or wait."
            ) from error
    path.unlink(missing_ok=True)


def result_config(config: PretrainConfig) -> PretrainConfig:
    """The config with defaults for what does not change results: device, precision, data loading, logging, speed."""
    plain = PretrainConfig()
    apart = {"device": plain.device, "precision": plain.precision, "data": plain.data, "logging": plain.logging}
    return replace(
        config, **apart, optim__activation_checkpointing=False, optim__compile=False, optim__cuda_graph=False
    )


def measured_with(line: Mapping[str, Any]) -> PretrainConfig | None:
    """The `result_config` of a line. Settings that are newer than the line have their defaults.

    None if a setting of the line no longer exists or its value is no longer allowed.
    """
    return _read_config(json.dumps(line["config"]))


@cache
def _read_config(text: str) -> PretrainConfig | None:
    try:
        return result_config(from_json(PretrainConfig, json.loads(text)))
    except (UserError, TypeError, AttributeError):
        return None


def fits(line: Mapping[str, Any], config: PretrainConfig, evaluation: Mapping[str, Any], data: str | None) -> bool:
    """Whether a line is the result of the current settings; otherwise it is stale.

    Args:
        line: a line of a results file.
        config: the `result_config` of the cell, with the seed.
        evaluation: how the cell is evaluated, as JSON values; the line may have more keys.
        data: fingerprint of training and test images; None accepts any.
    """
    return (
        measured_with(line) == config
        and all(line["evaluation"].get(key) == value for key, value in evaluation.items())
        and (data is None or line["data"]["fingerprint"] == data)
    )


def latest(lines: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The last line; None if there are no lines."""
    last = None
    for line in lines:
        last = line
    return last
