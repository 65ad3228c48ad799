"""`byol bench`: how fast this machine trains, and how fast it could."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from byol.cli.parse import check_place, given
from byol.cli.settings import RunFlags, parse_run


@dataclass(frozen=True, kw_only=True)
class Bench(RunFlags):
    """How fast this machine trains beside how fast it could, and what holds it back.

    Takes the flags of `byol pretrain`, and measures the run that they would start, were there no budget.
    """

    images: Annotated[Positional[str | None], given("DATA", "bundled photographs, or synthetic ones")] = None
    """As for pretrain."""
    seconds: float = 60.0
    """Time to measure for, about; at least a few updates are always measured."""
    json: Annotated[str | None, given("FILE", "none")] = None
    """File for the figures, with config, machine and versions."""


def run(arguments: list[str]) -> int:
    """Measure, print, and write the file that was asked for; the exit code."""
    command, settings = parse_run(Bench, arguments, "bench", Bench.__doc__ or "")
    from byol.bench.run import bench
    from byol.bench.words import words
    from byol.runtime.checkpoint import write_atomically

    check_place(command.json)
    path = None if command.json is None else Path(command.json)
    report = bench(command.images, recipe=command.recipe, seconds=command.seconds, **settings)
    print("\n".join(words(report)))
    if path is not None:
        record = {**report.as_json(), "command": shlex.join(["byol", "bench", *arguments])}
        write_atomically(path, json.dumps(record, indent=1) + "\n")
        print(f"written to {path}")
    return 0
