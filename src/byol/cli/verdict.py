"""`byol verdict`: was it worth it? A table, a paragraph and a page."""

import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.console import Console
from rich.table import Table
from tyro.conf import Positional, arg

from byol.cli.parse import check_place, parse
from byol.config.evaluations import VerdictConfig
from byol.config.run import Device

if TYPE_CHECKING:
    from byol.evals.verdict import Verdict
    from byol.evals.verdict_words import TrainingRun


PARTS = 5
"""Of the labeled data, one of which is the test set."""
MANY_LABELS = 2000
"""Labeled images of which one part is test set enough; with fewer each part is in turn."""


def verdict(arguments: list[str]) -> int:
    """`byol verdict ENCODER --data LABELED [--test LABELED]`."""
    start = VerdictConfig().quick() if "--quick" in arguments else VerdictConfig()
    config_type: Any = Annotated[VerdictConfig, arg(name="")]

    @dataclass(frozen=True, kw_only=True)
    class Command:
        encoder: Annotated[Positional[str], arg(metavar="ENCODER")]
        """A run's folder, or a file of weights (docs/weights.md)."""
        data: str
        """Labeled data. If --test is not given, a fifth of it is the test set; of fewer than 2,000 images each fifth in
        turn, so that all labels are used."""
        test: str | None = None
        """Labeled test data; never used for model selection."""
        out: str | None = None
        """Page to write; by default verdict.html in the run's folder."""
        json: str | None = None
        """File for the result, with config, seeds, data and machine."""
        device: Device = "auto"
        """Where it runs."""
        quick: bool = False
        """Fewer draws, no training from scratch, no ImageNet weights."""
        config: config_type = start

    command = parse(Command, arguments, "byol verdict", "Was it worth it?")
    from byol.cli.progress import Bars
    from byol.data.reading import opened_as
    from byol.data.sources.open import open_source
    from byol.encoders.load import open_encoder
    from byol.evals.evaluation import Task, input_channels
    from byol.evals.labels import labeled
    from byol.evals.record import Origin, make_record, write_record
    from byol.evals.tuning import folds
    from byol.evals.verdict import evaluate
    from byol.evals.verdict_plot import write_plot
    from byol.runtime.device import choose_device
    from byol.runtime.metrics import read_metrics

    device, _ = choose_device(command.device)
    folder = Path(command.encoder)
    place = folder if folder.is_dir() else folder.parent if folder.exists() else Path()
    page = Path(command.out) if command.out else place / "verdict.html"
    for file in (command.json, str(page)):
        check_place(file)
    encoder = open_encoder(command.encoder)
    with opened_as(encoder):
        train = open_source(command.data, channels=input_channels(encoder))
        test = None if command.test is None else open_source(command.test, channels=input_channels(encoder))
    if test is not None:
        parts = [(train, test)]
    else:
        known = labeled(train, "training")
        train = known.images
        splits = folds(known.labels, PARTS, command.config.seed)
        if len(train) >= MANY_LABELS:
            splits = splits[:1]
        parts = [(train.subset(remaining), train.subset(held_out)) for remaining, held_out in splits]
    readings = [line for line in read_metrics(folder / "metrics.jsonl") if "knn/sample_accuracy" in line]
    history = [line["knn/sample_accuracy"] for line in readings]
    began = time.perf_counter()
    with Bars() as progress:
        tasks = [Task(encoder, train, test, device, progress) for train, test in parts]
        result = evaluate(tasks, command.config, history=history, run=_training_run(folder, readings))
    seconds = time.perf_counter() - began
    console = Console(highlight=False, emoji=False, soft_wrap=True)
    for warning in progress.warnings():
        console.print(warning)
    console.print(_table(result))
    console.print(result.paragraph)
    for note in result.notes:
        console.print(note)
    write_plot(page, result, f"Was it worth it? {command.encoder}")
    console.print(f"page {page}")
    if command.json is not None:
        record = make_record(
            "verdict",
            encoder,
            {"train": parts[0][0], "test": parts[0][1]} if len(parts) == 1 else {"train": train},
            command.config,
            result.as_dict(),
            Origin(shlex.join(["byol", "verdict", *arguments]), seconds),
        )
        write_record(Path(command.json), record)
        console.print(f"written to {command.json}")
    return 0


def _table(result: "Verdict") -> Table:
    columns = list(result.labels)
    caption = f"labels per class; mean ± standard deviation over draws; {result.tested:,} test images"
    table = Table("top-1, percent", *columns, caption=caption)
    for name, scores in result.table.items():
        cells = [scores[column] for column in columns]
        table.add_row(name, *(score.as_percent() for score in cells))
    return table


def _training_run(folder: Path, readings: list[dict[str, Any]]) -> "TrainingRun | None":
    """How the run was trained and monitored; None if there is no run."""
    from byol.encoders.file import card_of, has_card
    from byol.evals.verdict_words import TrainingRun

    if not has_card(folder):
        return None
    card = card_of(folder)
    return TrainingRun(
        card.images, card.epochs, *(line["knn/sample_images"] for line in readings[-1:] if "knn/sample_images" in line)
    )
