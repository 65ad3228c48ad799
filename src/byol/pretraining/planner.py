"""What a recipe decides, and decides again once it is measured how much training a time buys."""

import dataclasses
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.data.labeling import Images
from byol.data.survey import Survey
from byol.encoders.names import check_name
from byol.encoders.sizes import fitted
from byol.encoders.start import with_start, with_timm_normalization
from byol.pretraining import budget
from byol.pretraining.busy import choose_threads
from byol.pretraining.checks import check
from byol.pretraining.precision import faster_precision
from byol.pretraining.setup import Run
from byol.pretraining.state import build_state
from byol.recipes.auto import FEW_UPDATES
from byol.recipes.facts import Facts, find_facts
from byol.recipes.plan import Plan
from byol.recipes.presets import Recipe
from byol.runtime import device as machine
from byol.runtime import distributed

MEASUREMENTS = 3
"""Times that the speed is measured at most: smaller batches and views are another speed."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TimeLimit:
    """The time that a run may take."""

    minutes: float
    """For the whole run."""
    most_epochs: float | None
    """Epochs that are enough, however much time there is."""
    started: float
    """When the run began, as `time.perf_counter` tells it."""


@dataclass(frozen=True)
class Planner:
    """A recipe, and what it looks at."""

    recipe: Recipe
    facts: Facts
    resolved: Mapping[str, Any]
    """Settings that `auto` of the machine has decided: the device and the precision."""

    @classmethod
    def of(
        cls, recipe: Recipe, images: Images, device: torch.device, settings: Mapping[str, Any]
    ) -> tuple["Planner", Survey]:
        """What plans a run of these images with these settings, for every verb; and the survey of the images."""
        settings = with_start(settings, images.source.channels)
        facts, seen = find_facts(images.source, images.monitor, device, settings)
        precision, _ = machine.choose_precision(facts.values.precision, device)
        return cls(recipe, facts, {"device": device.type, "precision": precision}), seen

    def plan(self, epochs: float | None = None, hurried: bool = False) -> Plan:
        """What the recipe decides, for a run of so many epochs if they are given."""
        return self.recipe.make(self.facts if epochs is None else self.facts.with_epochs(epochs, hurried))

    def config(self, plan: Plan, **changes: Any) -> PretrainConfig:
        """A plan's config with what the user gave, its encoder built for the size of the views where it must be."""
        config = replace(plan.config, **{**self.facts.settings, **self.resolved, **changes})
        check_name(config.encoder)
        encoder = fitted(with_timm_normalization(config.encoder, self.facts.given), config.image_size)
        if encoder.native_size != config.encoder.native_size and "encoder__input_size" not in self.facts.given:
            encoder = replace(encoder, input_size=None)  # it takes the views' size alone
        return replace(config, encoder=encoder)

    def with_precision(self, config: PretrainConfig, device: torch.device) -> tuple["Planner", str]:
        """The same with the precision in which a config's encoder trains faster, where the user leaves it open; why.

        Only where a processor multiplies bf16 are there two to choose from.
        """
        asked = self.facts.values.precision
        chosen, why = machine.choose_precision(asked, device)
        if asked == "auto" and device.type == "cpu" and chosen == "bf16":
            chosen, why = faster_precision(config, device)
        return dataclasses.replace(self, resolved={**self.resolved, "precision": chosen}), why

    def settled(self) -> tuple[str, ...]:
        """The reasons that hold however long the run will be."""
        others = [set(self.plan(epochs, hurried).reasons) for epochs, hurried in ((1.0, True), (1000.0, False))]
        return tuple(reason for reason in self.plan().reasons if all(reason in other for other in others))

    def within(self, run: Run, limit: TimeLimit) -> tuple[Run, Plan]:
        """A prepared run with the config with which its whole schedule ends in time, and the plan of it, all reasons.

        A run of another length is another run: batch size, tau, warm-up and the rest follow.

        Raises:
            UserError: not even a few updates fit in.
        """
        most_each = budget.in_words(budget.rehearsal_seconds(limit.minutes) / 60)
        log.info(f"measuring how fast this machine trains, for {most_each} at most, again if the plan changes by it")
        if machine.load() > machine.cores() and (busy := choose_threads(run)):
            log.info(busy)
        hurried, calm = False, False
        for left in reversed(range(MEASUREMENTS)):
            epochs, words = _epochs_within(run, limit)
            fixed = {"epochs": epochs, "data__memory": run.config.data.memory}
            plan = self.plan(epochs, hurried)
            config = self.config(plan, **fixed)
            few = epochs != limit.most_epochs and config.total_steps(run.images) < FEW_UPDATES
            if (few and not hurried and not calm) or (hurried and epochs == limit.most_epochs and left):
                # use smaller views at most once; revert if the full plan now fits (the first timing was noisy)
                hurried, calm = not hurried, hurried
                plan = self.plan(epochs, hurried)
                config = self.config(plan, **fixed)
            same = (config.batch_size, config.image_size) == (run.config.batch_size, run.config.image_size)
            check(config, run.source)
            run = run.with_config(config)
            if same:
                break
        log.info(words)
        said, enough = self.settled(), epochs == limit.most_epochs
        # where time is enough for all that is wanted, the reason for that number stands as it is
        wanted = [reason for reason in self.plan().reasons if reason.startswith("epochs")]
        later = list(dict.fromkeys([*(wanted if enough else ()), *plan.reasons]))
        later = [reason for reason in later if reason not in said]
        for reason in later:
            log.info(f"  {reason}")
        return run, dataclasses.replace(plan, reasons=(*said, words, *later))


def _epochs_within(run: Run, limit: TimeLimit) -> tuple[float, str]:
    """As many epochs as fit in the time, measured on this machine; and the sentence about it."""
    state = build_state(run.config, run.data, run.device)
    step = budget.seconds_per_step(state, run.loader, limit.minutes)
    most = budget.rehearsal_seconds(limit.minutes)
    readings = 0.0 if run.monitor is None else run.monitor.seconds(state.method.encoder, most)  # all that will come
    spent = time.perf_counter() - limit.started + readings
    step, spent = distributed.mean(torch.tensor([step, spent], device=run.device)).tolist()
    epochs = budget.epochs_within(limit.minutes, spent, step, run.config, run.images)
    rate, available, enough = run.config.batch_size / step, budget.in_words(limit.minutes), limit.most_epochs
    if enough is not None and epochs >= enough:
        time_needed = budget.in_words(enough * run.images / rate / 60)
        return enough, f"epochs {enough:g}: {rate:.0f} images/s here, about {time_needed}"
    return epochs, f"epochs {epochs:.4g}: {available} at {rate:.0f} images/s, measured here on a few updates"
