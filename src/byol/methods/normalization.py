"""How the loss scales predictions and targets before it compares them (arXiv:2006.07733, Appendix F.6, Table 20)."""

from collections.abc import Callable

import torch
from torch import Tensor

from byol.config.methods import Normalization
from byol.runtime.distributed import all_reduce_mean

NORM_FLOOR = 1e-12
"""Smallest sum of squares a vector is divided by (deepmind-research/byol f5de0ed, utils/helpers.py:74)."""


def to_float32(x: Tensor) -> Tensor:
    """In float32 at least."""
    return x if x.dtype == torch.float64 else x.float()


def normalize(x: Tensor) -> Tensor:
    """Scale the rows of (N, D) to unit length, in float32 at least; rows shorter than 1e-6 are only enlarged."""
    x = to_float32(x)
    return x * x.square().sum(-1, keepdim=True).clamp_min(NORM_FLOOR).rsqrt()


def by_layer(x: Tensor) -> Tensor:
    """Each row of (N, D) less its mean, divided by its standard deviation times sqrt(D): of unit length again."""
    x = to_float32(x)
    return normalize(x - x.mean(-1, keepdim=True))


def by_batch(x: Tensor) -> Tensor:
    """Each feature of (N, D) less its mean over the batch, divided by its standard deviation times sqrt(D).

    The batch is that of all processes, one micro-batch of it, as for batch norm. A feature that is the same everywhere
    becomes 0, not infinite.
    """
    x = to_float32(x)
    centered = x - all_reduce_mean(x.mean(0))
    variance = all_reduce_mean(centered.square().mean(0))
    return centered * (variance.clamp_min(NORM_FLOOR) * x.shape[1]).rsqrt()


NORMALIZATIONS: dict[Normalization, Callable[[Tensor], Tensor]] = {
    "l2": normalize,
    "layer": by_layer,
    "none": to_float32,
    "batch": by_batch,
}
