"""A unit: the smallest piece of the campaign that is run, recorded, and not run again."""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal

from byol.errors import UserError
from results_file import Row

State = Literal["done", "part", "late", "failed", "unavailable"]
"""How a unit ended: with all its rows; with a training to go on with; cut off by the time; by an error; not at all,
since something that it needs is missing."""


class Unavailable(Exception):  # noqa: N818  (it is no error)
    """What a unit needs is not here; the message says in one sentence what is missing."""


class Unfinished(Exception):  # noqa: N818  (it is no error)
    """A training was stopped in time and goes on in the next call; its rows hold what is known so far."""

    def __init__(self, said: str, rows: Sequence[Row] = ()) -> None:
        super().__init__(said)
        self.rows = list(rows)


class Broken(Exception):  # noqa: N818
    """What was measured is wrong, as rows show."""

    def __init__(self, said: str, rows: Sequence[Row]) -> None:
        super().__init__(said)
        self.rows = list(rows)


@dataclass(frozen=True)
class Measured:
    """What a unit found."""

    rows: list[Row]
    said: str
    """The main figures, in a few words."""


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One piece of work."""

    stage: str
    what: str
    """Unique in its stage."""
    seconds: float
    """About how long it takes: it is started only where so much time is left."""
    work: Callable[[], Measured]
    resumes: bool = False
    """Whether it is a training that can be stopped at any time and goes on in the next call."""
    missing: str = ""
    """What it needs and is not here, in one sentence; empty if it can run."""

    @property
    def name(self) -> str:
        return f"{self.stage}: {self.what}"


@dataclass(frozen=True)
class Outcome:
    """How a unit ended."""

    state: State
    said: str
    rows: list[Row] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Plain values, for the process that started the one that measured."""
        return {"state": self.state, "said": self.said, "rows": [vars(row) for row in self.rows]}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Outcome":
        return cls(content["state"], content["said"], [Row(**row) for row in content["rows"]])


def attempt(unit: Unit) -> Outcome:
    """Do the work of a unit here; whatever goes wrong becomes a sentence, so that the other units go on."""
    if unit.missing:
        return Outcome("unavailable", unit.missing)
    try:
        measured = unit.work()
    except Unavailable as error:
        return Outcome("unavailable", str(error))
    except Unfinished as error:
        return Outcome("part", str(error), error.rows)
    except Broken as error:
        return Outcome("failed", str(error), error.rows)
    except (UserError, SystemExit) as error:
        return Outcome("failed", str(error))
    except Exception as error:  # a bug, a full memory: the trace goes to the log, a sentence into the record
        traceback.print_exc()
        return Outcome("failed", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
    return Outcome("done", measured.said, measured.rows)


def not_installed(*modules: str) -> str:
    """A sentence about modules that cannot be imported here; empty if all can."""
    absent = [name for name in modules if find_spec(name) is None]
    return f"not available: {' and '.join(absent)} {'is' if len(absent) == 1 else 'are'} not installed" * bool(absent)
