"""A unit in a process of its own: it takes its GPU memory with it when it ends, and can be stopped."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from campaign.unit import Outcome, Unit

SCRIPT = Path(__file__).parent.parent / "gpu.py"
STOP_SECONDS = 20.0
"""Time in which a training that is asked to stop writes its checkpoint."""


@dataclass(frozen=True)
class ChildRunner:
    """Runs units by `gpu.py --unit NAME`.

    Args:
        options: of the call that matter to a unit.
        log: file to which the processes' messages are added.
        stop_seconds: from the request to stop to the end by force.
    """

    options: Sequence[str]
    log: Path
    stop_seconds: float = STOP_SECONDS

    def __call__(self, unit: Unit, seconds: float) -> Outcome:
        """Run a unit; it is asked to stop before the time is up, and ended when it is."""
        with tempfile.TemporaryDirectory() as folder, self.log.open("a") as log:
            report = Path(folder) / "report.json"
            command = [sys.executable, str(SCRIPT), "--unit", unit.name, "--report", str(report), *self.options]
            print(f"== {unit.name}", file=log, flush=True)
            # a group of its own: what the unit has started ends with it
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, process_group=0)
            stopped = not self._ends(process, seconds - self.stop_seconds)
            if report.is_file():
                return Outcome.from_json(json.loads(report.read_text()))
        if stopped:
            return Outcome("part" if unit.resumes else "late", f"stopped after {seconds:.0f} s")
        return Outcome("failed", f"ended with exit code {process.returncode}; see {self.log.name}")

    def _ends(self, process: subprocess.Popen[bytes], seconds: float) -> bool:
        """Wait for a process, and stop it when its time is up; whether it ended by itself."""
        try:
            process.wait(max(0.0, seconds))
            return True
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(self.stop_seconds)
            return False
        finally:
            _end_group(process)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and whatever it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
