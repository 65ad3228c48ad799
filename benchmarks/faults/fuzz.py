"""Fuzzing: arbitrary bytes, led on by coverage (atheris), for ten minutes to each reader that is our own.

Ours are those that take bytes apart themselves; what Pillow, tifffile or pyarrow read is theirs. Needs `pip install
atheris`; where it is missing nothing is tried.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from faults.fuzzed import readers
from faults.trial import Trial, require

SECONDS = 600


def trials(count: int, seed: int = 0) -> Iterator[Trial]:
    """A trial for each reader."""
    if find_spec("atheris") is None:
        print("fuzzing needs atheris, which is not installed; run: pip install atheris")
        return
    for name in readers():
        yield Trial("arbitrary bytes, led by coverage", name, lambda f, n=name: fuzzed(f, n))


def fuzzed(folder: Path, name: str, seconds: int = SECONDS) -> str:
    """No other error than a sentence, in so many seconds."""
    script = Path(__file__).with_name("fuzzed.py")
    place = folder / "inputs"
    place.mkdir()
    done = subprocess.run(
        [sys.executable, str(script), name, str(place), str(seconds)],
        env=os.environ | {"TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=seconds + 300,
    )
    require(done.returncode == 0, (done.stdout + done.stderr)[-1200:])
    ran = re.search(r"Done (\d+) runs", done.stderr)
    reached = re.findall(r"cov: (\d+)", done.stderr)
    require(ran is not None and bool(reached), done.stderr[-600:])
    assert ran is not None
    return f"{int(ran[1]):,} inputs in {seconds} s, {reached[-1]} branches seen"
