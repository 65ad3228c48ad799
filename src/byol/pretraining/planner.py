"""What a recipe decides, and decides again once it is measured how much training a time buys."""

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from byol.config.run import overrule
from byol.config.values import replace
from byol.pretraining import budget
from byol.pretraining.setup import Run, check
from byol.pretraining.train import build
from byol.recipes.auto import FEW_UPDATES, Facts, Plan
from byol.recipes.presets import Recipe
from byol.runtime import distributed
from byol.runtime.metrics import RunLog

MEASUREMENTS = 3
"""Times that the speed is measured at most: smaller batches and views are another speed."""


@dataclass(frozen=True)
class Choosing:
    """A recipe and what it looks at."""

    recipe: Recipe
    facts: Facts

    def plan(self, epochs: float | None = None, hurried: bool = False) -> Plan:
        """What the recipe decides, for a run of so many epochs if they are given."""
        if epochs is None:
            return self.recipe.make(self.facts)
        given, values = self.facts.given | {"epochs"}, replace(self.facts.values, epochs=epochs)
        return self.recipe.make(dataclasses.replace(self.facts, given=given, values=values, hurried=hurried))

    def settled(self) -> tuple[str, ...]:
        """The reasons that hold however long the run will be."""
        others = [set(self.plan(epochs, hurried).reasons) for epochs, hurried in ((1.0, True), (1000.0, False))]
        return tuple(reason for reason in self.plan().reasons if all(reason in other for other in others))

    def within(
        self, run: Run, minutes: float, most: float | None, spent: float, settings: Mapping[str, Any], log: RunLog
    ) -> None:
        """Give a prepared run the config with which its whole schedule ends in time.

        A run of another length is another run: batch size, tau, warm-up and the rest follow.

        Args:
            run: what was prepared; its config changes.
            minutes: what the whole run may take.
            most: epochs that are enough, however much time there is.
            spent: seconds that are gone.
            settings: what overrules the recipe.

        Raises:
            UserError: not even a few updates fit in.
        """
        most_each = budget.in_words(budget.rehearsal_seconds(minutes) / 60)
        log.say(f"measuring how fast this machine trains, for {most_each} at most, again if the plan changes by it")
        began, hurried, calm = time.perf_counter(), False, False
        for left in reversed(range(MEASUREMENTS)):
            epochs, words = _epochs_within(run, minutes, most, spent + time.perf_counter() - began)
            fixed = {**settings, "epochs": epochs, "data__memory": run.config.data.memory}
            plan = self.plan(epochs, hurried)
            config = overrule(plan.config, fixed)
            few = epochs != most and config.total_steps(run.images) < FEW_UPDATES
            if (few and not hurried and not calm) or (hurried and epochs == most and left):
                # once so, so it stays: with smaller views the same time allows more. But where all that is wanted fits
                # in with them, it was a busy moment that called for them, and the usual ones have their turn
                hurried, calm = not hurried, hurried
                plan = self.plan(epochs, hurried)
                config = overrule(plan.config, fixed)
            same = (config.batch_size, config.image_size) == (run.config.batch_size, run.config.image_size)
            check(config, run.loader.source)
            run.config = run.loader.config = config
            if same:
                break
        log.say(words)
        said, enough = self.settled(), epochs == most
        # where time is enough for all that is wanted, the reason for that number stands as it is
        wanted = [reason for reason in self.plan().reasons if reason.startswith("epochs")]
        later = [*(wanted if enough else ()), *plan.reasons]
        for reason in dict.fromkeys(later):
            if reason not in said:
                log.say(f"  {reason}")


def _epochs_within(run: Run, minutes: float, most: float | None, spent: float) -> tuple[float, str]:
    """As many epochs as fit in the time, measured on this machine, no more than `most`; and the sentence about it."""
    began = time.perf_counter()
    state = build(run.config, run.channels, run.device, run.classes)
    if run.monitor is not None:
        spent += run.monitor.seconds(state.method.encoder)  # of all readings to come
    step = budget.seconds_per_step(state, run.loader, run.config, run.autocast, minutes)
    spent += time.perf_counter() - began
    step, spent = distributed.mean(torch.tensor([step, spent], device=run.device)).tolist()
    epochs = budget.epochs_within(minutes, spent, step, run.config, run.images)
    rate, available = run.config.batch_size / step, budget.in_words(minutes)
    if most is not None and epochs >= most:
        return (
            most,
            f"epochs {most:g}: {rate:.0f} images/s here, about {budget.in_words(most * run.images / rate / 60)}",
        )
    return epochs, f"epochs {epochs:.4g}: {available} at {rate:.0f} images/s, measured here on a few updates"
