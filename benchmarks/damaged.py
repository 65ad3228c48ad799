"""Thousands of damaged files of every format: none ends a run or holds it up, and each is counted and listed.

    python benchmarks/damaged.py                   # 10,000 files; some minutes on two cores

A tenth of the files is whole. Of the others random bytes are changed, the end is cut off, or the suffix is that of
another format. Processes of their own read them, a folder after the other, as a run does; what a process does not
survive is counted, and its folder is read again without the file. Writes benchmarks/results/damaged.json.
"""

import argparse
import faulthandler
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from byol.data.sources.open import open_source
from byol.errors import BadImage, UserError
from results_file import RESULTS, Row, show, write

FILES = 10_000
COLLECTIONS = 0.2
"""Share of the files that hold many images, each of which is opened by itself."""
PER_FOLDER = 500
SECONDS = 60
"""That a file may take, or a folder to open; what takes longer hangs."""
MEBIBYTES = 1536
"""That a process may take beyond what it had before: an image of 178 million pixels in color takes 512."""
LEFT_OUT = re.compile(r"(\d+) of \d+ files hold no image")


@dataclass
class Outcome:
    """What became of some files."""

    read: int = 0
    listed: int = 0
    """Files that are listed as unreadable, or are told to hold no image, or are refused in a sentence."""
    lost: int = 0
    """Files that nothing was said about."""
    crashes: list[str] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    """Files that raised what is neither `BadImage` nor `UserError`."""
    mebibytes: list[float] = field(default_factory=list)
    """The peak of each process, beyond what it had before."""
    slowest: list[float] = field(default_factory=list)
    """Seconds of the slowest file of each process."""


def main(arguments: list[str] | None = None) -> list[Row]:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=FILES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results file")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)  # what a process of its own is asked
    parser.add_argument("--each", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.read is not None:
        read_here(options.read, options.each)
        return []
    from damaged_files import collections, images, write_damaged

    outcome, began = Outcome(), time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        of_many = round(COLLECTIONS * options.files)
        for kind, count, makers in (("images", options.files - of_many, images()), ("many", of_many, collections())):
            for number, start in enumerate(range(0, count, PER_FOLDER)):
                folder = Path(name) / f"{kind}-{number}"
                write_damaged(folder, min(PER_FOLDER, count - start), options.seed * 1000 + number, makers)
                read_apart(folder, kind == "many", outcome)
    rows = as_rows(outcome, options.files, time.perf_counter() - began)
    for row in rows:
        show(row)
    for word, names in (("crashed", outcome.crashes), ("hung", outcome.hangs), ("raised", outcome.errors)):
        for name in names:
            print(f"{word}: {name}")
    print(f"written to {write('damaged', rows, options.out)}")
    return rows


def as_rows(outcome: Outcome, files: int, seconds: float) -> list[Row]:
    """The figures, each with what it may be."""
    about = {"files": files, "read": outcome.read, "listed": outcome.listed, "seconds": round(seconds)}
    counts = {
        "files that ended the process": len(outcome.crashes),
        f"files that took over {SECONDS} s": len(outcome.hangs),
        "files with another error than a sentence": len(outcome.errors),
        "files that are neither read nor listed": outcome.lost,
    }
    rows = [Row("damaged", name, "files", [float(value)], about, 0.0, True) for name, value in counts.items()]
    rows.append(Row("damaged", "peak memory of a process", "MiB", outcome.mebibytes, about, MEBIBYTES, True))
    rows.append(Row("damaged", "slowest file of a process", "s", outcome.slowest, about, SECONDS, True))
    return rows


def read_apart(folder: Path, each: bool, outcome: Outcome) -> None:
    """Read a folder in a process of its own, again without a file that ends it."""
    while True:
        command = [sys.executable, __file__, "--read", str(folder), *(["--each"] if each else [])]
        home = {**os.environ, "BYOL_HOME": str(folder.parent / "home")}
        done = subprocess.run(command, capture_output=True, text=True, env=home)
        if done.returncode == 0:
            found = json.loads(done.stdout.splitlines()[-1])
            for name in ("read", "listed", "lost", "errors", "mebibytes", "slowest"):
                setattr(outcome, name, getattr(outcome, name) + found[name])
            return
        last = done.stdout.splitlines()[-1:] or ["before the first file"]
        hung = "Timeout (" in done.stderr
        why = done.stderr.strip().splitlines()[0] if done.stderr.strip() else f"exit code {done.returncode}"
        (outcome.hangs if hung else outcome.crashes).append(f"{last[0]} ({why})")
        file = folder / last[0]
        if not file.is_file():
            return
        file.unlink()


def read_here(folder: Path, each: bool) -> None:
    """Read all files of a folder, as a folder or each by itself; the last line printed says what came of it."""
    warnings.simplefilter("ignore")
    faulthandler.enable()
    before = _memory("VmRSS")
    found: dict[str, Any] = {"errors": [], "slowest": [0.0]}
    states: Counter[str] = Counter()
    files = sorted(folder.iterdir())
    if each:
        for file in files:
            _watch(file.name)
            states[_opened_by_itself(file, found)] += 1
    else:
        _read_folder(folder, found, states)
    faulthandler.cancel_dump_traceback_later()
    peak = (_memory("VmHWM") - before) / 1024
    lost = len(files) - states.total()
    print(json.dumps({**found, "read": states["read"], "listed": states["listed"], "lost": lost, "mebibytes": [peak]}))


def _memory(name: str) -> int:
    """KiB that the process takes (`VmRSS`), or took at most (`VmHWM`)."""
    said = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert said is not None, "Linux says so"
    return int(said[1])


def _watch(name: str) -> None:
    """Note what is read now, and end the process if it takes too long."""
    print(name, flush=True)
    faulthandler.dump_traceback_later(SECONDS, exit=True)


def _read_folder(folder: Path, found: dict[str, Any], states: Counter[str]) -> None:
    """Every image of a folder; a file counts as read if one of its images is."""
    _watch("opening the folder")
    source = open_source(folder, 3)
    said = LEFT_OUT.search(source.remark)
    of_file: dict[str, str] = {}
    for index in range(len(source)):
        name = source.where(index).removeprefix(f"{folder}{os.sep}").split(" ")[0]
        _watch(name)
        began = time.perf_counter()
        try:
            source.image(index)
            of_file[name] = "read"
        except BadImage:
            of_file.setdefault(name, "listed")
        except Exception as error:
            found["errors"].append(f"{name}: {error!r}")
            of_file.setdefault(name, "error")
        found["slowest"][0] = max(found["slowest"][0], time.perf_counter() - began)
    states.update(of_file.values())
    states["listed"] += int(said[1]) if said else 0


def _opened_by_itself(file: Path, found: dict[str, Any]) -> str:
    began = time.perf_counter()
    state = "read"
    try:
        source = open_source(file, 3)
        for index in range(len(source)):
            try:
                source.image(index)
            except BadImage:
                state = "listed"
    except UserError as error:
        state = "listed"
        if "\n" in str(error):
            found["errors"].append(f"{file.name}: {error!r}")
    except Exception as error:
        found["errors"].append(f"{file.name}: {error!r}")
        state = "error"
    found["slowest"][0] = max(found["slowest"][0], time.perf_counter() - began)
    return state


if __name__ == "__main__":
    main()
