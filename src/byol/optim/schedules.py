"""The learning rate and tau: pure functions of the step.

Both follow the official code (deepmind-research/byol at f5de0ed, utils/schedules.py): the cosine of the learning rate
runs over the steps after the warm-up, that of tau over all steps.
"""

import math


def half_cosine(step: float, total: float) -> float:
    """Fall from 1 at step 0 to 0 at `total` along half a cosine; 0 from there on."""
    if total <= 0 or step >= total:
        return 0.0
    return 0.5 * (1 + math.cos(math.pi * step / total))


def learning_rate(step: int, *, peak: float, warmup_steps: int, total_steps: int) -> float:
    """Learning rate of one step, counted from 0: a linear warm-up, then half a cosine down to 0 (Section 3.3).

    The first step of a warm-up has rate 0, as in the official code (schedules.py:27).
    """
    if step < warmup_steps:
        return peak * step / warmup_steps
    return peak * half_cosine(step - warmup_steps, total_steps - warmup_steps)


def unfrozen(step: int, frozen_steps: int) -> float:
    """Share of its rate that an encoder has at one step: 0 while it is frozen, then up to 1 over as many steps.

    Heads first, then a ramp, as DINOv3's adaptation to other images does it (10,000 updates, then a ramp of 1,000).
    """
    if step < frozen_steps:
        return 0.0
    return min(1.0, (step - frozen_steps + 1) / frozen_steps) if frozen_steps else 1.0


def tau(step: int, *, base: float, total_steps: int) -> float:
    """Share of itself that the target keeps at one step: from `base` at step 0 to 1 at the end (Section 3.3)."""
    return 1 - (1 - base) * half_cosine(step, total_steps)
