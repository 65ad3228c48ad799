"""Go on with a run that was stopped: the same images, the same numbers, the same end."""

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import torch

from byol.data.contents import holds
from byol.data.labeling import Images, Labeling
from byol.data.reading import opened_as
from byol.data.sources.open import Source
from byol.encoders.file import WEIGHTS
from byol.errors import UserError
from byol.pretraining.busy import threads_kept
from byol.pretraining.finish import Outcome, finish
from byol.pretraining.history import History
from byol.pretraining.keep import BEST, is_finished
from byol.pretraining.run import on_device
from byol.pretraining.run_folder import RunPlan, change_plan, load_plan, stored_places
from byol.pretraining.run_page import write_run_page
from byol.pretraining.setup import Run, open_images, outputs, prepare
from byol.pretraining.state import build_state
from byol.recipes.facts import find_facts
from byol.runtime import checkpoint, distributed
from byol.runtime.metrics import cut_metrics
from byol.runtime.signals import orderly_exit

log = logging.getLogger(__name__)


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
    if is_finished(folder.path):
        if folder.verdict.is_file() and not folder.page.is_file():  # killed when all else was there
            (folder.path / BEST).unlink(missing_ok=True)
            write_run_page(folder.path)
        raise UserError(f"The run in {folder.path} is finished; its encoder is {folder.path / WEIGHTS}.")
    config = plan.config
    with on_device({"device": config.device}) as device, folder.owned() if distributed.is_first() else nullcontext():
        labeling = Labeling(labels=labels or plan.labels, groups=groups or plan.groups, unlabeled=plan.unlabeled)
        places = {"data": data, "monitor": monitor, "labels": labels, "groups": groups}
        moved = {key: at for key, at in places.items() if at is not None}
        images = _found_again(plan, moved, labeling, device)
        saved, messages = checkpoint.load_checkpoint(folder.checkpoints)
        writes = folder if distributed.is_first() else None
        if writes is not None:
            cut_metrics(folder.metrics, -1 if saved is None else saved.step)  # before they are opened
        with (
            orderly_exit(),
            threads_kept(plan.threads),
            outputs(writes, config, images.source.name, quiet=quiet) as out,
        ):
            for message in messages:
                log.warning(message)
            run = prepare(config, images, find_facts(images.source, images.monitor, device, {})[1], device, out)
            _check_same_images(run, plan)
            if writes is not None:
                change_plan(folder, stored_places(moved))
            state, history = build_state(config, run.data, device), History()
            if saved is not None:
                checkpoint.restore_state(state.method, state.optimizer, saved.tensors)
                state.step, history = saved.step, History.from_json(saved.extra)
            log.info(f"going on with {folder.path} after {state.step} of {config.total_steps(run.images)} updates")
            return finish(run, state, history)


def _found_again(
    plan: RunPlan, moved: Mapping[str, str | Path | Source], labeling: Labeling, device: torch.device
) -> Images:
    """The images of a run that goes on: where they are said to be now, or else where they were."""
    asked = plan.config.data
    try:
        data, monitor = moved.get("data", plan.data), moved.get("monitor", plan.monitor)
        with opened_as(asked):
            images = open_images(data, monitor, asked.channels, device, labeling)
    except UserError as error:
        if moved:
            raise
        raise UserError(f"{error} If the images have moved, give their new place beside --resume.") from error
    watched = images.monitor
    if watched is not None and not (
        plan.monitor_fingerprint in (None, watched.fingerprint()) and holds(watched, plan.monitor_content)
    ):
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
    if not holds(run.source, plan.content):
        raise UserError(
            f"Images of {run.source.name!r} have changed since this run was started, though their names and sizes are "
            "the same; restore them, or start a new run."
        )
