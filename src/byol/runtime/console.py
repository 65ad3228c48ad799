"""Where a run's words go: the logger `byol` writes to the terminal and to log.txt, with a progress bar beneath.

Modules say things by `logging.getLogger(__name__).info(...)`; `extra={"style": "bold"}` is shown on the terminal.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

from byol.errors import visible

ROOT = logging.getLogger("byol")


class LastingConsole(Console):
    """A console whose reader may go away: `byol pretrain ... | tee log` goes on when tee is ended.

    rich ends the program then, by SystemExit.
    """

    def on_broken_pipe(self) -> None:
        """Say no more; what Python still flushes at its end goes nowhere, and fails nobody."""
        self.quiet = True
        with suppress(OSError, ValueError):  # a standard output that is no file
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)


class TerminalHandler(logging.Handler):
    """Prints messages in their style. A terminal that is gone is given up; the run is not."""

    def __init__(self, *, quiet: bool = False) -> None:
        super().__init__()
        self.console = LastingConsole(quiet=quiet, highlight=False, emoji=False, soft_wrap=True)

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message."""
        try:
            self.console.print(_printable(record), style=getattr(record, "style", None), markup=False)
        except OSError:
            self.console.quiet = True


class FileHandler(logging.FileHandler):
    """Appends messages to log.txt, each in full at once."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8")

    def format(self, record: logging.LogRecord) -> str:
        """The message alone."""
        return _printable(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (logging's own name)
        """Pass over what a full disk does not take: the run says so when it writes its numbers or its state."""

    def close(self) -> None:
        """Close the file; what it still held goes with a full disk."""
        with suppress(OSError):
            super().close()


def _printable(record: logging.LogRecord) -> str:
    return visible(record.getMessage().encode("utf-8", "backslashreplace").decode())  # file names need not be Unicode


def _whole(width: int) -> Column:
    """A column that keeps its width where the terminal is narrow."""
    return Column(no_wrap=True, min_width=width)


class ProgressBar:
    """What is done, the time left, and a few numbers; nothing where there is no terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    @property
    def shown(self) -> bool:
        """Whether there is a terminal that shows it."""
        return self._console.is_terminal and not self._console.quiet

    def start(self, total: int, done: int) -> None:
        """Show the bar."""
        self._progress = Progress(
            TextColumn("{task.completed}/{task.total}", table_column=_whole(9)),
            BarColumn(bar_width=None, table_column=Column(max_width=24)),
            TextColumn("{task.percentage:>3.0f}%", table_column=_whole(4)),
            TimeElapsedColumn(table_column=_whole(7)),
            TextColumn("left", table_column=_whole(4)),
            TimeRemainingColumn(table_column=_whole(7)),
            TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._progress.start()
        self._task = self._progress.add_task("", total=total, completed=done, note="")

    def advance(self, step: int, note: str | None = None) -> None:
        """Move the bar, and change the numbers beside it."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=step)
            if note is not None:
                self._progress.update(self._task, note=note)

    def stop(self) -> None:
        """Take the bar away."""
        if self._progress is not None:
            with suppress(OSError):  # of a terminal that is gone
                self._progress.stop()
            self._progress = None


@contextmanager
def words_to(folder: Path | None, *, quiet: bool = False) -> Iterator[ProgressBar]:
    """Send the messages of the logger `byol` to the terminal and to log.txt for the time of a `with`.

    Args:
        folder: of the run; None, as in processes that are not the first, says and writes nothing.
        quiet: write to log.txt alone.

    Yields:
        A progress bar on the same terminal.
    """
    terminal = TerminalHandler(quiet=quiet or folder is None)
    handlers: list[logging.Handler] = [terminal]
    if folder is not None:
        handlers.append(FileHandler(folder / "log.txt"))
    level = ROOT.level
    ROOT.setLevel(logging.INFO)
    for handler in handlers:
        ROOT.addHandler(handler)
    bar = ProgressBar(terminal.console)
    try:
        yield bar
    finally:
        bar.stop()
        for handler in handlers:
            ROOT.removeHandler(handler)
            handler.close()
        ROOT.setLevel(level)
