"""The four color operations, each image's in its own order."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, groupby

import torch
from torch import Tensor

from byol.augment.color import Factor, adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation
from byol.augment.draw import BRIGHTNESS, CONTRAST, HUE, SATURATION, Drawn, ViewParams

OPERATIONS: dict[int, Callable[..., Tensor]] = {
    BRIGHTNESS: adjust_brightness,
    CONTRAST: adjust_contrast,
    SATURATION: adjust_saturation,
    HUE: adjust_hue,
}
COLOR_ONLY = (SATURATION, HUE)
"""Operations that mean nothing without red, green and blue."""

PAIRS = ((0, 1), (0, 2), (0, 3), (1, 3), (1, 2), (1, 0), (2, 0), (2, 3), (2, 1), (3, 1), (3, 2), (3, 0))
"""Two operations of an order, next to pairs that share the one or the other."""
NO_PAIR = len(PAIRS)
RANK = torch.full((len(OPERATIONS), len(OPERATIONS)), NO_PAIR)
for _rank, _pair in enumerate(PAIRS):
    RANK[_pair] = _rank


@dataclass(frozen=True)
class Arranged:
    """Where the images of a batch lie, so that those with the same operations at two turns are neighbors.

    An operation then works in place on a few runs of images, and a batch is copied once for two turns: picking images
    out and putting them back would be two copies a turn, of a slower kind.
    """

    order: Tensor
    """(N,) int64: the image that lies at each place."""
    outer: list[tuple[int, slice]]
    """Codes of the operations at the one turn, four at most, each with its images' places."""
    inner: list[tuple[int, slice]]
    """The same of the other turn, nine at most."""


def arrange(params: ViewParams, outer: int, inner: int) -> Arranged:
    """For two turns, counted from 0; images without jitter come last."""
    rank = torch.where(params.jitter, RANK[params.order[:, outer], params.order[:, inner]], NO_PAIR)
    ends = [0, *accumulate(rank.bincount(minlength=NO_PAIR).tolist())]

    def runs(which: int) -> list[tuple[int, slice]]:
        same = ((code, list(pairs)) for code, pairs in groupby(range(NO_PAIR), key=lambda pair: PAIRS[pair][which]))
        places = [(code, slice(ends[pairs[0]], ends[pairs[-1] + 1])) for code, pairs in same]
        return [(code, place) for code, place in places if place.start < place.stop]

    return Arranged(rank.argsort(stable=True), runs(0), runs(1))


def first_turns(params: ViewParams) -> Arranged:
    """For the first and the second operation."""
    return arrange(params, 0, 1)


def last_turns(params: ViewParams) -> Arranged:
    """For the last and the third operation."""
    return arrange(params, 3, 2)


def jitter(x: Tensor, params: ViewParams, first: Arranged, last: Arranged) -> Tensor:
    """Brightness, contrast, saturation and hue where they were drawn.

    Args:
        x: (N, C, H, W) floats in [0, 1], which lie as `first` has them; overwritten.
        params: what was drawn, in the images' own order.
        first: `first_turns` of them.
        last: `last_turns` of them.

    Returns:
        (N, C, H, W) in [0, 1]; the images lie as `last` has them.
    """
    x = _in_place(x, params.factors[first.order], first.outer + first.inner)
    x = x.index_select(0, first.order.argsort()[last.order].to(x.device, non_blocking=True))
    return _in_place(x, params.factors[last.order], last.inner + last.outer)


def jitter_one(x: Tensor, drawn: Drawn) -> Tensor:
    """The same for one image (1, C, H, W), in place."""
    for code in drawn.order if drawn.jitter else ():
        _apply(x, drawn.factors[code], code)
    return x


def _in_place(x: Tensor, factors: Tensor, runs: list[tuple[int, slice]]) -> Tensor:
    factors = factors.to(x.device, non_blocking=True)
    for code, images in runs:
        _apply(x[images], factors[images, code], code)
    return x


def _apply(x: Tensor, factor: Factor, code: int) -> None:
    if code not in COLOR_ONLY:
        OPERATIONS[code](x, factor, out=x).clamp_(0, 1)
    elif x.shape[1] == 3:  # these stay within [0, 1]
        OPERATIONS[code](x, factor, out=x)
