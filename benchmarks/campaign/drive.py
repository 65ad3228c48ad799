"""Run the units that have no result yet, in order, within the time."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from campaign.ledger import Ledger
from campaign.unit import Outcome, Unit, attempt

LEAST_SECONDS = 60.0
"""Time for which a training is still started, or gone on with."""
RESERVE_SECONDS = 15.0
"""Time that is kept for what is printed at the end."""

RunUnit = Callable[[Unit, float], Outcome]
"""Runs a unit within so many seconds."""


def in_this_process(unit: Unit, seconds: float) -> Outcome:
    """Run a unit here, however long it takes: for tiny work, which a process of its own would outweigh."""
    return attempt(unit)


@dataclass
class Campaign:
    """A call of the campaign."""

    units: Sequence[Unit]
    """In order of worth."""
    ledger: Ledger
    seconds: float
    """That the call may take."""
    run_unit: RunUnit
    clock: Callable[[], float] = time.monotonic
    least_seconds: float = LEAST_SECONDS

    def __post_init__(self) -> None:
        self.began = self.clock()

    def left(self) -> float:
        """Seconds until the time is up."""
        return self.began + self.seconds - RESERVE_SECONDS - self.clock()

    def waiting(self) -> list[Unit]:
        """Units without a result: those that failed come last, or the first of them would cost every call its time."""
        missing = [unit for unit in self.units if self.ledger.state(unit) != "done"]
        return sorted(missing, key=lambda unit: self.ledger.state(unit) == "failed")

    def needed(self, unit: Unit) -> float:
        """Seconds that must be left for a unit to be started."""
        if unit.missing:
            return 0.0
        return min(self.least_seconds, unit.seconds) if unit.resumes else self.ledger.estimate(unit)

    def go(self) -> None:
        """Run what fits; a unit that does not fit is passed over, since a shorter one may."""
        for unit in self.waiting():
            if self.needed(unit) > self.left():
                continue
            began = self.clock()
            outcome = attempt(unit) if unit.missing else self.run_unit(unit, self.left())
            self.ledger.record(unit, outcome, self.clock() - began)
            print(line(unit, self.ledger), flush=True)


def line(unit: Unit, ledger: Ledger) -> str:
    """How a unit stands, on one line."""
    state = ledger.state(unit) or ("unavailable" if unit.missing else "to do")
    seconds = ledger.spent(unit) if ledger.state(unit) or unit.missing else unit.seconds
    return f"{state:11} {seconds:4.0f} s  {unit.name}  {ledger.said(unit) or unit.missing}".rstrip()


def summary(units: Sequence[Unit], ledger: Ledger) -> list[str]:
    """The table at the end: how each unit that was tried stands, its figures, and what remains by stage."""
    tried = [unit for unit in units if ledger.state(unit) or unit.missing]
    remaining = [unit for unit in units if ledger.state(unit) != "done" and not unit.missing]
    lines = [line(unit, ledger) for unit in tried]
    for stage in dict.fromkeys(unit.stage for unit in remaining):
        seconds = [ledger.estimate(unit) for unit in remaining if unit.stage == stage]
        lines.append(f"to do       {stage}: {len(seconds)} units, about {sum(seconds) / 60:.0f} minutes")
    done = sum(ledger.state(unit) == "done" for unit in units)
    return [*lines, f"{done} of {len(units)} units are done, {len(remaining)} remain"]
