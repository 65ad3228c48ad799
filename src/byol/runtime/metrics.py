"""Where a run's numbers go: metrics.jsonl, TensorBoard, Weights & Biases."""

import json
import math
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TextIO

from byol.config.run import LoggingConfig
from byol.errors import UserError
from byol.runtime.checkpoint import naming, write_atomically

METRICS = "metrics.jsonl"


class MetricsWriter:
    """Writes the numbers of one run; nothing where there is no folder, as in processes that are not the first."""

    def __init__(self, folder: Path | None, config: LoggingConfig, name: str = "") -> None:
        self._tensorboard: Any = _tensorboard(folder) if config.tensorboard and folder else None
        self._wandb: Any = _wandb(name, folder) if config.wandb and folder else None
        self._file: TextIO | None = None if folder is None else (folder / METRICS).open("a")

    def write(self, step: int, values: dict[str, float]) -> None:
        """Write one line; numbers that are not finite become null."""
        if self._file is None:
            return
        clean = {k: (v if math.isfinite(v) else None) for k, v in values.items()}
        with naming(Path(self._file.name)):
            self._file.write(json.dumps({"step": step, **clean}) + "\n")
            self._file.flush()
        if self._tensorboard is not None:
            for key, value in values.items():
                self._tensorboard.add_scalar(key, value, step)
        if self._wandb is not None:
            self._wandb.log(values, step=step)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Close what is open."""
        if self._file is not None:
            with suppress(OSError):  # a full disk was told when the line was written
                self._file.close()
        if self._tensorboard is not None:
            self._tensorboard.close()
        if self._wandb is not None:
            self._wandb.finish()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl; a half-written last line, or a damaged one, is passed over."""
    lines: list[dict[str, Any]] = []
    if path.is_file():
        for text in path.read_text(errors="replace").splitlines():
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                continue
            if isinstance(line, dict) and isinstance(line.get("step"), int):
                lines.append(line)
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
    steps = [line["step"] for line in read_metrics(folder / METRICS)]
    # a resumed run writes again what came after its checkpoint: TensorBoard passes over the first time
    again = (folder / "tensorboard").is_dir()
    return SummaryWriter(str(folder / "tensorboard"), purge_step=max(steps, default=-1) + 1 if again else None)


def _wandb(name: str, folder: Path) -> Any:
    try:
        import wandb
    except ImportError as error:
        raise UserError("Weights & Biases is not installed; run: pip install 'byol[wandb]'.") from error
    identity = folder / "wandb.txt"  # a resumed run goes on with its own page
    if not identity.is_file():
        write_atomically(identity, secrets.token_hex(4))
    return wandb.init(project="byol", name=name, dir=str(folder), resume="allow", id=identity.read_text())
