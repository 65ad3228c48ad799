"""The progress of an evaluation as bars on the terminal."""

import sys
from types import TracebackType

import rich.progress
from rich.console import Console

from byol.evals.evaluation import Progress


class Bars(Progress):
    """One bar for each piece of work, on a terminal only; remembers the images that could not be read."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bars = rich.progress.Progress(transient=True, disable=not sys.stderr.isatty(), console=console)
        self._tasks: dict[str, rich.progress.TaskID] = {}
        self._unreadable: dict[str, tuple[int, int]] = {}

    def __enter__(self) -> "Bars":
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=total)
        self._bars.update(self._tasks[what], completed=done, total=total)

    def unreadable(self, name: str, count: int, total: int) -> None:
        self._unreadable[name] = count, total

    def warnings(self) -> list[str]:
        """A sentence for each source with images that could not be read."""
        return [
            f"{count} of {total} images of {name} could not be read and were skipped."
            for name, (count, total) in self._unreadable.items()
        ]
