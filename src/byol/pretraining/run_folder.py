"""What a run leaves on the disk, and how to come back to it.

config.json, metrics.jsonl, log.txt, checkpoints/, bad_images.txt, encoder.safetensors, encoder.json, verdict.json,
pictures.json, report.html.
"""

import itertools
import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from byol.config.documents import read_document
from byol.config.run import PretrainConfig
from byol.config.values import from_json, to_json
from byol.data.labeling import FOLDERS
from byol.data.sources.open import Source
from byol.data.sources.remote import is_remote
from byol.errors import UserError, visible
from byol.runtime import distributed
from byol.runtime.checkpoint import naming, write_atomically


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run."""

    path: Path

    @property
    def config(self) -> Path:
        """Settings, data and machine."""
        return self.path / "config.json"

    @property
    def metrics(self) -> Path:
        """One JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """The last two checkpoints."""
        return self.path / "checkpoints"

    @property
    def bad_images(self) -> Path:
        """A line for each image that could not be read: where it is, a tab, why."""
        return self.path / "bad_images.txt"

    @property
    def verdict(self) -> Path:
        """The words of the verdict, as JSON; of a run that has ended."""
        return self.path / "verdict.json"

    @property
    def pictures(self) -> Path:
        """The pictures of the page, as JSON."""
        return self.path / "pictures.json"

    @property
    def page(self) -> Path:
        """The run's page."""
        return self.path / "report.html"

    @property
    def written(self) -> tuple[Path, ...]:
        """What is written from the first moment on."""
        return self.metrics, self.bad_images, self.path / "log.txt"

    @property
    def lock(self) -> Path:
        """Held by the process that trains here."""
        return self.path / ".lock"

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Be the only process that trains here, for the time of a `with`; the system ends this when the process dies.

        Raises:
            UserError: another process is.
        """
        lock = FileLock(self.lock, timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise UserError(
                f"Another process trains in {self.path}; wait until it has ended, or choose another --out."
            ) from error
        except (NotImplementedError, OSError):  # a file system without locks, or that cannot be written to
            yield
            return
        try:
            yield
        finally:
            lock.release()

    def discard(self) -> None:
        """Remove what a run that never began has written, and the folder if nothing else is in it."""
        for file in (*self.written, self.lock):
            file.unlink(missing_ok=True)
        for folder in (self.checkpoints, self.path):
            with suppress(OSError):  # not empty: somebody else's files
                folder.rmdir()


DRAWS = 2
"""How the numbers of augmentations are drawn: operation by operation since 2. A run goes on by what it began with."""


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """What a run was started with: enough to go on with it, or to make it again."""

    config: PretrainConfig
    """Every setting, `auto` resolved."""
    recipe: str
    data: str
    monitor: str | None
    images: int
    """Images that are trained on."""
    fingerprint: str
    """Of the images that are trained on: a resumed run must find the same ones."""
    monitor_fingerprint: str | None = None
    """Of the images of `monitor`, or its readings could not be compared; None of a run that did not note it."""
    content: str | None = None
    """Of what the images that are trained on hold (`content_digest`); None of a run that did not note it."""
    monitor_content: str | None = None
    labels: str | None = None
    """The CSV file of labels, where one was given."""
    groups: str | None = None
    """The CSV file of groups, or "folders"."""
    unlabeled: bool = False
    """Whether the data's own labels are none."""
    recipe_config: dict[str, Any] | None = None
    """What the recipe decided, as JSON, before the user's settings and the machine changed it; None of a run that did
    not note it."""
    threads: int | None = None
    """Threads of PyTorch, where the machine was busy and not all of them were chosen: as many go on with the run."""


NOTES = tuple(note for note in fields(RunPlan) if note.name != "config")
"""What stands beside the settings in config.json."""


def new_run_folder(out: str | Path | None, data: str) -> RunFolder:
    """Make an empty run folder; without `out`, `runs/NAME`, `runs/NAME-2`, ... after the data.

    Raises:
        UserError: the folder holds a run already, or cannot be made.
    """
    if out is None:
        name = re.sub(r"[^A-Za-z0-9]+", "-", Path(data).stem).strip("-").lower() or "run"
        path = _first_free(name)
    else:
        path = Path(out).expanduser()
    folder = RunFolder(path)
    _refuse_used(folder)
    try:
        folder.checkpoints.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot make the folder {path}: {error.strerror}. Choose another --out.") from error
    return folder


def clear_for_start(folder: RunFolder) -> None:
    """Take away what a run has left here that was killed before it began; called by the folder's owner.

    Raises:
        UserError: another process has begun a run here in the meantime.
    """
    _refuse_used(folder)
    for file in folder.written:
        file.unlink(missing_ok=True)


def _refuse_used(folder: RunFolder) -> None:
    path = folder.path
    if folder.config.exists():
        raise UserError(
            f"{path} holds a run already; go on with it by --resume {shlex.quote(str(path))}, or choose another --out."
        )
    there = [file.name for file in folder.written if file.exists()]
    if there and not folder.lock.exists():  # with a lock they are of a run that was killed before it began
        raise UserError(f"{path} holds {' and '.join(there)} of something else; choose another --out.")


def _first_free(name: str) -> Path:
    """Make `runs/NAME`, or the first of `runs/NAME-2`, ... that is not there yet; processes never make the same one."""
    for number in itertools.count(1):
        path = Path("runs") / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(f"Cannot make the folder {path}: {error.strerror}. Choose another --out.") from error
        return path
    raise AssertionError("numbers do not end")


def save_plan(folder: RunFolder, plan: RunPlan, machine: dict[str, object]) -> None:
    """Write config.json."""
    content = {
        **{note.name: getattr(plan, note.name) for note in NOTES},
        "draws": DRAWS,
        "config": to_json(plan.config),
        "machine": machine,
    }
    write_atomically(folder.config, json.dumps(content, indent=2) + "\n")


def change_plan(folder: RunFolder, changes: dict[str, str]) -> None:
    """Write config.json anew with some of its values changed; nothing where none are."""
    if changes:
        write_atomically(
            folder.config, json.dumps({**json.loads(folder.config.read_text()), **changes}, indent=2) + "\n"
        )


def load_plan(path: str | Path) -> tuple[RunFolder, RunPlan]:
    """Read the config.json of a run.

    Raises:
        UserError: the folder holds no run, or its config.json was changed into something else.
    """
    folder = RunFolder(Path(path).expanduser())
    if not folder.config.is_file():
        raise UserError(f"{folder.path} holds no run (there is no config.json in it); give the folder of a run.")
    try:
        content: dict[str, Any] = json.loads(read_document(folder.config))
        # what has a default was not noted by every version
        known = {note.name: content[note.name] for note in NOTES if note.default is MISSING or note.name in content}
        if content.get("draws") != DRAWS:
            raise UserError(
                f"The run in {folder.path} was started by an older version, whose augmentations drew other numbers; "
                "start a new run."
            )
        return folder, RunPlan(config=from_json(PretrainConfig, content["config"]), **known)
    except UserError:
        raise
    except (OSError, ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
        raise UserError(f"{folder.config} is not what a run writes ({error}); restore it from a copy.") from error


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


class BadImages:
    """The list of images that could not be read; the file appears with the first one."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known = set(_lines(path)) if path is not None and path.exists() else set[str]()

    def __len__(self) -> int:
        return len(self._known)

    def add(self, line: str) -> None:
        """Note one image, once; called from decoding threads."""
        line = visible(line).replace("\n", "\\n")  # whatever a file's name holds, it is one line
        if line in self._known:
            return
        self._known.add(line)
        if self._path is not None:
            with naming(self._path), self._path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(line + "\n")

    def share(self) -> None:
        """Add what the other processes have met; all of them must call this at the same step."""
        for line in distributed.gather_lines(self._known):
            self.add(line)


def stored_places(places: Mapping[str, str | Path | Source | None]) -> dict[str, str]:
    """Places of images, labels and groups as config.json keeps them, by role; sources given as objects have none."""
    named = {role: str(place) for role, place in places.items() if isinstance(place, str | Path)}
    return {role: at if (role, at) == ("groups", FOLDERS) else absolute(at) for role, at in named.items()}


def absolute(name: str) -> str:
    """A path or a pattern that also holds from another working directory; URLs and names of known data sets pass."""
    if is_remote(name):
        return name
    path = Path(name).expanduser()
    if any(sign in name for sign in "*?[") and not path.exists():
        return os.path.abspath(path)  # noqa: PTH100  (no part of a pattern need exist)
    return str(path.resolve()) if path.exists() else name
