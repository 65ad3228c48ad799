"""`byol pretrain`: train an encoder on images."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional

from byol.cli.parse import given
from byol.cli.settings import LabelFlags, RunFlags, WeightsFlags, parse_run
from byol.errors import UserError
from byol.runtime.program import program

if TYPE_CHECKING:
    from byol.pretraining.finish import Outcome

INTERRUPTED = 130
"""Exit code after SIGINT, SIGTERM or SIGHUP, the shell's for an interrupted command."""
FAILED = 3
"""Exit code of a run that collapsed, was collapsing at its end, or diverged."""


@dataclass(frozen=True, kw_only=True)
class Pretrain(RunFlags, LabelFlags, WeightsFlags):
    """Train an encoder on images: a folder is enough.

    What is not given, the recipe chooses, and says why. The defaults of the sections below are the paper's; recipes
    have their own.
    """

    images: Annotated[Positional[str | None], given("DATA", "bundled photographs")] = None
    """A folder, a text list, Parquet, or a name such as cifar10."""
    plan: Annotated[str | None, given("FILE", "none")] = None
    """A file of `byol plan`, instead of a recipe."""
    budget: Annotated[str | None, given("TIME", "none; half an hour for auto on a processor")] = None
    """Time that the whole run may take, such as 20m or 2h: epochs are chosen so that its schedule ends in time."""
    out: Annotated[str | None, given("FOLDER", "runs/ and the data's name")] = None
    """Folder of the run."""
    resume: Annotated[str | None, given("FOLDER", "none")] = None
    """Folder of a run to go on with."""
    tensorboard: bool = False
    """Write TensorBoard event files into the run's folder."""
    wandb: bool = False
    """Report to Weights & Biases."""


def run(arguments: list[str]) -> int:
    """Train, or go on with a run; the exit code."""
    command, settings = parse_run(Pretrain, arguments, "pretrain", Pretrain.__doc__ or "")
    from byol.pretraining.resume import resume
    from byol.pretraining.run import pretrain
    from byol.pretraining.run_folder import RunFolder
    from byol.runtime.distributed import restarted

    if command.resume is not None:
        typed = {"--out": command.out, "--budget": command.budget, "--plan": command.plan}
        given = [name for name, value in typed.items() if value is not None] + sorted(settings)
        given += ["--recipe"] if command.recipe != "auto" else []
        given += ["--unlabeled"] if command.unlabeled else []
        if given:
            raise UserError(
                f"--resume goes on with a run as it was started, so {', '.join(given)} cannot be given with it; leave "
                "that out, or start a new run. Only a new place of the same images can be given."
            )
        moved = {"data": command.images, "monitor": command.monitor, "labels": command.labels, "groups": command.groups}
        return exit_code(resume(command.resume, **moved))
    if command.out is not None and restarted() and RunFolder(Path(command.out).expanduser()).config.is_file():
        return exit_code(resume(command.out))  # torchrun types the same command again after a failure
    if command.plan is not None and command.recipe != "auto":
        raise UserError("A plan and a recipe both say where a run starts from; give one of them.")
    outcome = pretrain(
        command.images or "photos:train",
        recipe=command.recipe if command.plan is None else _plan(command.plan),
        out=command.out,
        monitor=command.monitor,
        labels=command.labels,
        groups=command.groups,
        unlabeled=command.unlabeled,
        budget=command.budget,
        **settings,
    )
    return exit_code(outcome)


def _plan(file: str) -> str:
    """The file of a plan, as a recipe.

    Raises:
        UserError: its name does not end in .toml.
    """
    if not file.endswith(".toml"):
        raise UserError(
            f"--plan is {file!r}, but must be a .toml file; make one by: {program()} plan DATA > plan.toml."
        )
    return file


def exit_code(outcome: "Outcome") -> int:
    """What a shell is told of a run."""
    if outcome.interrupted:
        return INTERRUPTED
    return FAILED if outcome.verdict is not None and outcome.verdict.failed else 0
