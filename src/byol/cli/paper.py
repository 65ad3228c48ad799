"""`byol paper ...`: list the paper's tables, run one or all of them at a scale, and report the results."""

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.console import Console
from tyro.conf import Positional, arg

from byol.cli.parse import parse
from byol.errors import UserError

if TYPE_CHECKING:
    from byol.paper.scales import Scale

INTERRUPTED = 130
FAILED = 1
"""Exit code if a cell failed."""


@dataclass(frozen=True, kw_only=True)
class PaperCommand:
    """Reproduce the tables of the paper. Without a table, list them.

    A call continues where an earlier one stopped, and runs only cells without a result.
    """

    table: Annotated[Positional[str | None], arg(metavar="TABLE", help_behavior_hint="(default: list them)")] = None
    """Name of a table, all, or report."""
    scale: str = "cpu"
    """cpu, cpu-short (three tenths of the epochs), cpu-long (four times the epochs), small (one GPU), or paper (printed
    as torchrun commands)."""
    seeds: int = 1
    """Number of seeds, from 0; the paper has three."""
    data: Annotated[str | None, arg(help_behavior_hint="(default: cifar10; --scale paper has no default)")] = None
    """Labeled training images: a folder, a Parquet file, or the name of a data set."""
    test: str | None = None
    """Labeled test images; by default the test part of a named data set."""
    images: int | None = None
    """Number of training images, the first of the set; by default what the scale uses."""
    jobs: int | None = None
    """Cells in parallel, each in its own process; by default one per core, or one per GPU."""
    part: str = "1/1"
    """2/4 runs the second of four parts, for job arrays that share the results folder. Under torchrun each process runs
    its own part."""
    only: tuple[str, ...] = ()
    """Names or patterns of cells, such as 'byol-*'."""
    results: str = "results/paper"
    """Results folder: TABLE-SCALE.jsonl with one line per cell and seed."""
    runs: str = "runs/paper"
    """Folder of unfinished trainings."""
    document: str = "docs/paper.md"
    """For report: a Markdown document whose sections of results and claims are replaced, if the file exists."""
    readme: str = "README.md"
    """For report: a Markdown document whose three lines on the claims are replaced, if it has a place for them."""
    page: str | None = None
    """For report: the HTML page to write; by default report.html in the results folder."""


def paper(arguments: list[str]) -> int:
    """`byol paper [TABLE] [flags]`."""
    command = parse(PaperCommand, arguments, "byol paper", inspect.cleandoc(PaperCommand.__doc__ or ""))
    from byol.paper.catalog import tables_named
    from byol.paper.scales import scale_named

    scale = scale_named(command.scale)
    if command.table is None:
        return _list(command)
    if command.table == "report":
        return _report(command)
    tables = tables_named(command.table)
    if command.seeds < 1:
        raise UserError(f"seeds is {command.seeds}, but must be 1 or more.")
    if command.jobs is not None and command.jobs < 1:
        raise UserError(f"jobs is {command.jobs}, but must be 1 or more.")
    if command.images is not None:
        if command.images < 1:
            raise UserError(f"images is {command.images}, but must be 1 or more.")
        from dataclasses import replace

        scale = replace(scale, images=command.images, train_images=command.images)
    data = command.data or _default_data(scale)
    test = command.test or _test_part(data)
    if scale.printed:
        from byol.paper.commands import commands
        from byol.paper.plan import part_of, plan

        for job in part_of(plan(tables, scale, command.seeds, command.only), command.part):
            print("\n".join(commands(job, scale, data, test)))
        return 0
    from byol.paper.runner import Paths, RunOptions, run

    console = Console(highlight=False, emoji=False, soft_wrap=True)
    paths = Paths(train=data, test=test, results=Path(command.results), runs=Path(command.runs))
    options = RunOptions(seeds=command.seeds, only=command.only, part=command.part, processes=command.jobs)
    summary = run(tables, scale, paths, options, say=lambda text: console.print(text, markup=False))
    if summary.interrupted:
        console.print("interrupted; run the same command again to continue")
        return INTERRUPTED
    return FAILED if summary.failed else 0


def _default_data(scale: "Scale") -> str:
    """CIFAR-10, unless the commands of a scale are for other images."""
    if scale.printed:
        raise UserError(
            f"The scale {scale.name} needs your labeled images: give --data and --test, such as --data imagenet/train "
            "--test imagenet/val."
        )
    return "cifar10"


def _test_part(data: str) -> str:
    from byol.data.sources.named import is_name

    if is_name(data) and ":" not in data:
        return f"{data}:test"
    raise UserError(f"{data!r} has no test part. Give --test with labeled images.")


def _list(command: PaperCommand) -> int:
    from byol.paper.catalog import TABLES
    from byol.paper.scales import SCALES
    from byol.paper.summary import seconds_of_a_cell

    for name, table in TABLES.items():
        costs = []
        for scale in (make() for make in SCALES.values()):
            cells = len(table.cells(scale))
            if not cells:
                costs.append(f"{scale.name}: no cells")
                continue
            if scale.printed:
                costs.append(f"{scale.name}: {cells} cells, printed as commands")
                continue
            seconds, measured = seconds_of_a_cell(Path(command.results), scale, table)
            minutes, how = cells * seconds / 60, "measured" if measured else "estimated"
            costs.append(f"{scale.name}: {cells} cells, {minutes:.0f} min ({how})")
        print(f"{name:17s} {table.source}: {table.claim}\n{'':17s} {'; '.join(costs)}")
    print(
        "\nMinutes are for one seed with cells run one after another; --jobs runs several in parallel.\n"
        "byol paper TABLE --scale cpu --seeds 3; byol paper all; byol paper report"
    )
    return 0


def _report(command: PaperCommand) -> int:
    from byol.paper.report import write_report

    document, readme = (Path(name) if Path(name).is_file() else None for name in (command.document, command.readme))
    to = Path(command.page) if command.page else Path(command.results) / "report.html"
    for path in write_report(Path(command.results), document, to, readme):
        print(f"written to {path}")
    return 0
