"""How many epochs fit in a budget of time: measured on this machine, with this data, before the run."""

import dataclasses
import math
import re
import time
from collections.abc import Iterator

from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.data.loader import Loader
from byol.data.sources.open import Source
from byol.errors import UserError
from byol.methods.base import Progress
from byol.methods.table import method_class
from byol.pretraining.checks import training_set
from byol.pretraining.state import TrainState
from byol.pretraining.train import TrainStep
from byol.runtime import distributed

WARM_STEPS = 2
"""Steps that are not timed: memory is taken and kernels are chosen in them."""
ENOUGH_STEPS = 50
"""Timed steps that are enough, if they took the shorter of the next two times."""
UNWAITED_STEPS = 10
"""Steps between two synchronizations with a GPU."""
REHEARSAL_SHARE = 0.02
"""Part of the budget that the rehearsal may take, within the next two limits."""
REHEARSAL_SECONDS = (2.0, 30.0)
SMALL_BATCH = 8
"""Images, at least, of the update that is timed first: it shows whether whole ones can be measured in the time."""
RESERVE = 0.06
"""Part of the budget kept for checkpoints, readings, and a machine that slows down as it warms up."""

LEAST_UPDATES = 20
"""Updates below which a run is not worth starting."""

UNITS = {"s": 1 / 60, "m": 1.0, "min": 1.0, "h": 60.0, "d": 1440.0}


def minutes(text: str) -> float:
    """Minutes in a budget such as `90s`, `20m`, `2h`, `1h30m` or `1d`.

    Raises:
        UserError: it is no such thing, or no time at all.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*(min|[smhd])", text.strip().lower())
    if not parts or "".join(n + u for n, u in parts) != re.sub(r"\s", "", text.lower()):
        raise UserError(f"The budget {text!r} is no time; write 90s, 20m, 2h, 1h30m or 1d.")
    total = sum(float(number) * UNITS[unit] for number, unit in parts)
    if total <= 0:
        raise UserError(f"The budget {text!r} is no time at all; give at least a minute.")
    return total


def in_words(minutes: float) -> str:
    """`5 seconds`, `1 minute`, `20 minutes`, `2.5 hours`."""
    number, unit = (minutes, "minute") if minutes < 120 else (minutes / 60, "hour")
    if minutes < 2 and minutes != 1:
        number, unit = 60 * minutes, "second"
    text = f"{number:.3g}"
    return f"{text} {unit}{'' if text == '1' else 's'}"


def rehearsal_seconds(budget_minutes: float) -> float:
    """What measuring the speed may take."""
    low, high = REHEARSAL_SECONDS
    return min(high, max(low, REHEARSAL_SHARE * budget_minutes * 60))


def _from_a_small_batch(state: TrainState, loader: Loader, limit: float) -> float:
    """Time of an update by that of a smaller batch, from above: fewer images at once take longer each.

    0 where no batch is smaller by half that the method takes, and where another batch would compile the step again.
    """
    config, source = loader.config, loader.storage.source
    if loader.device.type != "cpu" or config.optim.compile:
        return 0.0
    least = 2 * config.optim.accumulate * distributed.world_size()
    sizes = [least << k for k in range(16) if SMALL_BATCH <= least << k <= config.batch_size // 2]
    small = next((size for size in sizes if _is_taken(replace(config, batch_size=size), source)), None)
    if small is None:
        return 0.0
    few = dataclasses.replace(loader, config=replace(config, batch_size=small))
    took: list[float] = []
    for seconds in first_updates(state, few, WARM_STEPS):
        took.append(seconds)
        if distributed.any_rank(seconds > limit, loader.device):
            break
    return min(took) * (config.batch_size / small)


def first_updates(state: TrainState, loader: Loader, count: int) -> Iterator[float]:
    """Seconds of each of a run's first updates, pipeline included, on a state that is thrown away afterwards."""
    train_step, scheduled = TrainStep(state, loader.config), state.method.scheduled(Progress(1, 1))
    began = time.perf_counter()
    for batches in loader.batches(0, count):
        train_step(batches, 0.0, scheduled)[0].item()
        now = time.perf_counter()
        yield now - began
        began = now


def _is_taken(config: PretrainConfig, source: Source) -> bool:
    """Whether a method can train with these settings."""
    try:
        method_class(config.method).check(config, training_set(source))
    except UserError:
        return False
    return True


def seconds_per_step(state: TrainState, loader: Loader, budget_minutes: float) -> float:
    """Time of one update, pipeline included, measured on a state that is thrown away afterwards.

    On a GPU, synchronize only every 10 steps, as in training, after the first two. What was prefetched during the
    first, slow steps is not counted. Where a small batch shows that even these steps would take longer than measuring
    may, its time per image counts.
    """
    config = loader.config
    train_step = TrainStep(state, config)
    scheduled = state.method.scheduled(Progress(1, 1))
    warm = WARM_STEPS + train_step.warmup_steps
    least, limit = REHEARSAL_SECONDS[0], rehearsal_seconds(budget_minutes)
    guessed = _from_a_small_batch(state, loader, limit)
    if distributed.any_rank(guessed * (warm + loader.prefetches + 1) > limit, loader.device):
        return guessed
    every = 1 if loader.device.type == "cpu" else UNWAITED_STEPS
    started = began = time.perf_counter()
    for timed, batches in enumerate(loader.batches(0, 10_000), start=1 - warm - loader.prefetches):
        loss, _ = train_step(batches, 0.0, scheduled)
        if timed < 0 or (timed > 2 and timed % every):
            continue
        loss.item()  # wait for the device
        now = time.perf_counter()
        if timed == 0:
            began = now
            started = now if config.optim.compile else started  # compiling is no rehearsing
        # all processes stop at the same step: every step has reductions in it
        elif distributed.any_rank(now - started > (limit if timed < ENOUGH_STEPS else least), loader.device):
            break
    return (now - began) / timed


def epochs_within(
    budget_minutes: float, spent_seconds: float, step_seconds: float, config: PretrainConfig, images: int
) -> float:
    """Epochs whose whole schedule ends in time.

    Raises:
        UserError: not even a few updates fit in.
    """
    left = budget_minutes * 60 * (1 - RESERVE) - spent_seconds
    updates = left / step_seconds
    if updates < LEAST_UPDATES:
        needed = (LEAST_UPDATES * step_seconds + spent_seconds) / 60 / (1 - RESERVE)
        enough = math.ceil(60 * needed) / 60 if needed < 2 else math.ceil(needed)
        raise UserError(
            f"An update takes {step_seconds:.2g} s here after {spent_seconds:.0f} s of preparation, so the budget of "
            f"{in_words(budget_minutes)} is too short to learn anything; give {in_words(enough)} or more, or a "
            "smaller --encoder, --image-size or --batch-size."
        )
    # six digits, not three places: of many images a few updates are a small part of an epoch
    return float(f"{updates * config.batch_size / images:.6g}")
