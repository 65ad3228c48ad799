"""`byol pretrain`: open, survey, plan, check, build, train, judge; `resume.py` enters the same list further down."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from byol.config.run import PretrainConfig
from byol.config.values import to_json
from byol.data.contents import content_digest
from byol.data.describe import describe
from byol.data.labeling import Images, Labeling
from byol.data.reading import opened_as
from byol.data.sources.open import Source
from byol.data.survey import Survey
from byol.encoders.start import start_words
from byol.errors import UserError
from byol.pretraining import budget as budgets
from byol.pretraining.busy import threads_kept
from byol.pretraining.checks import check
from byol.pretraining.finish import Outcome, finish
from byol.pretraining.history import History
from byol.pretraining.memory import memory_explained
from byol.pretraining.plan_file import (
    PLAN_SUFFIX,
    known_before_planning,
    plan_as_toml,
    read_plan,
    recipe_from_file,
)
from byol.pretraining.planner import Planner, TimeLimit
from byol.pretraining.run_folder import (
    RunFolder,
    RunPlan,
    absolute,
    clear_for_start,
    new_run_folder,
    save_plan,
    stored_places,
)
from byol.pretraining.setup import NOTHING_SAID, Run, monitor_for, open_images, outputs, prepare
from byol.pretraining.state import build_state
from byol.recipes.facts import visible_settings
from byol.recipes.plan import Plan
from byol.recipes.presets import Recipe, recipe_named
from byol.runtime import device as machine
from byol.runtime import distributed
from byol.runtime.signals import orderly_exit

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asks for."""

    data: str | Path | Source
    recipe: str = "auto"
    out: str | Path | None = None
    monitor: str | Path | Source | None = None
    labeling: Labeling = NOTHING_SAID
    budget: str | None = None
    quiet: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    began: float = field(default_factory=time.perf_counter)


def pretrain(
    data: str | Path | Source = "photos:train",
    *,
    recipe: str = "auto",
    out: str | Path | None = None,
    monitor: str | Path | Source | None = None,
    labels: str | Path | None = None,
    groups: str | Path | None = None,
    unlabeled: bool = False,
    budget: str | None = None,
    quiet: bool = False,
    **settings: Any,
) -> Outcome:
    """Train an encoder on images.

    Args:
        data: a folder, a text list, Parquet, a known name such as "cifar10", or a `Source`.
        recipe: the starting point; `byol recipes` lists them. Or the path of a plan that `byol plan` wrote (.toml).
        out: the run's folder; by default `runs/` and the data's name.
        monitor: labeled images that training never sees, for k-NN readings.
        labels: a CSV file of path and label, which counts instead of the data's own labels.
        groups: a CSV file of path and group (patient, plate, site), or "folders": in readings no neighbor of the same
            group votes.
        unlabeled: take folder names, or a column of labels, for no labels.
        budget: a time such as "2h": epochs are chosen so that the run ends within it.
        quiet: say nothing on the terminal.
        settings: anything in `PretrainConfig`, sections by double underscores: `epochs=100, optim__lr=0.3`.

    Raises:
        UserError: whatever the caller can mend, in one sentence.
    """
    labeling = Labeling(labels=labels, groups=groups, unlabeled=unlabeled)
    monitor = monitor_for(data, monitor, labeling)
    if recipe.endswith(PLAN_SUFFIX):
        settings = {**known_before_planning(read_plan(recipe)), **settings}
    request = Request(
        data=data,
        recipe=recipe,
        out=out,
        monitor=monitor,
        labeling=labeling,
        budget=budget,
        quiet=quiet,
        settings=settings,
    )
    with on_device(settings) as device, prepared_run(plan_for(request, device), device) as (run, _):
        state = build_state(run.config, run.data, device)
        return finish(run, state, History())


def make_plan(
    data: str | Path | Source,
    *,
    recipe: str = "auto",
    monitor: str | Path | Source | None = None,
    labeling: Labeling = NOTHING_SAID,
    budget: str | None = None,
    command: str = "byol plan",
    **settings: Any,
) -> str:
    """The plan of the run that `pretrain` would start with the same words, as TOML; see `plan_file`.

    Raises:
        UserError: as `pretrain`.
    """
    monitor = monitor_for(data, monitor, labeling)
    request = Request(
        data=data, recipe=recipe, monitor=monitor, labeling=labeling, budget=budget, quiet=True, settings=settings
    )
    with on_device(settings) as device, prepared_run(plan_for(request, device), device, keeps=False) as (run, reasons):
        return plan_as_toml(run.config, reasons, run.source.name, command)


@dataclass(frozen=True)
class Planned:
    """What was opened, surveyed, planned and checked."""

    request: Request
    images: Images
    survey: Survey
    planner: Planner
    plan: Plan
    config: PretrainConfig
    why_precision: str


def plan_for(request: Request, device: torch.device) -> Planned:
    """Open and survey the images, plan the run, and check it.

    Raises:
        UserError: it cannot start.
    """
    settings = request.settings
    asked = visible_settings(settings).data
    with opened_as(asked):
        images = open_images(request.data, request.monitor, asked.channels, device, request.labeling)
    planner, seen = Planner.of(_recipe(request.recipe), images, device, settings)
    plan = planner.plan()
    config = planner.config(plan)
    check(config, images.source)
    planner, why_precision = planner.with_precision(config, device)
    return Planned(request, images, seen, planner, plan, planner.config(plan), why_precision)


@contextmanager
def prepared_run(
    planned: Planned, device: torch.device, *, keeps: bool = True, rehearses: bool = True
) -> Iterator[tuple[Run, tuple[str, ...]]]:
    """A run that is ready to be built, and the reasons for its plan.

    Args:
        planned: what was planned.
        device: of training.
        keeps: whether the run has a folder.
        rehearses: whether a time limit is kept, which takes measuring.
    """
    request, images, planner = planned.request, planned.images, planned.planner
    limit = _time_limit(request, planned.plan.budget_minutes, planned.config) if rehearses else None
    name = images.source.name if isinstance(request.data, Source) else str(request.data)
    with (
        orderly_exit(),
        threads_kept() as usual,
        _new_folder(request.out, name, keeps) as folder,
        outputs(folder, planned.config, images.source.name, quiet=request.quiet) as out,
    ):
        log.info(describe(images.source, planned.survey))
        for note in planned.survey.notes:
            log.info(note)
        decided = planned.plan
        reasons = decided.reasons if limit is None else planner.settled()
        kind = "plan" if request.recipe.endswith(PLAN_SUFFIX) else "recipe"
        log.info("\n  ".join([f"{kind} {request.recipe}", *reasons]))
        why_device = machine.choose_device(planner.facts.values.device)[1]
        log.info(f"device {device.type}: {why_device}; precision {planned.config.precision}: {planned.why_precision}")
        started = start_words(planned.config.encoder)
        for line in started:
            log.info(line)
        run = prepare(planned.config, images, planned.survey, device, out)
        if limit is not None:
            with memory_explained(run):
                run, decided = planner.within(run, limit)
        if folder is not None:
            threads = torch.get_num_threads()
            plan = _plan_of(run, planned, decided, threads=threads if threads != usual else None)
            save_plan(folder, plan, machine.describe())
            if run.bad:  # not before: a run that is refused leaves no list
                log.info(f"images that were left out are listed in {folder.bad_images}")
        yield run, (*started, *decided.reasons)


def _recipe(name: str) -> Recipe:
    """A recipe by its name, or by the path of a plan's file."""
    return recipe_from_file(name) if name.endswith(PLAN_SUFFIX) else recipe_named(name)


@contextmanager
def on_device(settings: Mapping[str, Any]) -> Iterator[torch.device]:
    """The device that was asked for, and the other processes that train with this one."""
    device, _ = machine.choose_device(visible_settings(settings).device)
    machine.make_ready(device)
    with distributed.processes(device):
        yield device


def _time_limit(request: Request, usual_minutes: float | None, config: PretrainConfig) -> TimeLimit | None:
    """The time that the run may take, if any."""
    if request.budget is None:
        return None if usual_minutes is None else TimeLimit(usual_minutes, config.epochs, request.began)
    limit = TimeLimit(budgets.minutes(request.budget), None, request.began)
    if "epochs" in request.settings:
        raise UserError("epochs and a budget both say how long to train; give one of them.")
    return limit


def _plan_of(run: Run, planned: Planned, decided: Plan, threads: int | None) -> RunPlan:
    request, images = planned.request, planned.images
    monitor, said = images.monitor, request.labeling
    return RunPlan(
        config=run.config,
        recipe=request.recipe,
        data=absolute(images.source.name),
        monitor=None if monitor is None else absolute(monitor.name),
        images=run.images,
        fingerprint=run.source.fingerprint(),
        monitor_fingerprint=None if monitor is None else monitor.fingerprint(),
        content=content_digest(run.source),
        monitor_content=None if monitor is None else content_digest(monitor),
        unlabeled=said.unlabeled,
        recipe_config=to_json(decided.config),
        threads=threads,
        **stored_places({"labels": said.labels, "groups": said.groups}),
    )


@contextmanager
def _new_folder(out: str | Path | None, data: str, keeps: bool) -> Iterator[RunFolder | None]:
    """A new run's folder, in the process that writes; it is removed again if the run never began."""
    if not keeps or not distributed.is_first():
        yield None
        return
    folder = new_run_folder(out, data)
    with folder.owned():
        try:
            clear_for_start(folder)
            yield folder
        except BaseException:
            if not folder.config.exists():
                folder.discard()
            raise
