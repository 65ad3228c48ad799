"""`byol eval`: an evaluation by name, its settings as flags, its metrics as a table and as JSON."""

import shlex
import time
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

from rich.console import Console
from rich.table import Table
from tyro.conf import Positional, arg

from byol.cli.parse import check_place, parse
from byol.config.run import Device
from byol.errors import UserError
from byol.evals import registry

if TYPE_CHECKING:
    from byol.evals.evaluation import Evaluation


def evaluate(arguments: list[str]) -> int:
    """`byol eval NAME ENCODER --train ... --test ...`."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0
    name, rest = arguments[0], arguments[1:]
    evaluation = registry.load(name)
    command = _parse(evaluation, rest)
    from byol.cli.progress import Bars
    from byol.encoders.load import open_encoder
    from byol.evals.evaluation import Task, input_channels
    from byol.evals.labels import unlabeled_in_words
    from byol.evals.record import Origin, make_record, write_record
    from byol.runtime.device import choose_device

    if command.quick and evaluation.quick is None:
        raise UserError(f"{name} has no --quick: {evaluation.instead_of_quick}.")
    device, _ = choose_device(command.device)
    check_place(command.json)
    encoder = open_encoder(command.encoder)
    sources = command.open(evaluation.open_data, input_channels(encoder))
    config = command.adapt(command.config)
    console = Console(highlight=False, emoji=False, soft_wrap=True)
    if command.quick and evaluation.left_out(config):
        console.print(evaluation.left_out(config))
    for words in filter(None, map(unlabeled_in_words, sources.values())):
        console.print(words)
    began = time.perf_counter()
    with Bars() as progress:
        result = evaluation.evaluate(Task(encoder, **sources, device=device, progress=progress), config)
    seconds = time.perf_counter() - began
    for warning in progress.warnings():
        console.print(warning)
    table = Table(f"{name} of {command.encoder}", "value")
    for metric, value in result.items():
        table.add_row(metric, format_metric(metric, value, evaluation.percent))
    console.print(table)
    if command.json is not None:
        typed = shlex.join(["byol", "eval", *arguments])
        write_record(Path(command.json), make_record(name, encoder, sources, config, result, Origin(typed, seconds)))
        console.print(f"written to {command.json}")
    return 0


def format_metric(name: str, value: float, percent: tuple[str, ...]) -> str:
    """A metric as text; in percent if its name matches one of the patterns."""
    if any(fnmatchcase(name, pattern) for pattern in percent):
        return f"{100 * value:.2f} %"
    return f"{value:.4g}"


def _overview() -> str:
    lines = ["byol eval NAME ENCODER --train DATA --test DATA [--json FILE]", ""]
    lines += [f"  {name:13s} {what}" for name, what in registry.descriptions().items()]
    return "\n".join([*lines, "", "ENCODER: a run's folder, an encoder.safetensors, timm:NAME, random:NAME, pixels."])


def _parse(evaluation: "Evaluation", arguments: list[str]) -> Any:
    """The command of an evaluation; with --quick its settings start from those of the shorter protocol."""
    start = evaluation.config()
    if "--quick" in arguments and evaluation.quick is not None:
        start = evaluation.quick(start)
    config_type: Any = Annotated[evaluation.config, arg(name="")]

    @dataclass(frozen=True, kw_only=True)
    class Command(_with_metavars(evaluation.data)):  # type: ignore[misc]
        encoder: Annotated[Positional[str], arg(metavar="ENCODER")]
        """A run's folder, an encoder.safetensors, timm:NAME, random:NAME, or pixels."""
        json: str | None = None
        """File for the result, with config, seeds, data and machine."""
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
