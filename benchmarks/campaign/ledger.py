"""What the campaign has done: `campaign.json` says how each unit ended, `gpu.json` holds the figures.

Both are written after each unit, whole or not at all, so that a call that is cut off leaves what it has finished. They
are all that a later call needs, on this machine or another.
"""

import json
import shutil
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from byol.runtime.checkpoint import write_atomically
from campaign.unit import Outcome, Unit
from results_file import write

RECORD = "campaign.json"
FIGURES = "gpu"
"""Name of the results file."""
AGAIN = 1.5
"""Factor from the time after which a unit was cut off to the time that it is given next."""
PEERS = ("lightly", "byol-pytorch")


class Ledger:
    """The record of a folder.

    Args:
        folder: of the results.
        copy: a second place, which the next call on this machine finds even if the first was taken away; or None.
    """

    def __init__(self, folder: Path, copy: Path | None = None) -> None:
        self.folder, self.copy, self.path = folder, copy, folder / RECORD
        folder.mkdir(parents=True, exist_ok=True)
        self.units: dict[str, dict[str, Any]] = json.loads(self.path.read_text()) if self.path.is_file() else {}

    def state(self, unit: Unit) -> str:
        """How a unit ended; empty if it was never tried."""
        return str(self.units.get(unit.name, {}).get("state", ""))

    def said(self, unit: Unit) -> str:
        """The unit's figures, or what went wrong."""
        return str(self.units.get(unit.name, {}).get("said", ""))

    def spent(self, unit: Unit) -> float:
        """Seconds that went into a unit, in all calls."""
        return float(self.units.get(unit.name, {}).get("seconds", 0.0))

    def estimate(self, unit: Unit) -> float:
        """Seconds that a unit will take, about; more than planned if that was too little before."""
        if self.state(unit) == "late":
            return max(unit.seconds, AGAIN * float(self.units[unit.name]["last_seconds"]))
        return unit.seconds

    def record(self, unit: Unit, outcome: Outcome, seconds: float) -> None:
        """Keep how a unit ended, its figures first: a unit that counts as done has them."""
        if outcome.rows:
            write(FIGURES, outcome.rows, self.folder, _peer_versions())
        self.units[unit.name] = {
            "state": outcome.state,
            "said": outcome.said,
            "seconds": round(self.spent(unit) + seconds, 1),
            "last_seconds": round(seconds, 1),
        }
        write_atomically(self.path, json.dumps(self.units, indent=1) + "\n")
        if self.copy is not None:
            shutil.copytree(self.folder, self.copy, dirs_exist_ok=True)

    def forget(self, units: Iterable[Unit]) -> None:
        """Have units run again; their figures stay until there are new ones."""
        for unit in units:
            self.units.pop(unit.name, None)


def restore(places: Iterable[Path], folder: Path) -> None:
    """Copy the fullest results of earlier calls to where this one writes, unless there are some already."""
    found = [place for place in places if (place / RECORD).is_file()]
    if found and not (folder / RECORD).is_file():
        shutil.copytree(max(found, key=_done), folder, dirs_exist_ok=True)


def _done(folder: Path) -> int:
    return sum(unit["state"] == "done" for unit in json.loads((folder / RECORD).read_text()).values())


def _peer_versions() -> dict[str, str]:
    found = {}
    for peer in PEERS:
        try:
            found[peer] = version(peer)
        except PackageNotFoundError:
            continue
    return found
