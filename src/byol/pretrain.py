"""The main verb: from stored images to a trained encoder, watched, resumable, and judged in words."""

import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from byol import budget as budgets
from byol import checkpoint, distributed, machine
from byol.choose import Facts
from byol.config import PretrainConfig, replace
from byol.data.loader import Loader, shrink_side
from byol.data.memory import fits, hold
from byol.data.sources import Source, TensorSource, open_source
from byol.data.survey import Survey, survey
from byol.encoder_file import EncoderCard, load_encoder, save_encoder
from byol.errors import UserError
from byol.evals.features import Transform
from byol.health import PROBE_IMAGES, Health, Verdict
from byol.log import RunLog, cut_metrics
from byol.monitor import Monitor, Reading, split
from byol.networks import parameter_count
from byol.recipes import recipe_named
from byol.run_folder import BadImages, RunFolder, RunPlan, load_plan, new_run_folder, save_plan
from byol.train import State, Watch, build, train


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

    def encoder(self) -> nn.Module:
        """The trained encoder, in evaluation mode."""
        return load_encoder(self.folder)[0]


def pretrain(
    data: str | Path | Source = "photos",
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
        monitor: labelled images that training never sees, for k-NN readings.
        budget: a time such as "2h": epochs are chosen so that the schedule ends within it.
        quiet: say nothing on the terminal.
        settings: anything in `PretrainConfig`, sections by double underscores: `epochs=100, optim__lr=0.3`.

    Raises:
        UserError: whatever the caller can mend, in one sentence.
    """
    asked = replace(PretrainConfig(), **{k: v for k, v in settings.items() if "__" not in k or k.startswith("data__")})
    device, why_device = machine.choose_device(asked.device)
    with distributed.processes(device):
        started = time.perf_counter()
        source = open_source(data, asked.data.channels)
        if monitor is None and source.name == "photos":
            monitor = "photos:test"  # patches of regions that no training patch touches
        watched = None if monitor is None else open_source(monitor, source.channels)
        seen = survey(source)
        facts = Facts(
            survey=seen,
            device=device.type,
            free_memory=machine.free_memory(device),
            given=frozenset(settings),
            values=asked,
        )
        plan = recipe_named(recipe).make(facts)
        config = replace(plan.config, **settings)
        precision, why_precision = machine.choose_precision(config.precision, device)
        config = replace(config, device=device.type, precision=precision)
        _check(config, source, device)
        folder = new_run_folder(out, source.name) if distributed.is_first() else None
        log = RunLog(folder.path if folder else None, config.watch, quiet=quiet, name=source.name)
        try:
            log.say(_describe_data(source, seen))
            log.say(f"recipe {recipe}")
            for reason in plan.reasons:
                log.say(f"  {reason}")
            log.say(f"device {device.type}: {why_device}; precision {precision}: {why_precision}")
            run = _prepare(config, source, watched, seen, device, folder, log)
            minutes = budgets.minutes(budget) if budget is not None else plan.budget_minutes
            if minutes is not None:
                run.config = run.loader.config = _fit_budget(run, minutes, time.perf_counter() - started, log)
            planned = RunPlan(
                config=run.config,
                recipe=recipe,
                data=source.name,
                monitor=None if watched is None else watched.name,
                images=run.images,
                fingerprint=run.loader.source.fingerprint(),
            )
            if folder is not None:
                save_plan(folder, planned, machine.describe())
            return _run(run, build(run.config, source.channels, device), Watch(), log)
        finally:
            log.close()


def resume(
    path: str | Path, *, quiet: bool = False, data: Source | None = None, monitor: Source | None = None
) -> Outcome:
    """Go on with a run from its last whole checkpoint, bit for bit as if it had never stopped.

    Args:
        path: the run's folder.
        quiet: say nothing on the terminal.
        data, monitor: the sources, where the run was given objects and not names.

    Raises:
        UserError: no run there, nothing to go on from, or other images than it was started with.
    """
    folder, plan = load_plan(path)
    config = plan.config
    device, _ = machine.choose_device(config.device)
    with distributed.processes(device):
        source = data or open_source(plan.data, config.data.channels)
        watched = monitor or (None if plan.monitor is None else open_source(plan.monitor, source.channels))
        log = RunLog(folder.path if distributed.is_first() else None, config.watch, quiet=quiet, name=source.name)
        try:
            saved, messages = checkpoint.load_checkpoint(folder.checkpoints)
            for message in messages:
                log.say(message)
            run = _prepare(
                config, source, watched, survey(source), device, folder if distributed.is_first() else None, log
            )
            if run.loader.source.fingerprint() != plan.fingerprint:
                raise UserError(
                    f"{plan.data!r} no longer holds the images this run was started with ({plan.images} then, "
                    f"{run.images} now); restore them, or start a new run."
                )
            state, watch = build(config, source.channels, device), Watch()
            if saved is not None:
                checkpoint.restore_state(state.method, state.optimizer, saved.tensors)
                state.step = saved.step
                _restore_watch(watch, saved.extra)
            if distributed.is_first():
                cut_metrics(folder.metrics, state.step)
            log.say(f"going on with {folder.path} after {state.step} of {config.total_steps(run.images)} updates")
            return _run(run, state, watch, log)
        finally:
            log.close()


@dataclass
class _Run:
    """What stays the same while a run goes on."""

    config: PretrainConfig
    device: torch.device
    loader: Loader
    monitor: Monitor | None
    folder: RunFolder | None
    """None in processes that write nothing."""
    bad: BadImages
    channels: int

    @property
    def images(self) -> int:
        return len(self.loader.source)

    @property
    def autocast(self) -> AbstractContextManager[object]:
        if self.config.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)


def _check(config: PretrainConfig, source: Source, device: torch.device) -> None:
    """What can be known to be wrong before anything is decoded."""
    if len(source) < config.batch_size:
        raise UserError(
            f"{source.name!r} has {len(source)} images, fewer than one batch of {config.batch_size}; "
            f"give --batch-size {max(2, len(source) // 2)} or less, or more images."
        )
    parts = config.optim.accumulate * distributed.world_size()
    if config.batch_size % parts or config.batch_size // parts < 2:
        raise UserError(
            f"A batch of {config.batch_size} cannot be split among {distributed.world_size()} processes with "
            f"{config.optim.accumulate} micro-batches each; give a multiple of {parts}, at least {2 * parts}."
        )
    if len(config.augment.mean) != source.channels:
        raise UserError(
            f"The images have {source.channels} channels, but augment.mean has {len(config.augment.mean)} values; give "
            "--data.channels 3, or --augment.mean and --augment.std with a value per channel."
        )


def _prepare(
    config: PretrainConfig,
    source: Source,
    watched: Source | None,
    seen: Survey,
    device: torch.device,
    folder: RunFolder | None,
    log: RunLog,
) -> _Run:
    """Decide what is kept aside for the monitor, and bring the images into memory if they fit."""
    workers = config.data.workers or min(16, machine.cores())
    kept, bank, queries, sentence = split(source, watched, config.seed)
    training = source if kept is None else source.subset(kept)
    log.say(f"monitor: {sentence}")
    bad = BadImages(None if folder is None else folder.bad_images)
    held: Tensor | list[Tensor] | None = None
    if isinstance(training, TensorSource):
        held = training.images
    else:
        enough, why = _wanted_in_memory(config, seen)
        # a resumed run must take the same way, whatever memory is free then: another would make other pixels
        config = replace(config, data__memory="always" if enough else "never")
        if enough:
            began = time.perf_counter()
            result = hold(training, workers, shrink_side(config.image_size))
            for line in result.bad:
                bad.add(line)
            if bank is source or kept is not None:  # what votes is what is in memory
                bank = result.source
            held, training = result.images, result.source
            log.say(f"images: {why}; decoded once in {time.perf_counter() - began:.1f} s")
        else:
            log.say(f"images: {why}; decoded anew each epoch by {workers} threads")
    if bad:
        where = f", listed in {folder.bad_images}" if folder is not None else ""
        log.say(f"{len(bad)} image{'s' if len(bad) > 1 else ''} cannot be read and left out{where}", style="yellow")
    _check(config, training, device)
    if isinstance(held, Tensor) and bank is training:
        bank = TensorSource(held, training.labels, training.classes, name=training.name)
    loader = Loader(
        source=training,
        config=config,
        device=device,
        workers=workers,
        held=held,
        rank=distributed.rank(),
        world_size=distributed.world_size(),
        on_bad=bad.add,
    )
    monitor = None
    if bank is not None and queries is not None:
        transform = Transform(image_size=config.image_size, mean=config.augment.mean, std=config.augment.std)
        monitor = Monitor(bank, queries, transform, device, workers, autocast=config.precision == "bf16")
    return _Run(config, device, loader, monitor, folder, bad, source.channels)


def _wanted_in_memory(config: PretrainConfig, seen: Survey) -> tuple[bool, str]:
    """Whether images are decoded once and kept, and why; the same answer in every process."""
    if config.data.memory != "auto":
        return config.data.memory == "always", f"data.memory is {config.data.memory}"
    enough, why = fits(seen, machine.free_memory(torch.device("cpu")))
    return not distributed.agree(not enough, torch.device(config.device)), why


def _fit_budget(run: _Run, minutes: float, spent: float, log: RunLog) -> PretrainConfig:
    """The config with as many epochs as fit in the time."""
    began = time.perf_counter()
    state = build(run.config, run.channels, run.device)
    step = budgets.seconds_per_step(state, run.loader, run.config, run.autocast, minutes)
    step = distributed.mean(torch.tensor(step, device=run.device)).item()
    spent = distributed.mean(torch.tensor(spent + time.perf_counter() - began, device=run.device)).item()
    epochs = budgets.epochs_within(minutes, spent, step, run.config, run.images)
    rate = run.config.batch_size / step
    log.say(f"epochs {epochs:g}: {minutes:g} minutes at {rate:.0f} images/s, measured here on a few updates")
    return replace(run.config, epochs=epochs)


def _run(run: _Run, state: State, watch: Watch, log: RunLog) -> Outcome:
    """Train to the end or to an interruption, then keep what there is."""
    config, total = run.config, run.config.total_steps(run.images)
    warmup = config.warmup_steps(run.images)
    encoder = state.method.encoder
    log.say(
        f"{config.method} on {config.encoder}: {parameter_count(encoder) / 1e6:.1f} M parameters in the encoder, "
        f"{run.images} images, batch {config.batch_size}, {config.epochs:g} epochs = {total} updates"
    )
    where = run.folder.path if run.folder is not None else Path()
    log.say(f"run {where}", style="bold")
    keeper = _Keeper(run, state, watch, log, total)
    with _signals() as stopping:
        keeper.stopping = stopping
        verdict = train(
            state,
            run.loader,
            config,
            total_steps=total,
            warmup_steps=warmup,
            autocast=run.autocast,
            log=log,
            probe=_probe(run),
            watch=watch,
            each_step=keeper,
        )
        log.stop_progress()
    keeper.save()
    if verdict is None:
        log.say(f"interrupted after {state.step} of {total} updates; go on with: byol pretrain --resume {where}")
        return Outcome(where, None, interrupted=True)
    reading, untrained = _last_words(run, encoder, verdict, state.step, log)
    if run.folder is not None and not verdict.stops:
        path = save_encoder(run.folder.path, encoder, _card(run, encoder))
        log.say(f"encoder {path}", style="bold")
    distributed.barrier()
    return Outcome(where, verdict, reading, untrained)


def _last_words(
    run: _Run, encoder: nn.Module, verdict: Verdict, step: int, log: RunLog
) -> tuple[Reading | None, Reading | None]:
    """Say whether it worked, and whether it was worth it."""
    style = {"healthy": "bold green", "weak": "bold yellow"}.get(verdict.word, "bold red")
    log.say(verdict.sentence, style=style)
    if verdict.advice:
        log.say(verdict.advice)
    if run.monitor is None or verdict.word == "diverged":
        return None, None
    reading = run.monitor.read(encoder, full=True)
    untrained = run.monitor.read_untrained(run.config)
    log.metrics(step, {"knn/accuracy": reading.accuracy, "knn/untrained": untrained.accuracy})
    gain = 100 * (reading.accuracy - untrained.accuracy)
    worth = "worth it" if gain >= 5 else "worth little so far" if gain >= 1 else "not worth it so far"
    log.say(
        f"20-NN accuracy {reading.accuracy:.1%} on {reading.queries} images that training never saw "
        f"({reading.bank} vote); an untrained encoder has {untrained.accuracy:.1%}: {gain:+.1f} points, {worth}",
        style="bold",
    )
    return reading, untrained


class _Keeper:
    """After each update: checkpoints by the clock, k-NN readings by the epoch, and an ear for signals."""

    def __init__(self, run: _Run, state: State, watch: Watch, log: RunLog, total: int) -> None:
        self.run, self.state, self.watch, self.log, self.total = run, state, watch, log, total
        self.saved_at = time.monotonic()
        self.stopping: dict[Literal["signal"], int] = {}
        every = run.config.watch.knn_every_epochs
        self.read_every = max(1, run.config.steps(every, run.images) if every else total // 4)

    def __call__(self, step: int) -> bool:
        """Whether to go on."""
        ended = step == self.total
        if self.run.monitor is not None and step % self.read_every == 0 and not ended:
            reading = self.run.monitor.read(self.state.method.encoder, full=False)
            self.log.metrics(step, {"knn/sample_accuracy": reading.accuracy})
            self.log.say(f"after {step} updates: 20-NN accuracy {reading.accuracy:.1%} (a sample of {reading.queries})")
        asked = bool(self.stopping)
        if distributed.world_size() > 1:  # all processes must stop at the same step
            due = step % self.run.config.watch.log_every == 0
            asked = due and distributed.agree(asked, self.run.device)
        if not ended and not asked and time.monotonic() - self.saved_at > 60 * self.run.config.watch.checkpoint_minutes:
            self.save()
        return ended or not asked

    def save(self) -> None:
        """Write a checkpoint."""
        if self.run.folder is not None:
            tensors = checkpoint.gather_state(self.state.method, self.state.optimizer)
            checkpoint.save_checkpoint(
                self.run.folder.checkpoints, self.state.step, tensors, _watch_as_json(self.watch)
            )
        self.saved_at = time.monotonic()


@contextmanager
def _signals() -> Iterator[dict[Literal["signal"], int]]:
    """Note SIGINT and SIGTERM instead of dying of them; a second one kills as usual."""
    seen: dict[Literal["signal"], int] = {}

    def note(number: int, frame: FrameType | None) -> None:
        seen["signal"] = number
        for name, handler in before.items():
            signal.signal(name, handler)

    before: dict[signal.Signals, Any] = {}
    try:
        for name in (signal.SIGINT, signal.SIGTERM):
            before[name] = signal.signal(name, note)
    except ValueError:  # not the main thread: whoever started us listens
        before.clear()
    try:
        yield seen
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _probe(run: _Run) -> tuple[Tensor, Tensor]:
    """Two views of the same images, always the same: what the health measures look at."""
    count = min(PROBE_IMAGES, run.images)
    config = replace(run.config, batch_size=count, seed=0, optim__accumulate=1)
    loader = Loader(run.loader.source, config, run.device, run.loader.workers, run.loader.held, on_bad=run.bad.add)
    batch = next(loader.batches(0, 1))[0]
    return batch.views(config.augment, config.image_size)


def _card(run: _Run, encoder: nn.Module) -> EncoderCard:
    config = run.config
    return EncoderCard(
        encoder=config.encoder,
        width=config.network.width,
        stem=config.network.stem,
        in_chans=run.channels,
        image_size=config.image_size,
        mean=config.augment.mean,
        std=config.augment.std,
        features=int(encoder.num_features),  # type: ignore[arg-type]
        method=config.method,
        epochs=config.epochs,
        seed=config.seed,
        images=run.images,
    )


def _watch_as_json(watch: Watch) -> dict[str, Any]:
    return {
        "losses": watch.losses[-100:],
        "gradient_norms": watch.gradient_norms[-100:],
        "health": [asdict(h) for h in watch.health[-10:]],
        "since": watch.sums.tolist(),
        "counted": watch.counted,
    }


def _restore_watch(watch: Watch, extra: dict[str, Any]) -> None:
    watch.losses, watch.gradient_norms = list(extra["losses"]), list(extra["gradient_norms"])
    watch.health = [Health(**values) for values in extra["health"]]
    watch.sums, watch.counted = torch.tensor(extra["since"]), extra["counted"]


def _describe_data(source: Source, seen: Survey) -> str:
    size = f"{seen.width_median} x {seen.height_median} px" + ("" if seen.same_size else " in the median")
    labels = "" if source.labels is None else f", {len(set(source.labels))} classes"
    bad = f", {seen.bad} of {seen.sampled} looked at cannot be read" if seen.bad else ""
    colour = {1: "grey", 3: "colour"}.get(seen.channels, f"{seen.channels} channels")
    return f"{source.name}: {seen.count} images, {size}, {colour}, {seen.depth}{labels}{bad}"
