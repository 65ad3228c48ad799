"""`byol pretrain`: open, survey, plan, check, build, train, judge; `resume` enters the same list further down."""

import logging
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from byol.config.run import PretrainConfig
from byol.data.describe import describe
from byol.data.labeling import Labeling
from byol.data.sources.open import Source
from byol.data.survey import Survey
from byol.encoders.build import parameter_count
from byol.encoders.file import WEIGHTS, load_encoder
from byol.encoders.start import start_words
from byol.errors import UnreachableImage, UserError
from byol.pretraining import budget as budgets
from byol.pretraining.busy import threads_kept
from byol.pretraining.callbacks import Callbacks
from byol.pretraining.checks import check
from byol.pretraining.history import History
from byol.pretraining.judge import judge_encoder, judge_untrained
from byol.pretraining.keep import is_finished
from byol.pretraining.memory import memory_explained
from byol.pretraining.monitor import Reading
from byol.pretraining.plan_file import (
    PLAN_SUFFIX,
    known_before_planning,
    plan_as_toml,
    read_plan,
    recipe_from_file,
)
from byol.pretraining.planner import Planner, TimeLimit
from byol.pretraining.run_folder import RunFolder, RunPlan, change_plan, load_plan, new_run_folder, save_plan
from byol.pretraining.setup import NOTHING_SAID, Images, Run, monitor_for, open_images, outputs, prepare
from byol.pretraining.state import TrainState, build_state
from byol.pretraining.train import train
from byol.pretraining.verdict import Verdict
from byol.recipes.facts import find_facts, visible_settings
from byol.recipes.plan import Plan
from byol.recipes.presets import Recipe, recipe_named
from byol.runtime import checkpoint, distributed
from byol.runtime import device as machine
from byol.runtime.metrics import cut_metrics
from byol.runtime.program import program
from byol.runtime.signals import noted_signals, orderly_exit

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    folder: Path
    verdict: Verdict | None
    """None where the run was interrupted."""
    reading: Reading | None = None
    """k-NN accuracy of the trained encoder, where there were labels."""
    start: Reading | None = None
    """The same for the encoder that the run began with; where its weights were fresh, after its batch norm had seen
    training images."""
    pixels: Reading | None = None
    """The same for the images' own values."""
    interrupted: bool = False

    def encoder(self) -> nn.Module:
        """The trained encoder, in evaluation mode."""
        return load_encoder(self.folder)


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
    with _on_device(settings) as device, prepared_run(plan_for(request, device), device) as (run, _):
        state = build_state(run.config, run.data, device)
        return _finish(run, state, History())


def resume(
    path: str | Path,
    *,
    quiet: bool = False,
    data: str | Path | Source | None = None,
    monitor: str | Path | Source | None = None,
    labels: str | Path | None = None,
    groups: str | Path | None = None,
) -> Outcome:
    """Go on with a run from its last whole checkpoint as if it had never stopped: on a processor bit for bit.

    Args:
        path: the run's folder.
        quiet: say nothing on the terminal.
        data: the training images again, if the run was given an object instead of a name, or if they have moved;
            the new place is kept.
        monitor: the same for the images of `monitor`.
        labels: the same for the file of `labels`.
        groups: the same for the file of `groups`.

    Raises:
        UserError: no run there, nothing to go on from, or other images than it was started with.
    """
    folder, plan = load_plan(path)
    for flag, now, then in (
        ("--monitor", monitor, plan.monitor),
        ("--labels", labels, plan.labels),
        ("--groups", groups, plan.groups),
    ):
        if now is not None and then is None:
            raise UserError(f"The run in {folder.path} was started without {flag}; leave it out.")
    if is_finished(folder.path, plan):
        raise UserError(f"The run in {folder.path} is finished; its encoder is {folder.path / WEIGHTS}.")
    config = plan.config
    with _on_device({"device": config.device}) as device, folder.owned() if distributed.is_first() else nullcontext():
        labeling = Labeling(labels=labels or plan.labels, groups=groups or plan.groups, unlabeled=plan.unlabeled)
        places = {"data": data, "monitor": monitor, "labels": labels, "groups": groups}
        moved = {key: at for key, at in places.items() if at is not None}
        images = _found_again(plan, moved, labeling, device)
        saved, messages = checkpoint.load_checkpoint(folder.checkpoints)
        writes = folder if distributed.is_first() else None
        if writes is not None:
            cut_metrics(folder.metrics, -1 if saved is None else saved.step)  # before they are opened
        with outputs(writes, config, images.source.name, quiet=quiet) as out:
            for message in messages:
                log.warning(message)
            run = prepare(config, images, find_facts(images.source, images.monitor, device, {})[1], device, out)
            _check_same_images(run, plan)
            if writes is not None:
                change_plan(
                    folder, {key: _absolute(str(at)) for key, at in moved.items() if isinstance(at, str | Path)}
                )
            state, history = build_state(config, run.data, device), History()
            if saved is not None:
                checkpoint.restore_state(state.method, state.optimizer, saved.tensors)
                state.step, history = saved.step, History.from_json(saved.extra)
            log.info(f"going on with {folder.path} after {state.step} of {config.total_steps(run.images)} updates")
            return _finish(run, state, history)


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
    with _on_device(settings) as device, prepared_run(plan_for(request, device), device, keeps=False) as (run, reasons):
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
    channels = visible_settings(settings).data.channels
    images = open_images(request.data, request.monitor, channels, device, request.labeling)
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
    with (
        orderly_exit(),
        threads_kept(),
        _new_folder(request.out, images.source.name, keeps) as folder,
        outputs(folder, planned.config, images.source.name, quiet=request.quiet) as out,
    ):
        log.info(describe(images.source, planned.survey))
        reasons = planned.plan.reasons if limit is None else planner.settled()
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
                run, reasons = planner.within(run, limit)
        if folder is not None:
            save_plan(folder, _plan_of(run, request, images), machine.describe())
            if run.bad:  # not before: a run that is refused leaves no list
                log.info(f"images that were left out are listed in {folder.bad_images}")
        yield run, (*started, *reasons)


def _recipe(name: str) -> Recipe:
    """A recipe by its name, or by the path of a plan's file."""
    return recipe_from_file(name) if name.endswith(PLAN_SUFFIX) else recipe_named(name)


@contextmanager
def _on_device(settings: Mapping[str, Any]) -> Iterator[torch.device]:
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


def _plan_of(run: Run, request: Request, images: Images) -> RunPlan:
    monitor, said = images.monitor, request.labeling
    return RunPlan(
        config=run.config,
        recipe=request.recipe,
        data=_absolute(images.source.name),
        monitor=None if monitor is None else _absolute(monitor.name),
        images=run.images,
        fingerprint=run.source.fingerprint(),
        monitor_fingerprint=None if monitor is None else monitor.fingerprint(),
        labels=None if said.labels is None else _absolute(str(said.labels)),
        groups=str(said.groups) if said.by_folders else None if said.groups is None else _absolute(str(said.groups)),
        unlabeled=said.unlabeled,
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
            yield folder
        except BaseException:
            if not folder.config.exists():
                folder.discard()
            raise


def _absolute(name: str) -> str:
    """A path that also holds from another working directory; names of known data sets pass."""
    return str(Path(name).expanduser().resolve()) if Path(name).expanduser().exists() else name


def _found_again(
    plan: RunPlan, moved: Mapping[str, str | Path | Source], labeling: Labeling, device: torch.device
) -> Images:
    """The images of a run that goes on: where they are said to be now, or else where they were."""
    channels = plan.config.data.channels
    try:
        data, monitor = moved.get("data", plan.data), moved.get("monitor", plan.monitor)
        images = open_images(data, monitor, channels, device, labeling)
    except UserError as error:
        if moved:
            raise
        raise UserError(f"{error} If the images have moved, give their new place beside --resume.") from error
    watched = images.monitor
    if watched is not None and plan.monitor_fingerprint not in (None, watched.fingerprint()):
        raise UserError(
            f"{watched.name!r} does not hold the images that this run's readings are of; restore them, or start a "
            "new run."
        )
    return images


def _check_same_images(run: Run, plan: RunPlan) -> None:
    if run.source.fingerprint() != plan.fingerprint:
        raise UserError(
            f"{run.source.name!r} does not hold the images this run was started with ({plan.images} then, "
            f"{run.images} now); restore them, or start a new run."
        )


def _finish(run: Run, state: TrainState, history: History) -> Outcome:
    """Train to the end or to an interruption, judge, and keep what there is."""
    config, total = run.config, run.config.total_steps(run.images)
    epochs = f"{config.epochs:.4g} epoch{'' if config.epochs == 1 else 's'} = {total} updates"
    length = f"{run.images} images, batch {config.batch_size}, {epochs}" if total else "no training"
    size = parameter_count(state.method.encoder) / 1e6
    log.info(f"{config.method.name} on {config.encoder.name}: {size:.1f} M parameters, {length}")
    where = run.folder.path if run.folder is not None else Path()
    log.info(f"run {where}", extra={"style": "bold"})
    verdict = _trained(run, state, history) if total else judge_untrained(run, state.method)
    if verdict is None:
        log.info(f"interrupted after {state.step} of {total} updates; go on with: {_go_on(run)}")
        return Outcome(where, None, interrupted=True)
    found = judge_encoder(run, state, verdict)
    distributed.barrier()
    return Outcome(where, found.verdict, found.reading, found.start, found.pixels)


def _go_on(run: Run) -> str:
    where = run.folder.path if run.folder is not None else Path()
    return f"{program()} {shlex.join(['pretrain', '--resume', str(where)])}"


def _trained(run: Run, state: TrainState, history: History) -> Verdict | None:
    """Train to the end or to an interruption, and keep the state; None where it was interrupted."""
    total, known = run.config.total_steps(run.images), len(run.bad)
    with noted_signals() as stopping:
        callbacks: Callbacks | None = None
        try:
            with memory_explained(run):
                callbacks = Callbacks(run, state, history, stopping)
                batches = callbacks.timed_batches(run.loader.batches(state.step, total))
                train(state, batches, run.config, run.images, callbacks)
            callbacks.save()  # before anything is said: the reader may be gone
            run.bar.stop()
        except (UserError, OSError) as error:  # mostly a disk that is full
            said = str(error) if isinstance(error, UserError) else f"The run cannot write: {error.strerror or error}."
            gone = isinstance(error.__cause__, UnreachableImage)  # between two updates: the state is whole
            if gone and callbacks is not None and distributed.world_size() == 1:
                with suppress(UserError, OSError):  # of a run folder on the same disk
                    callbacks.save()
            if callbacks is not None and callbacks.saved_step:  # where nothing was learned there is nothing to keep
                said += f" It is kept up to update {callbacks.saved_step}; go on with: {_go_on(run)}"
            raise UserError(said) from error
        run.bad.share()
        distributed.barrier()  # torchrun ends all processes when one ends
    if len(run.bad) > known and run.folder is not None:
        log.warning(
            f"{len(run.bad) - known} more images could not be read, were passed over, and are listed in "
            f"{run.folder.bad_images}",
            extra={"style": "yellow"},
        )
    return callbacks.verdict
