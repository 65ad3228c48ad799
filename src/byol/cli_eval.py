"""`byol eval ...` and `byol verdict`: an evaluation by name, its config as flags, its result as a table and as JSON."""

import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table
from tyro.conf import Positional, arg

from byol.cli_parse import parse
from byol.config import Device
from byol.errors import UserError, nearest


@dataclass(frozen=True)
class Evaluation:
    """Where an evaluation lives, and what it is."""

    module: str
    config: str
    what: str
    opener: str = "byol.data.sources:open_source"
    """Opens its data, with `channels`."""

    def load(self) -> tuple[Any, type[Any], Callable[..., Any]]:
        """The module, its config class, and the opener of its data."""
        module = import_module(self.module)
        place, _, name = self.opener.partition(":")
        return module, getattr(module, self.config), getattr(import_module(place), name)


EVALUATIONS: dict[str, Evaluation] = {
    "knn": Evaluation("byol.evals.knn", "KnnConfig", "the vote of the nearest training images"),
    "linear": Evaluation("byol.evals.linear", "LinearConfig", "a linear layer on the frozen encoder (Appendix C.1)"),
    "fewshot": Evaluation("byol.evals.fewshot", "FewshotConfig", "a linear classifier on a few labels per class"),
    "semi": Evaluation("byol.evals.semi", "SemiConfig", "fine-tuning with 1 % and 10 % of the labels (Appendix C.1)"),
    "finetune": Evaluation("byol.evals.finetune", "FinetuneConfig", "fine-tuning on other data (Appendix D.3)"),
    "transfer": Evaluation("byol.evals.transfer", "TransferConfig", "logistic regression, 45 penalties (Appendix D.2)"),
    "segmentation": Evaluation(
        "byol.evals.segmentation",
        "SegmentationConfig",
        "a fully convolutional head, mean IoU (Appendix D.4)",
        "byol.evals.masks:open_masks",
    ),
    "detection": Evaluation(
        "byol.evals.detection",
        "DetectionConfig",
        "Faster R-CNN on C4, AP50 (Appendix D.5)",
        "byol.evals.boxes:open_boxes",
    ),
    "depth": Evaluation(
        "byol.evals.depth",
        "DepthConfig",
        "up-projections, five measures (Appendix D.6)",
        "byol.evals.depths:open_depths",
    ),
}


def evaluate(arguments: list[str]) -> int:
    """`byol eval NAME ENCODER --train ... --test ...`."""
    if not arguments or arguments[0] in ("-h", "--help"):
        lines = ["byol eval NAME ENCODER --train DATA --test DATA [--json FILE]", ""]
        lines += [f"  {name:13s} {entry.what}" for name, entry in EVALUATIONS.items()]
        print(
            "\n".join([*lines, "", "ENCODER: a run's folder, an encoder.safetensors, timm:NAME, random:NAME, pixels."])
        )
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in EVALUATIONS:
        raise UserError(
            f"There is no evaluation {name!r}.{nearest(name, EVALUATIONS)} There are: {', '.join(EVALUATIONS)}."
        )
    entry = EVALUATIONS[name]
    module, config_class, open_data = entry.load()
    start = config_class()
    if "--quick" in rest and hasattr(start, "quick"):
        start = start.quick()
    config_type: Any = Annotated[config_class, arg(name="")]

    @dataclass(frozen=True, kw_only=True)
    class Command:
        encoder: Annotated[Positional[str], arg(metavar="ENCODER")]
        """A run's folder, an encoder.safetensors, timm:NAME, random:NAME, or pixels."""
        train: str
        """Labelled data to learn from."""
        test: str
        """Labelled data to be asked about; nothing is chosen on it."""
        json: str | None = None
        """File for the result, with config, seeds, data and machine."""
        device: Device = "auto"
        """Where."""
        quick: bool = False
        """A subset of the protocol in minutes; what is left out is said."""
        config: config_type = start

    command = parse(Command, rest, f"byol eval {name}", entry.what)
    from byol.evals.encoders import open_encoder
    from byol.evals.record import make_record, write_record
    from byol.machine import choose_device

    if command.quick and not hasattr(start, "quick"):
        raise UserError(f"{name} has no --quick: the whole of it takes minutes.")
    device, _ = choose_device(command.device)
    train, test, opened = _open(command.encoder, command.train, command.test, open_data, open_encoder)
    console = Console(highlight=False, emoji=False, soft_wrap=True)
    if command.quick and command.config.left_out():
        console.print(command.config.left_out())
    began = time.perf_counter()
    with _Bars() as progress:
        result = module.evaluate(opened, train, test, command.config, device, progress)
    seconds = time.perf_counter() - began
    table = Table(f"{name} of {command.encoder}", "value")
    for key, value in result.items():
        table.add_row(key, _words(key, value))
    console.print(table)
    if command.json is not None:
        record = make_record(
            name,
            opened,
            {"train": train, "test": test},
            command.config,
            result,
            command=shlex.join(["byol", "eval", *arguments]),
            seconds=seconds,
        )
        write_record(Path(command.json), record)
        console.print(f"written to {command.json}")
    return 0


def verdict(arguments: list[str]) -> int:
    """`byol verdict ENCODER --data LABELLED [--test LABELLED]`."""
    from byol.evals.verdict import VerdictConfig

    start = VerdictConfig().quick() if "--quick" in arguments else VerdictConfig()
    config_type: Any = Annotated[VerdictConfig, arg(name="")]

    @dataclass(frozen=True, kw_only=True)
    class Command:
        encoder: Annotated[Positional[str], arg(metavar="ENCODER")]
        """A run's folder, or an encoder.safetensors."""
        data: str
        """Labelled data; a fifth of it is asked about where --test is not given."""
        test: str | None = None
        """Labelled data to be asked about."""
        out: str | None = None
        """Page to write; by default verdict.html in the run's folder."""
        json: str | None = None
        """File for the result, with config, seeds, data and machine."""
        device: Device = "auto"
        """Where."""
        quick: bool = False
        """Fewer draws, no training from scratch, no ImageNet weights."""
        config: config_type = start

    command = parse(Command, arguments, "byol verdict", "Was it worth it?")
    from byol.data.sources import open_source
    from byol.evals import verdict as judge
    from byol.evals.encoders import open_encoder
    from byol.evals.labels import hold_out
    from byol.evals.record import make_record, write_record
    from byol.evals.verdict_plot import write_plot
    from byol.log import read_metrics
    from byol.machine import choose_device

    device, _ = choose_device(command.device)
    train, test, opened = _open(command.encoder, command.data, command.test, open_source, open_encoder)
    if test is None:
        if train.labels is None:
            raise UserError(
                f"{command.data!r} has no labels; give a folder with a sub-folder per class, or Parquet with labels."
            )
        stay, asked = hold_out(train.labels, 0.2, command.config.seed)
        train, test = train.subset(stay), train.subset(asked)
    folder = Path(command.encoder)
    history = [
        line["knn/sample_accuracy"] for line in read_metrics(folder / "metrics.jsonl") if "knn/sample_accuracy" in line
    ]
    console = Console(highlight=False, emoji=False, soft_wrap=True)
    began = time.perf_counter()
    with _Bars() as progress:
        result = judge.evaluate(opened, train, test, command.config, device, progress, history=history)
    seconds = time.perf_counter() - began
    columns = list(result.labels)
    table = Table("top-1, per cent", *columns, caption="labels per class; mean ± standard deviation over draws")
    for name, scores in result.table.items():
        cells = [f"{100 * scores[n].mean:.1f} ± {100 * scores[n].std:.1f}" if n in scores else "" for n in columns]
        table.add_row(name, *cells)
    console.print(table)
    console.print(result.paragraph)
    for note in result.notes:
        console.print(note)
    page = Path(command.out) if command.out else (folder if folder.is_dir() else folder.parent) / "verdict.html"
    write_plot(page, result, f"Was it worth it? {command.encoder}")
    console.print(f"page {page}")
    if command.json is not None:
        record = make_record(
            "verdict",
            opened,
            {"train": train, "test": test},
            command.config,
            result.as_dict(),
            command=shlex.join(["byol", "verdict", *arguments]),
            seconds=seconds,
        )
        write_record(Path(command.json), record)
        console.print(f"written to {command.json}")
    return 0


def _open(
    encoder: str, train: str, test: str | None, open_data: Callable[..., Any], open_encoder: Callable[..., Any]
) -> tuple[Any, Any, Any]:
    """Data and encoder with the same channels: a trained encoder's, else those of the training images."""
    if encoder.startswith(("timm:", "random:", "pixels")) and not encoder.startswith("random:/"):
        first = open_data(train, channels=3)
        opened = open_encoder(encoder, in_chans=3)
        channels = 3 if opened.blueprint is None else opened.blueprint.in_chans
        if channels != 3:
            first = open_data(train, channels=channels)
    else:
        opened = open_encoder(encoder)
        channels = opened.blueprint.in_chans
        first = open_data(train, channels=channels)
    return first, None if test is None else open_data(test, channels=channels), opened


def _words(key: str, value: Any) -> str:
    """Shares as per cent, other numbers as they are."""
    shares = ("top", "mean_per_class", "map", "miou", "ap50", "pixel", "valid_", "held_out", "scratch_", "delta")
    if isinstance(value, float) and key.startswith(shares) and 0 <= value <= 1:
        return f"{100 * value:.2f} %"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class _Bars:
    """One bar for each thing an evaluation says it is doing; only on a terminal."""

    def __init__(self) -> None:
        self._progress = Progress(transient=True, disable=not sys.stderr.isatty(), console=Console(stderr=True))
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "_Bars":
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total)
        self._progress.update(self._tasks[what], completed=done, total=total)
