"""`byol eval`: an evaluation by name, its settings as flags, its metrics as a table and as JSON."""

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

from rich.console import Console
from rich.table import Table
from tyro.conf import Positional, arg

from byol.cli.parse import check_place, given, parse
from byol.config.run import Device
from byol.errors import UserError
from byol.evals import registry

if TYPE_CHECKING:
    from byol.evals.evaluation import Evaluation


def evaluate(arguments: list[str]) -> int:
    """`byol eval NAME ENCODER [ENCODER ...] --train ... --test ...`."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0
    name, rest = arguments[0], arguments[1:]
    evaluation = registry.load(name)
    command = _parse(evaluation, rest)
    from byol.cli.progress import Bars
    from byol.data.reading import opened_as
    from byol.encoders.load import open_encoder
    from byol.evals.evaluation import Task, input_channels
    from byol.evals.labels import unlabeled_in_words
    from byol.evals.record import Origin, make_record, write_record
    from byol.runtime.device import choose_device

    if command.quick and evaluation.quick is None:
        raise UserError(f"{name} has no --quick: {evaluation.instead_of_quick}.")
    device, _ = choose_device(command.device)
    check_place(command.json)
    names = [command.encoder, *command.others]
    encoders = [open_encoder(each) for each in names]
    config = command.adapt(command.config)
    console = Console(highlight=False, emoji=False, soft_wrap=True)
    if command.quick and evaluation.left_out(config):
        console.print(evaluation.left_out(config))
    typed = shlex.join(["byol", "eval", *arguments])
    results: list[dict[str, float]] = []
    records: list[dict[str, Any]] = []
    try:
        for encoder in encoders:
            with opened_as(encoder):
                sources = command.open(evaluation.open_data, input_channels(encoder))
            if encoder is encoders[0]:
                for words in filter(None, map(unlabeled_in_words, sources.values())):
                    console.print(words)
            began = time.perf_counter()
            with Bars() as progress:
                result = evaluation.evaluate(Task(encoder, **sources, device=device, progress=progress), config)
            origin = Origin(typed, time.perf_counter() - began)
            for warning in progress.warnings():
                console.print(warning)
            results.append(result)
            records.append(make_record(name, encoder, sources, config, result, origin))
            if command.json is not None:
                write_record(Path(command.json), records[0] if len(names) == 1 else records)
    finally:  # what is done is kept, whatever a later encoder meets
        if results:
            console.print(_table(name, names[: len(results)], results, evaluation.percent))
    if command.json is not None:
        console.print(f"written to {command.json}")
    return 0


def _table(name: str, encoders: Sequence[str], results: Sequence[dict[str, float]], percent: tuple[str, ...]) -> Table:
    """A line for each metric, and a column for each encoder."""
    one = len(encoders) == 1
    table = Table(f"{name} of {encoders[0]}", "value") if one else Table(name, *encoders)
    for metric in dict.fromkeys(metric for result in results for metric in result):
        cells = (format_metric(metric, result[metric], percent) if metric in result else "" for result in results)
        table.add_row(metric, *cells)
    return table


def format_metric(name: str, value: float, percent: tuple[str, ...]) -> str:
    """A metric as text; in percent if its name matches one of the patterns."""
    if any(fnmatchcase(name, pattern) for pattern in percent):
        return f"{100 * value:.2f} %"
    return f"{value:.4g}"


def _overview() -> str:
    lines = ["byol eval NAME ENCODER [ENCODER ...] --train DATA --test DATA [--json FILE]", ""]
    lines += [f"  {name:13s} {what}" for name, what in registry.descriptions().items()]
    return "\n".join([*lines, "", "ENCODER: a run's folder, a file of weights, timm:NAME, random:NAME, pixels."])


def _parse(evaluation: "Evaluation", arguments: list[str]) -> Any:
    """The command of an evaluation; with --quick its settings start from those of the shorter protocol."""
    start = evaluation.config()
    if "--quick" in arguments and evaluation.quick is not None:
        start = evaluation.quick(start)
    config_type: Any = Annotated[evaluation.config, arg(name="")]

    @dataclass(frozen=True, kw_only=True)
    class Command(_with_metavars(evaluation.data)):  # type: ignore[misc]
        encoder: Annotated[Positional[str], arg(metavar="ENCODER")]
        """A run's folder, a file of weights (docs/weights.md), timm:NAME, hf-hub:NAME, random:NAME, or pixels."""
        others: Annotated[Positional[tuple[str, ...]], given("[ENCODER ...]", "none")] = ()
        """More of them, for one table of all."""
        json: str | None = None
        """File for the result, with config, seeds, data and machine; a list of them for several encoders."""
        device: Device = "auto"
        """Where it runs."""
        quick: bool = False
        """A subset of the protocol in minutes; what it leaves out is printed."""
        config: config_type = start

    name = evaluation.name
    return parse(Command, arguments, f"byol eval {name}", registry.descriptions()[name])


def _with_metavars(options: type[Any]) -> type[Any]:
    """The same options, each shown in --help with the metavar of its field's metadata."""
    hints = get_type_hints(options)
    annotations = {
        field.name: Annotated[hints[field.name], arg(metavar=field.metadata.get("metavar"))]
        for field in fields(options)
    }
    return dataclass(frozen=True, kw_only=True)(type(options.__name__, (options,), {"__annotations__": annotations}))
