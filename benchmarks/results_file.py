"""Figures on disk: each with its n, its spread, the machine, the commit, and the command that makes it again."""

import hashlib
import json
import os
import shlex
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from byol.runtime import device as machine
from byol.runtime.checkpoint import write_atomically

RESULTS = Path(__file__).parent / "results"
REPOSITORY = Path(__file__).parent.parent
PACKED_COMMIT = REPOSITORY / ".gpu" / "commit.json"
"""The commit and the digest of its sources, for a machine that has no repository."""


@dataclass(frozen=True)
class Row:
    """One figure: what was measured, and its value in each round."""

    group: str
    """The work, `resnet18-32` for example; a table may show one group alone."""
    name: str
    """What of it: `step alone`, or who did it."""
    unit: str
    """`images/s`, or `ratio`."""
    values: list[float]
    """One per round."""
    config: dict[str, Any] = field(default_factory=dict)
    """What was run."""
    goal: float | None = None
    """Least value wanted, if there is one; with `at_most` the largest."""
    at_most: bool = False
    """Whether less is better."""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def met(self) -> bool:
        """Whether the median reaches the goal; true where there is none."""
        if self.goal is None:
            return True
        return self.median <= self.goal if self.at_most else self.median >= self.goal

    def as_json(self) -> dict[str, Any]:
        values = [float(f"{value:.6g}") for value in self.values]
        return {
            "group": self.group,
            "name": self.name,
            "unit": self.unit,
            "n": len(values),
            "median": float(f"{self.median:.6g}"),
            "min": min(values),
            "max": max(values),
            "values": values,
            "goal": self.goal,
            "at_most": self.at_most,
            "config": self.config,
        }


def in_rounds(measures: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Measure A B C A B C ...: a machine that slows down or is shared for a while slows all of them."""
    values: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            values[name].append(measure())
    return values


def ratios(above: list[float], below: list[float]) -> list[float]:
    """The ratio of two measurements, round by round."""
    return [a / b for a, b in zip(above, below, strict=True)]


def show(row: Row) -> None:
    """A line on the terminal."""
    low, high = min(row.values), max(row.values)
    goal = "" if row.goal is None else f"  goal {row.goal:g}: {'met' if row.met else 'missed'}"
    digits = ".3f" if row.unit in ("ratio", "accuracy") else ",.1f"
    print(
        f"{row.group:14} {row.name:36} {row.median:{digits}} {row.unit}"
        f"  ({low:{digits}} to {high:{digits}}, n = {len(row.values)}){goal}",
        flush=True,
    )


def write(name: str, rows: list[Row], folder: Path = RESULTS, versions: Mapping[str, str] | None = None) -> Path:
    """Write NAME.json, whole or not at all; rows that were not measured again are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    origin = {"command": command(), "commit": STARTED_FROM, "machine": {**machine.describe(), **(versions or {})}}
    found = {} if not path.is_file() else {(r["group"], r["name"]): r for r in json.loads(path.read_text())["rows"]}
    found |= {(row.group, row.name): {**row.as_json(), **origin} for row in rows}
    groups = list(dict.fromkeys(group for group, _ in found))
    content = {"name": name, "rows": sorted(found.values(), key=lambda row: groups.index(row["group"]))}
    write_atomically(path, json.dumps(content, indent=1) + "\n")
    return path


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a `.jsonl` file, to which one is appended for each thing that was measured; none without it."""
    return [json.loads(text) for text in path.read_text().splitlines()] if path.is_file() else []


def command() -> str:
    """The command line, as it can be typed at the root of the repository; where files went does not matter."""
    script = Path(sys.argv[0])
    if script.is_absolute() and script.is_relative_to(REPOSITORY):
        script = script.relative_to(REPOSITORY)
    data = os.environ.get("BYOL_DATA")  # where images lie differs from machine to machine
    arguments = [argument.replace(data, "$BYOL_DATA") if data else argument for argument in sys.argv[1:]]
    for place in {"--out", "--runs", "--keep"} & set(arguments):
        at = arguments.index(place)
        del arguments[at : at + 2]
    return shlex.join(["python", str(script), *arguments])


def commit() -> str:
    """The commit that is checked out; `+ changes` where files differ from it.

    Outside a repository: what `gpu.py --pack` noted, as long as the sources are those of that time; else `unknown`.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "src", "benchmarks/*.py")
        return git("rev-parse", "--short=12", "HEAD") + (" + changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        noted = json.loads(PACKED_COMMIT.read_text()) if PACKED_COMMIT.is_file() else {}
        return str(noted.get("commit")) if noted.get("sources") == digest_of_sources() else "unknown"


def digest_of_sources() -> str:
    """16 hexadecimal digits of everything that is run: `src` and `benchmarks`."""
    digest = hashlib.sha256()
    for folder in ("src", "benchmarks"):
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            digest.update(f"{path.relative_to(REPOSITORY)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


STARTED_FROM = commit()
"""Taken when the program starts: a long measurement is of the code it loaded, whatever is edited while it runs."""
