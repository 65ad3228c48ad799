"""What a recipe looks at, found once and in one way for every verb: the images, the machine, what the user gave."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from byol.config.renamed import current_name
from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.data.holdout import held_out
from byol.data.sources.open import Source
from byol.data.survey import Survey, survey
from byol.runtime import device as machine
from byol.runtime import distributed

VISIBLE = ("adapt__", "data__", "encoder__stem", "encoder__weights", "method__target")
"""Prefixes of the nested settings that a recipe may read; the others override what it chose."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a recipe may look at."""

    survey: Survey
    """Of the images; its count is that of the images that are trained on."""
    device: str = "cpu"
    """cpu, cuda or mps."""
    free_memory: int = 8 << 30
    """Bytes at hand on the device."""
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What the user gave, as keywords of `replace`: it needs no reason, and overrides the recipe."""
    hurried: bool = False
    """Whether the time was found to allow few updates with the usual views."""

    @property
    def given(self) -> frozenset[str]:
        """Names of the settings that the user gave."""
        return frozenset(map(current_name, self.settings))

    @property
    def values(self) -> PretrainConfig:
        """Carries the values of those settings in `given` that a recipe may read."""
        return visible_settings(self.settings)

    def with_epochs(self, epochs: float, hurried: bool = False) -> "Facts":
        """The same where the user had given so many epochs."""
        return dataclasses.replace(self, settings={**self.settings, "epochs": epochs}, hurried=hurried)


def visible_settings(settings: Mapping[str, Any]) -> PretrainConfig:
    """The values that a recipe may read, of settings as `replace` takes them.

    Raises:
        UserError: as `replace`.
    """
    current = {current_name(key): value for key, value in settings.items()}
    return replace(PretrainConfig(), **{k: v for k, v in current.items() if "__" not in k or k.startswith(VISIBLE)})


def find_facts(
    source: Source, monitor: Source | None, device: torch.device, settings: Mapping[str, Any]
) -> tuple[Facts, Survey]:
    """The facts of a run, and the survey of all its images, those that are held out among them.

    Args:
        source: the images to train on.
        monitor: the images that readings are of, where they were given.
        device: of training.
        settings: what the user gave.
    """
    seen = survey(source)
    kept_out = held_out(source, monitor, visible_settings(settings).method.reads_labels)
    facts = Facts(
        survey=dataclasses.replace(seen, count=len(source) - kept_out),
        device=device.type,
        free_memory=distributed.all_reduce_min(machine.free_memory(device), device),  # all ranks must choose alike
        settings=settings,
    )
    return facts, seen
