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

from byol.cli.parse import check_place, parse
from byol.config.run import Device
from byol.errors import UserError, nearest


@dataclass(frozen=True)
class Evaluation:
    """Where an evaluation lives, and what it is."""

    module: str
    config: str
    what: str
    opener: str = "byol.data.sources.open:open_source"
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


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The data of an evaluation."""

    train: Annotated[str, arg(metavar="DATA")]
    """Labeled data to learn from."""
    test: Annotated[str, arg(metavar="DATA")]
    """Labeled data to be asked about; nothing is chosen on it."""


@dataclass(frozen=True, kw_only=True)
class PaperParts:
    """The data of an evaluation for which the paper has sets of its own."""

    train: Annotated[str | None, arg(metavar="DATA")] = None
    """Labeled data to learn from."""
    test: Annotated[str | None, arg(metavar="DATA")] = None
    """Labeled data to be asked about; nothing is chosen on it."""
    valid: Annotated[str | None, arg(metavar="DATA")] = None
    """Labeled data to choose on; by default a part of --train."""
    set: Annotated[str | None, arg(metavar="NAME")] = None
    """One of the paper's twelve sets, with its splits and its metric, instead of --train and --test: food101, cifar10,
    cifar100, birdsnap, sun397, cars, aircraft, voc2007, dtd, pets, caltech101, flowers."""
    root: Annotated[str | None, arg(metavar="FOLDER")] = None
    """Folder with local copies of the sets, each in a folder of its name."""


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

    parts: type[Any] = PaperParts if name == "transfer" else Parts

    @dataclass(frozen=True, kw_only=True)
    class Command(parts):  # type: ignore[misc]
        encoder: Annotated[Positional[str], arg(metavar="ENCODER")]
        """A run's folder, an encoder.safetensors, timm:NAME, random:NAME, or pixels."""
        json: str | None = None
        """File for the result, with config, seeds, data and machine."""
        device: Device = "auto"
        """Where."""
        quick: bool = False
        """A subset of the protocol in minutes; what is left out is said."""
        config: config_type = start

    command = parse(Command, rest, f"byol eval {name}", entry.what)
    from byol.encoders.load import open_encoder
    from byol.evals.record import make_record, write_record
    from byol.runtime.device import choose_device

    if command.quick and not hasattr(start, "quick"):
        instead = "give --cached for minutes" if name == "linear" else "the whole of it takes minutes"
        raise UserError(f"{name} has no --quick: {instead}.")
    device, _ = choose_device(command.device)
    check_place(command.json)
    config: Any = command.config
    extra: dict[str, Any] = {}
    if name == "transfer" and (command.set is not None or command.valid is not None):
        train, test, opened, config, extra = _paper_set(command, config, open_encoder)
    else:
        if command.train is None or command.test is None:
            raise UserError("transfer needs --train and --test, or the name of one of the paper's sets by --set.")
        train, test, opened = _open(command.encoder, command.train, command.test, open_data, open_encoder)
    console = Console(highlight=False, emoji=False, soft_wrap=True)
    if command.quick and config.left_out():
        console.print(config.left_out())
    began = time.perf_counter()
    with _Bars() as progress:
        result = module.evaluate(opened, train, test, config, device, progress, **extra)
    seconds = time.perf_counter() - began
    for sentence in progress.unread():
        console.print(sentence)
    table = Table(f"{name} of {command.encoder}", "value")
    for key, value in result.items():
        table.add_row(key, _words(key, value))
    console.print(table)
    if command.json is not None:
        record = make_record(
            name,
            opened,
            {"train": train, "test": test, **{role: part for role, part in extra.items() if part is not None}},
            config,
            result,
            command=shlex.join(["byol", "eval", *arguments]),
            seconds=seconds,
        )
        write_record(Path(command.json), record)
        console.print(f"written to {command.json}")
    return 0


def verdict(arguments: list[str]) -> int:
    """`byol verdict ENCODER --data LABELED [--test LABELED]`."""
    from byol.evals.verdict import VerdictConfig

    start = VerdictConfig().quick() if "--quick" in arguments else VerdictConfig()
    config_type: Any = Annotated[VerdictConfig, arg(name="")]

    @dataclass(frozen=True, kw_only=True)
    class Command:
        encoder: Annotated[Positional[str], arg(metavar="ENCODER")]
        """A run's folder, or an encoder.safetensors."""
        data: str
        """Labeled data; a fifth of it is asked about where --test is not given."""
        test: str | None = None
        """Labeled data to be asked about."""
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
    from byol.data.sources.open import open_source
    from byol.encoders.load import open_encoder
    from byol.evals import verdict as judge
    from byol.evals.labels import hold_out
    from byol.evals.record import make_record, write_record
    from byol.evals.verdict_plot import write_plot
    from byol.runtime.device import choose_device
    from byol.runtime.metrics import read_metrics

    device, _ = choose_device(command.device)
    folder = Path(command.encoder)
    page = Path(command.out) if command.out else (folder if folder.is_dir() else folder.parent) / "verdict.html"
    for file in (command.json, str(page)):
        check_place(file)
    train, test, opened = _open(command.encoder, command.data, command.test, open_source, open_encoder)
    if test is None:
        if train.labels is None:
            raise UserError(
                f"{command.data!r} has no labels; give a folder with a sub-folder per class, or Parquet with labels."
            )
        stay, asked = hold_out(train.labels, 0.2, command.config.seed)
        train, test = train.subset(stay), train.subset(asked)
    readings = [line for line in read_metrics(folder / "metrics.jsonl") if "knn/sample_accuracy" in line]
    history = [line["knn/sample_accuracy"] for line in readings]
    console = Console(highlight=False, emoji=False, soft_wrap=True)
    began = time.perf_counter()
    with _Bars() as progress:
        result = judge.evaluate(
            opened, train, test, command.config, device, progress, history=history, seen=_seen(folder, readings)
        )
    seconds = time.perf_counter() - began
    for sentence in progress.unread():
        console.print(sentence)
    columns = list(result.labels)
    table = Table(
        "top-1, percent",
        *columns,
        caption=f"labels per class; mean ± standard deviation over draws; {len(test):,} images asked about",
    )
    for name, scores in result.table.items():
        cells = [scores[column] for column in columns]
        table.add_row(name, *(f"{100 * c.mean:.1f}" + (f" ± {100 * c.std:.1f}" if c.draws > 1 else "") for c in cells))
    console.print(table)
    console.print(result.paragraph)
    for note in result.notes:
        console.print(note)
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
        opened = open_encoder(encoder, channels=3)
        channels = 3 if opened.spec is None else opened.spec.channels
        if channels != 3:
            first = open_data(train, channels=channels)
    else:
        opened = open_encoder(encoder)
        channels = opened.spec.channels
        first = open_data(train, channels=channels)
    return first, None if test is None else open_data(test, channels=channels), opened


def _paper_set(command: Any, config: Any, open_encoder: Callable[..., Any]) -> tuple[Any, Any, Any, Any, Any]:
    """Training and test part, encoder, config and validation part of transfer, by name or with a part to choose on."""
    from byol.data.sources.open import open_source
    from byol.evals.transfer import as_in_the_paper
    from byol.evals.transfer_data import open_transfer

    if command.set is None:
        train, test, opened = _open(command.encoder, command.train, command.test, open_source, open_encoder)
        return train, test, opened, config, {"valid": open_source(command.valid, channels=train.channels)}
    given = [flag for flag in ("train", "test", "valid") if getattr(command, flag) is not None]
    if given:
        raise UserError(
            f"--set {command.set} brings its own parts, so --{given[0]} cannot be given with it; leave it out."
        )
    opened = open_encoder(command.encoder)
    data = open_transfer(command.set, command.root, 3 if opened.spec is None else opened.spec.channels)
    return data.train, data.test, opened, as_in_the_paper(config, data), {"valid": data.valid}


def _seen(folder: Path, readings: list[dict[str, Any]]) -> Any:
    """How many images a run had, how often it saw each and how many its readings are of, where there was a run."""
    from byol.encoders.file import CARD, read_card
    from byol.evals.verdict_words import Seen

    path = folder / CARD if folder.is_dir() else folder.with_suffix(".json")
    if not path.is_file():
        return None
    card = read_card(path)
    return Seen(
        card.images, card.epochs, *(line["knn/sample_images"] for line in readings[-1:] if "knn/sample_images" in line)
    )


def _words(key: str, value: Any) -> str:
    """Shares as percent, other numbers as they are."""
    shares = ("top", "mean_per_class", "map", "miou", "ap50", "pixel", "valid_", "held_out", "below")
    if isinstance(value, float) and key.removeprefix("scratch_").startswith(shares) and 0 <= value <= 1:
        return f"{100 * value:.2f} %"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class _Bars:
    """One bar for each thing an evaluation says it is doing; only on a terminal."""

    def __init__(self) -> None:
        self._progress = Progress(transient=True, disable=not sys.stderr.isatty(), console=Console(stderr=True))
        self._tasks: dict[str, TaskID] = {}
        self._done: dict[str, tuple[int, int]] = {}

    def __enter__(self) -> "_Bars":
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total)
        self._progress.update(self._tasks[what], completed=done, total=total)
        self._done[what] = done, total

    def unread(self) -> list[str]:
        """A sentence for each part of which images could not be read."""
        return [
            f"{total - done} of {total} images could not be read and were passed over ({what})."
            for what, (done, total) in self._done.items()
            if what.startswith("features of") and done < total
        ]
