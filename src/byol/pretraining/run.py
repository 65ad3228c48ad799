"""The main verb: from stored images to a trained encoder, watched, resumable, and judged in words."""

import dataclasses
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from byol.config.run import overrule
from byol.config.values import replace
from byol.data.sources.open import Source, is_fetched, open_source
from byol.data.survey import survey
from byol.encoders.build import parameter_count
from byol.encoders.file import WEIGHTS, EncoderCard, load_encoder, save_encoder
from byol.errors import UserError, memory_is_full
from byol.pretraining import budget as budgets
from byol.pretraining.callbacks import Callbacks, restore_history, signals, tidy_end
from byol.pretraining.health import Verdict, measure, represent_with, untrained
from byol.pretraining.monitor import Reading, gain_in_words, held_out
from byol.pretraining.planner import Choosing
from byol.pretraining.run_folder import RunFolder, RunPlan, change_plan, load_plan, new_run_folder, save_plan
from byol.pretraining.setup import Run, check, describe_data, prepare, probe
from byol.pretraining.train import History, State, build, train
from byol.recipes.auto import Facts, visible_settings
from byol.recipes.presets import recipe_named
from byol.runtime import checkpoint, distributed
from byol.runtime import device as machine
from byol.runtime.metrics import RunLog, cut_metrics


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    folder: Path
    verdict: Verdict | None
    """None where the run was interrupted."""
    reading: Reading | None = None
    """k-NN accuracy of the trained encoder, where there were labels."""
    untrained: Reading | None = None
    """The same for a random encoder."""
    interrupted: bool = False
    stopped: bool = False
    """Whether it was stopped because it had collapsed or diverged."""

    def encoder(self) -> nn.Module:
        """The trained encoder, in evaluation mode."""
        return load_encoder(self.folder)


def pretrain(
    data: str | Path | Source = "photos:train",
    *,
    recipe: str = "auto",
    out: str | Path | None = None,
    monitor: str | Path | Source | None = None,
    budget: str | None = None,
    quiet: bool = False,
    **settings: Any,
) -> Outcome:
    """Train an encoder on images.

    Args:
        data: a folder, a text list, Parquet, a known name such as "cifar10", or a `Source`.
        recipe: the starting point; `byol recipes` lists them.
        out: the run's folder; by default `runs/` and the data's name.
        monitor: labeled images that training never sees, for k-NN readings.
        budget: a time such as "2h": epochs are chosen so that the run ends within it.
        quiet: say nothing on the terminal.
        settings: anything in `PretrainConfig`, sections by double underscores: `epochs=100, optim__lr=0.3`.

    Raises:
        UserError: whatever the caller can mend, in one sentence.
    """
    asked = visible_settings(settings)
    device, why_device = machine.choose_device(asked.device)
    machine.make_ready(device)
    with distributed.processes(device):
        started = time.perf_counter()
        source = _opened(data, asked.data.channels, device)
        if monitor is None and source.name == "photos:train":
            monitor = "photos:test"  # patches of regions that no training patch touches
        watched = None if monitor is None else _opened(monitor, source.channels, device)
        seen = survey(source)
        facts = Facts(
            survey=dataclasses.replace(seen, count=len(source) - held_out(source, watched)),  # what is trained on
            device=device.type,
            free_memory=distributed.all_reduce_min(machine.free_memory(device), device),  # all must choose alike
            given=frozenset(settings),
            values=asked,
        )
        choosing = Choosing(recipe_named(recipe), facts)
        plan = choosing.plan()
        precision, why_precision = machine.choose_precision(asked.precision, device)
        settings = {**settings, "device": device.type, "precision": precision}
        config = overrule(plan.config, settings)
        check(config, source)
        minutes = budgets.minutes(budget) if budget is not None else plan.budget_minutes
        if budget is not None and config.method == "random":
            raise UserError("The method random trains nothing, so there is no time to choose; leave the budget out.")
        if budget is not None and "epochs" in settings:
            raise UserError("epochs and a budget both say how long to train; give one of them.")
        with tidy_end(), _new_folder(out, source.name) as folder:
            log = RunLog(folder.path if folder else None, config.watch, quiet=quiet, name=source.name)
            try:
                log.say(describe_data(source, seen))
                reasons = plan.reasons if minutes is None else choosing.settled()
                log.say("\n  ".join([f"recipe {recipe}", *reasons]))
                log.say(f"device {device.type}: {why_device}; precision {precision}: {why_precision}")
                run = prepare(config, source, watched, seen, device, folder, log)
                if minutes is not None and config.method != "random":
                    most = config.epochs if budget is None else None  # a budget of our own only shortens
                    with _memory_told(run):
                        choosing.within(run, minutes, most, time.perf_counter() - started, settings, log)
                planned = RunPlan(
                    config=run.config,
                    recipe=recipe,
                    data=_absolute(source.name),
                    monitor=None if watched is None else _absolute(watched.name),
                    images=run.images,
                    fingerprint=run.loader.source.fingerprint(),
                    monitor_fingerprint=None if watched is None else watched.fingerprint(),
                )
                if folder is not None:
                    save_plan(folder, planned, machine.describe())
                return _run(run, build(run.config, source.channels, device, run.classes), History(), log)
            finally:
                log.close()


@contextmanager
def _new_folder(out: str | Path | None, data: str) -> Iterator[RunFolder | None]:
    """A new run's folder, in the process that writes; it goes again if the run never began."""
    folder = new_run_folder(out, data) if distributed.is_first() else None
    try:
        yield folder
    except BaseException:
        if folder is not None and not folder.config.exists():
            folder.discard()
        raise


def _absolute(name: str) -> str:
    """A path that also holds from another working directory; names of known data sets pass."""
    return str(Path(name).expanduser().resolve()) if Path(name).expanduser().exists() else name


def resume(
    path: str | Path,
    *,
    quiet: bool = False,
    data: str | Path | Source | None = None,
    monitor: str | Path | Source | None = None,
) -> Outcome:
    """Go on with a run from its last whole checkpoint as if it had never stopped: on a processor bit for bit.

    Args:
        path: the run's folder.
        quiet: say nothing on the terminal.
        data: the training images again, if the run was given an object instead of a name, or if they have moved;
            the new place is kept.
        monitor: the same for the images of `monitor`.

    Raises:
        UserError: no run there, nothing to go on from, or other images than it was started with.
    """
    folder, plan = load_plan(path)
    if monitor is not None and plan.monitor is None:
        raise UserError(f"The run in {folder.path} was started without --monitor; leave it out.")
    if (folder.path / WEIGHTS).is_file():
        raise UserError(f"The run in {folder.path} is finished; its encoder is {folder.path / WEIGHTS}.")
    config = plan.config
    device, _ = machine.choose_device(config.device)
    machine.make_ready(device)
    with distributed.processes(device):
        source = _found_again(data, plan.data, config.data.channels, device)
        watched = None if plan.monitor is None else _found_again(monitor, plan.monitor, source.channels, device)
        if watched is not None and plan.monitor_fingerprint not in (None, watched.fingerprint()):
            raise UserError(
                f"{watched.name!r} does not hold the images that this run's readings are of; restore them, or start a "
                "new run."
            )
        saved, messages = checkpoint.load_checkpoint(folder.checkpoints)
        if distributed.is_first():
            cut_metrics(folder.metrics, 0 if saved is None else saved.step)  # before the log opens it
        log = RunLog(folder.path if distributed.is_first() else None, config.watch, quiet=quiet, name=source.name)
        try:
            for message in messages:
                log.say(message)
            run = prepare(
                config, source, watched, survey(source), device, folder if distributed.is_first() else None, log
            )
            if run.loader.source.fingerprint() != plan.fingerprint:
                raise UserError(
                    f"{source.name!r} does not hold the images this run was started with ({plan.images} then, "
                    f"{run.images} now); restore them, or start a new run."
                )
            if distributed.is_first():
                places = {"data": data, "monitor": monitor}
                moved = {key: _absolute(str(at)) for key, at in places.items() if isinstance(at, str | Path)}
                change_plan(folder, moved)
            state, watch = build(config, source.channels, device, run.classes), History()
            if saved is not None:
                checkpoint.restore_state(state.method, state.optimizer, saved.tensors)
                state.step = saved.step
                restore_history(watch, saved.extra)
            log.say(f"going on with {folder.path} after {state.step} of {config.total_steps(run.images)} updates")
            return _run(run, state, watch, log)
        finally:
            log.close()


def _opened(data: str | Path | Source, channels: int | None, device: torch.device) -> Source:
    """As `open_source`; what is fetched is fetched by one process of a machine."""

    def act() -> Source:
        return open_source(data, channels)

    return distributed.local_main_first(act, device) if isinstance(data, str) and is_fetched(data) else act()


def _found_again(given: str | Path | Source | None, name: str, channels: int | None, device: torch.device) -> Source:
    """The images of a run that goes on: where they are said to be now, or else where they were."""
    if given is not None:
        return _opened(given, channels, device)
    try:
        return _opened(name, channels, device)
    except UserError as error:
        raise UserError(f"{error} If the images have moved, give their new place beside --resume.") from error


def _run(run: Run, state: State, watch: History, log: RunLog) -> Outcome:
    """Train to the end or to an interruption, then keep what there is."""
    config, total = run.config, run.config.total_steps(run.images)
    encoder = state.method.encoder
    length = "no training"
    if config.method != "random":
        length = (
            f"{run.images} images, batch {config.batch_size}, {config.epochs:.4g} epoch"
            f"{'' if config.epochs == 1 else 's'} = {total} updates"
        )
    log.say(f"{config.method} on {config.encoder}: {parameter_count(encoder) / 1e6:.1f} M parameters, {length}")
    where = run.folder.path if run.folder is not None else Path()
    log.say(f"run {where}", style="bold")
    verdict = _as_drawn(run, state, log) if config.method == "random" else _trained(run, state, watch, log)
    if verdict is None:
        log.say(f"interrupted after {state.step} of {total} updates; go on with: {_go_on(run)}")
        return Outcome(where, None, interrupted=True)
    reading, fresh = _last_words(run, encoder, verdict, state.step, log)
    if run.folder is not None and state.step == total:
        path = save_encoder(run.folder.path, encoder, _card(run, encoder))  # last: a run that has it is finished
        log.say(f"encoder {path}", style="bold")
    distributed.barrier()
    return Outcome(where, verdict, reading, fresh, stopped=verdict.stops and config.watch.stop_on_collapse)


def _go_on(run: Run) -> str:
    where = run.folder.path if run.folder is not None else Path()
    return shlex.join(["byol", "pretrain", "--resume", str(where)])


def _trained(run: Run, state: State, watch: History, log: RunLog) -> Verdict | None:
    """Train to the end or to an interruption, and keep the state."""
    total = run.config.total_steps(run.images)
    keeper, known = Callbacks(run, state, watch, log, total), len(run.bad)
    with signals() as stopping:
        keeper.stopping = stopping
        try:
            with _memory_told(run):
                verdict = train(
                    state,
                    run.loader,
                    run.config,
                    total_steps=total,
                    warmup_steps=run.config.warmup_steps(run.images),
                    autocast=run.autocast,
                    log=log,
                    probe=probe(run),
                    watch=watch,
                    each_step=keeper,
                )
            log.stop_progress()
            keeper.save()
        except (UserError, OSError) as error:  # mostly a disk that is full
            said = str(error) if isinstance(error, UserError) else f"The run cannot write: {error.strerror or error}."
            if keeper.saved_step:  # where nothing was learned there is nothing to go on with
                said += f" It is kept up to update {keeper.saved_step}; go on with: {_go_on(run)}"
            raise UserError(said) from error
        run.bad.share()
        distributed.barrier()  # torchrun ends all processes when one ends
    if len(run.bad) > known and run.folder is not None:
        log.say(
            f"{len(run.bad) - known} more images could not be read, were passed over, and are listed in "
            f"{run.folder.bad_images}",
            style="yellow",
        )
    return verdict


@contextmanager
def _memory_told(run: Run) -> Iterator[None]:
    """Where memory is full in between, say what takes less."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not memory_is_full(error):
            raise
        config, accumulate = run.config, run.config.optim.accumulate
        images = config.batch_size // (distributed.world_size() * accumulate)
        less: dict[str, dict[str, Any]] = {
            "--optim.recompute": {"optim__recompute": True},
            f"--optim.accumulate {2 * accumulate}": {"optim__accumulate": 2 * accumulate},
        }
        offered = "".join(f"{flag}, " for flag, change in less.items() if _would_start(run, change))
        raise UserError(
            f"The memory of {run.device.type} is full, with {images} images of {config.image_size} px at once on "
            f"{config.encoder}; end what else takes it, or start with {offered}a smaller --batch-size, --image-size or "
            "--encoder."
        ) from error


def _would_start(run: Run, change: Mapping[str, Any]) -> bool:
    try:
        changed = replace(run.config, **change)
        check(changed, run.loader.source)
    except UserError:
        return False
    return changed != run.config


def _as_drawn(run: Run, state: State, log: RunLog) -> Verdict:
    """One look at an encoder that takes no step."""
    method = state.method
    views = probe(run)
    with run.autocast:
        look = measure(represent_with(method.encoder, method.projector), *views)
    log.metrics(0, {f"health/{k}": v for k, v in look.as_dict().items()})
    return untrained(look)


def _last_words(
    run: Run, encoder: nn.Module, verdict: Verdict, step: int, log: RunLog
) -> tuple[Reading | None, Reading | None]:
    """Say whether it worked, and whether it was worth it."""
    style = {"healthy": "bold green", "weak": "bold yellow", "untrained": "bold"}.get(verdict.word, "bold red")
    log.say(verdict.sentence, style=style)
    if verdict.advice:
        log.say(verdict.advice)
    if run.monitor is None or verdict.word == "diverged":
        return None, None
    reading = run.monitor.read(encoder, full=True)
    words = f"on {reading.queries} images that training never saw ({reading.bank} vote)"
    if run.config.method == "random":
        log.metrics(step, {"knn/accuracy": reading.accuracy, "knn/untrained": reading.accuracy})
        log.say(f"20-NN accuracy {reading.accuracy:.1%} {words}: what the architecture alone is worth", style="bold")
        return reading, reading
    fresh = run.monitor.read_untrained(run.config)
    values = {"knn/accuracy": reading.accuracy, "knn/untrained": fresh.accuracy}
    sample = run.monitor.sample(encoder, reading)
    log.metrics(step, {**values, "knn/sample_accuracy": sample.accuracy, "knn/sample_images": sample.queries})
    log.say(
        f"20-NN accuracy {reading.accuracy:.1%} {words}; an untrained encoder has {fresh.accuracy:.1%}: "
        f"{gain_in_words(reading, fresh)}",
        style="bold",
    )
    return reading, fresh


def _card(run: Run, encoder: nn.Module) -> EncoderCard:
    config = run.config
    return EncoderCard(
        encoder=config.encoder,
        width=config.network.width,
        stem=config.network.stem,
        in_chans=run.channels,
        image_size=config.inference_size(),
        mean=config.augment.mean,
        std=config.augment.std,
        features=int(encoder.num_features),  # type: ignore[arg-type]
        method=config.method,
        epochs=0 if config.method == "random" else config.epochs,
        seed=config.seed,
        images=0 if config.method == "random" else run.images,
    )
