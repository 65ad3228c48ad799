"""`byol demo`: train on bundled photographs for two minutes, and see what it bought."""

from dataclasses import dataclass

from byol.cli.parse import parse
from byol.cli.pretrain import exit_code


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Train on bundled photographs for two minutes, and see what it bought."""

    out: str | None = None
    """Folder of the run."""


def run(arguments: list[str]) -> int:
    """Run the demonstration; the exit code."""
    command = parse(Demo, arguments, "byol demo", Demo.__doc__ or "")
    from byol.cli.demonstration import demo

    return exit_code(demo(command.out))
