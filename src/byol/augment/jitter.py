"""Color jitter: brightness, contrast, saturation and hue, for each image in a random order of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import NamedTuple

import torch
from torch import Tensor

from byol.augment.color import Factor, adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation
from byol.augment.params import Numbers, Values, chance, uniform
from byol.config.views import ViewConfig


class Adjustment(NamedTuple):
    """One of the four operations of color jitter."""

    name: str
    """The field of `ViewConfig` with its strength: factors are uniform, at most that far from neutral."""
    neutral: float
    """The factor that leaves an image as it is."""
    adjust: Callable[..., Tensor]
    """(images, factor, out=None) -> images."""
    clips: bool = False
    """Whether values are clipped to [0, 1] after it; the others stay within."""
    needs_rgb: bool = False
    """Whether it means nothing without red, green and blue."""


ADJUSTMENTS = (
    Adjustment("brightness", 0.0, adjust_brightness, clips=True),
    Adjustment("contrast", 1.0, adjust_contrast, clips=True),
    Adjustment("saturation", 1.0, adjust_saturation, needs_rgb=True),
    Adjustment("hue", 0.0, adjust_hue, needs_rgb=True),
)
"""By code, as in "order"; the code is also the column of "factors"."""
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)

PAIRS = ((0, 1), (0, 2), (0, 3), (1, 3), (1, 2), (1, 0), (2, 0), (2, 3), (2, 1), (3, 1), (3, 2), (3, 0))
"""All pairs of adjustments, sorted so that pairs with the same first, and mostly the same second, are neighbors."""
NO_PAIR = len(PAIRS)
RANK = torch.full((len(ADJUSTMENTS), len(ADJUSTMENTS)), NO_PAIR)
for _rank, _pair in enumerate(PAIRS):
    RANK[_pair] = _rank


def draw_jitter(config: ViewConfig, count: int, generator: torch.Generator) -> Numbers:
    """Draw "applied", "order" (N, 4) int64, codes by turn, and "factors" (N, 4) float32 by code."""
    applied = chance(config.jitter, count, generator)
    order = torch.rand(count, len(ADJUSTMENTS), generator=generator).argsort(dim=1)
    strengths = [getattr(config, adjustment.name) for adjustment in ADJUSTMENTS]
    factors = [
        uniform(adjustment.neutral - strength, adjustment.neutral + strength, count, generator)
        for adjustment, strength in zip(ADJUSTMENTS, strengths, strict=True)
    ]
    return {"applied": applied, "order": order, "factors": torch.stack(factors, dim=1)}


@dataclass(frozen=True)
class Arrangement:
    """An order of a batch in which images with the same adjustments at two turns are neighbors.

    An adjustment then works in place on a few runs of images, and the batch is copied once for two turns. Gathering
    the images of each adjustment and writing them back would take two slower copies a turn.
    """

    order: Tensor
    """(N,) int64: the image at each position."""
    outer: list[tuple[int, slice]]
    """Codes of the adjustments at the one turn, four at most, each with the positions of its images."""
    inner: list[tuple[int, slice]]
    """The same of the other turn, nine at most."""


def arrange(numbers: Numbers, outer: int, inner: int) -> Arrangement:
    """Arrange a batch for two turns, counted from 0; images without jitter come last."""
    order = numbers["order"]
    rank = torch.where(numbers["applied"], RANK[order[:, outer], order[:, inner]], NO_PAIR)
    ends = [0, *accumulate(rank.bincount(minlength=NO_PAIR).tolist())]

    def runs(which: int) -> list[tuple[int, slice]]:
        same = ((code, list(pairs)) for code, pairs in groupby(range(NO_PAIR), key=lambda pair: PAIRS[pair][which]))
        positions = [(code, slice(ends[pairs[0]], ends[pairs[-1] + 1])) for code, pairs in same]
        return [(code, images) for code, images in positions if images.start < images.stop]

    return Arrangement(rank.argsort(stable=True), runs(0), runs(1))


class JitterPlan:
    """How a batch is jittered: in one arrangement for the first two turns, in another for the last two."""

    def __init__(self, numbers: Numbers) -> None:
        self._factors = numbers["factors"]
        self._first, self._last = arrange(numbers, 0, 1), arrange(numbers, 3, 2)

    @property
    def before(self) -> Tensor:
        """(N,) int64: which image must be at each position of the batch that is jittered."""
        return self._first.order

    @property
    def after(self) -> Tensor:
        """(N,) int64: which image is at each position of the result."""
        return self._last.order

    def apply(self, x: Tensor) -> Tensor:
        """Jitter (N, C, H, W) floats in [0, 1]; `x` is overwritten."""
        first, last = self._first, self._last
        x = _adjust_runs(x, self._factors[first.order], first.outer + first.inner)
        x = x.index_select(0, first.order.argsort()[last.order].to(x.device, non_blocking=True))
        return _adjust_runs(x, self._factors[last.order], last.inner + last.outer)


def _adjust_runs(x: Tensor, factors: Tensor, runs: list[tuple[int, slice]]) -> Tensor:
    factors = factors.to(x.device, non_blocking=True)
    for code, images in runs:
        _adjust(x[images], factors[images, code], code)
    return x


def jitter_one(x: Tensor, values: Values) -> Tensor:
    """Jitter one image (1, C, H, W), in place."""
    for code in values["order"]:
        _adjust(x, values["factors"][code], code)
    return x


def _adjust(x: Tensor, factor: Factor, code: int) -> None:
    adjustment = ADJUSTMENTS[code]
    if adjustment.needs_rgb and x.shape[1] != 3:
        return
    adjustment.adjust(x, factor, out=x)
    if adjustment.clips:
        x.clamp_(0, 1)


def jitter_fused(x: Tensor, values: Values) -> Tensor:
    """Take all images through all adjustments at each turn, and keep the result where it was drawn."""
    applied, order, factors = values["applied"], values["order"], values["factors"]
    for turn in range(len(ADJUSTMENTS)):
        for code, adjustment in enumerate(ADJUSTMENTS):
            if adjustment.needs_rgb and x.shape[1] != 3:
                continue
            here = applied & (order[:, turn] == code)
            adjusted = adjustment.adjust(x, torch.where(here, factors[:, code], adjustment.neutral))
            adjusted = adjusted.clamp(0, 1) if adjustment.clips else adjusted
            x = torch.where(here.view(-1, 1, 1, 1), adjusted, x)
    return x
