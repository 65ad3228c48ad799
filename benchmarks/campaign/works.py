"""Stage 1, it works there: the tests marked `gpu`, on the device."""

import re
import subprocess
import sys

from byol.errors import UserError
from campaign.bare import REPOSITORY
from campaign.setting import Setting
from campaign.unit import Broken, Measured, Unit, not_installed
from results_file import Row

TESTS = "tests/test_gpu.py"


def units(setting: Setting) -> list[Unit]:
    """All tests at once: they take seconds, and most of these are the start."""
    return [
        Unit(stage="tests", what="marked gpu", seconds=180, work=run_tests, missing=not_installed("pytest")),
    ]


def run_tests() -> Measured:
    """Run them, and count."""
    command = [sys.executable, "-m", "pytest", TESTS, "-m", "gpu", "-p", "no:cacheprovider", "-rf"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    print(done.stdout + done.stderr, flush=True)
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped|error)", done.stdout)}
    if not counts:
        raise UserError(f"pytest ended with exit code {done.returncode} and ran no test; its messages are in the log.")
    rows = [
        Row("tests", word, "tests", [float(counts.get(word, 0))], goal=0.0 if bad else None, at_most=bad)
        for word, bad in (("passed", False), ("skipped", False), ("failed", True), ("error", True))
    ]
    said = ", ".join(f"{count} {word}" for word, count in counts.items())
    if done.returncode:
        names = re.findall(r"^FAILED \S+::(\S+)", done.stdout, re.MULTILINE)
        raise Broken(f"{said}: {', '.join(names)[:200]}", rows)
    return Measured(rows, said)
