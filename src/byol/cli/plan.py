"""`byol plan`: what `byol pretrain` would do with the same words, as a file to read, edit and pass back."""

import shlex
from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional

from byol.cli.parse import given
from byol.cli.settings import LabelFlags, RunFlags, WeightsFlags, parse_run


@dataclass(frozen=True, kw_only=True)
class Plan(RunFlags, LabelFlags, WeightsFlags):
    """Print the plan of a run as TOML, every choice explained: byol plan photos/ > plan.toml.

    Edit it, then start the run by byol pretrain photos/ --plan plan.toml. With a budget, the speed of this machine is
    measured as it is before a run.
    """

    images: Annotated[Positional[str | None], given("DATA", "bundled photographs")] = None
    """As for pretrain."""
    budget: Annotated[str | None, given("TIME", "none; half an hour for auto on a processor")] = None
    """As for pretrain."""


def run(arguments: list[str]) -> int:
    """Print the plan; the exit code."""
    command, settings = parse_run(Plan, arguments, "plan", Plan.__doc__ or "")
    from byol.data.labeling import Labeling
    from byol.pretraining.run import make_plan

    words = shlex.join(["byol", "plan", *arguments])
    data = command.images or "photos:train"
    labeling = Labeling(labels=command.labels, groups=command.groups, unlabeled=command.unlabeled)
    options = {"labeling": labeling, "recipe": command.recipe, "monitor": command.monitor, "budget": command.budget}
    print(make_plan(data, command=words, **options, **settings), end="")
    return 0
