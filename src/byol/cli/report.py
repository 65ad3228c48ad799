"""`byol report`: the page of a run, made anew from the files of its folder."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg

from byol.cli.parse import parse


@dataclass(frozen=True, kw_only=True)
class Report:
    """A run's page: verdict, course, data, settings, and how to use the encoder."""

    run: Annotated[Positional[str], arg(metavar="RUN")]
    """A run's folder; the run may have ended or go on."""


def run(arguments: list[str]) -> int:
    """`byol report RUN`."""
    command = parse(Report, arguments, "byol report", Report.__doc__ or "")
    from byol.pretraining.run_page import write_run_page

    print(f"page {write_run_page(command.run)}")
    return 0
