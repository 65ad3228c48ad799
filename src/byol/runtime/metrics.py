"""Where a run's words and numbers go: the terminal, log.txt, metrics.jsonl, TensorBoard, Weights & Biases."""

import json
import math
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from byol.config.run import LoggingConfig
from byol.errors import UserError
from byol.runtime.checkpoint import write_atomically


class RunLog:
    """The voice of one run. In a process that is not the first, it says and writes nothing."""

    def __init__(self, folder: Path | None, watch: LoggingConfig, *, quiet: bool = False, name: str = "") -> None:
        self.folder = folder
        self.console = Console(quiet=quiet or folder is None, highlight=False, emoji=False, soft_wrap=True)
        self._metrics: TextIO | None = None
        self._text: TextIO | None = None
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._tensorboard: Any = _tensorboard(folder) if watch.tensorboard and folder else None
        self._wandb: Any = _wandb(name, folder) if watch.wandb and folder else None
        if folder is not None:
            self._metrics = (folder / "metrics.jsonl").open("a")
            self._text = (folder / "log.txt").open("a", encoding="utf-8")

    def say(self, text: str, style: str = "") -> None:
        """Tell the user, and log.txt."""
        text = text.encode("utf-8", "backslashreplace").decode()  # file names need not be Unicode
        if self._text is not None:
            self._text.write(text + "\n")
            self._text.flush()
        try:
            self.console.print(text, style=style or None, markup=False)
        except OSError:  # the terminal is gone; the run is not
            self.console.quiet = True

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Write one line of metrics.jsonl; numbers that are none become null."""
        if self._metrics is None:
            return
        clean = {k: (v if math.isfinite(v) else None) for k, v in values.items()}
        self._metrics.write(json.dumps({"step": step, **clean}) + "\n")
        self._metrics.flush()
        if self._tensorboard is not None:
            for key, value in values.items():
                self._tensorboard.add_scalar(key, value, step)
        if self._wandb is not None:
            self._wandb.log(values, step=step)

    def start_progress(self, total: int, done: int) -> None:
        """Show a bar with what is done, the time left, and a few numbers."""
        self._progress = Progress(
            TextColumn("{task.completed}/{task.total}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._progress.start()
        self._task = self._progress.add_task("", total=total, completed=done, note="")

    def advance(self, step: int, note: str | None = None) -> None:
        """Move the bar."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=step)
            if note is not None:
                self._progress.update(self._task, note=note)

    def stop_progress(self) -> None:
        """Take the bar away."""
        if self._progress is not None:
            with suppress(OSError):  # of a terminal that is gone
                self._progress.stop()
            self._progress = None

    def close(self) -> None:
        """Close the files."""
        self.stop_progress()
        for file in (self._metrics, self._text):
            if file is not None:
                file.close()
        if self._tensorboard is not None:
            self._tensorboard.close()
        if self._wandb is not None:
            self._wandb.finish()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl; a half-written last line is passed over."""
    lines: list[dict[str, Any]] = []
    if path.is_file():
        for line in path.read_text().splitlines():
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError:
                continue
    return lines


def cut_metrics(path: Path, last_step: int) -> None:
    """Drop the lines after a step, which a resumed run will write again."""
    lines = [line for line in read_metrics(path) if line["step"] <= last_step]
    write_atomically(path, "".join(json.dumps(line) + "\n" for line in lines))


def _tensorboard(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError("TensorBoard is not installed; run: pip install 'byol[tensorboard]'.") from error
    return SummaryWriter(str(folder / "tensorboard"))


def _wandb(name: str, folder: Path) -> Any:
    try:
        import wandb
    except ImportError as error:
        raise UserError("Weights & Biases is not installed; run: pip install 'byol[wandb]'.") from error
    identity = folder / "wandb.txt"  # a resumed run goes on with its own page
    if not identity.is_file():
        write_atomically(identity, secrets.token_hex(4))
    return wandb.init(project="byol", name=name, dir=str(folder), resume="allow", id=identity.read_text())
