"""Draw every random number of a batch of views, before a pixel is touched."""

import dataclasses
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from byol.config.views import ViewConfig

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
"""Codes of the four color operations in `ViewParams.order`, and their columns in `ViewParams.factors`."""


class Drawn(NamedTuple):
    """What one image's color is changed by, as plain numbers; the fields of `ViewParams`."""

    flip: bool
    vertical_flip: bool
    jitter: bool
    order: list[int]
    factors: list[float]
    gray: bool
    blur: bool
    sigma: float
    solarize: bool


@dataclass(frozen=True)
class ViewParams:
    """What was drawn for one view of each of N images; every tensor has the batch first.

    The numbers fix the pixels on any device: golden vectors test them, and a resumed run draws them again.
    """

    area: Tensor
    """(N,) float32: share of the image's area to crop."""
    log_aspect: Tensor
    """(N,) float32: logarithm of the crop's width over its height."""
    offset: Tensor
    """(N, 2) float32 in [0, 1): where the crop lies between the first and last possible row and column."""
    flip: Tensor
    """(N,) bool: mirror left and right."""
    vertical_flip: Tensor
    """(N,) bool: mirror top and bottom."""
    jitter: Tensor
    """(N,) bool: apply the four color operations."""
    order: Tensor
    """(N, 4) int64: the codes of the color operations in the order of their turn."""
    factors: Tensor
    """(N, 4) float32, by code: added brightness, contrast factor, saturation factor, hue shift in turns."""
    gray: Tensor
    """(N,) bool: lose all color."""
    blur: Tensor
    """(N,) bool: blur."""
    sigma: Tensor
    """(N,) float32: width of the blur in pixels."""
    solarize: Tensor
    """(N,) bool: invert the bright values."""

    def __len__(self) -> int:
        return len(self.area)

    def __getitem__(self, part: slice | Tensor) -> "ViewParams":
        return ViewParams(**{f.name: getattr(self, f.name)[part] for f in dataclasses.fields(self)})

    def one_by_one(self) -> list[Drawn]:
        """Each image's numbers by themselves: an operation on a single image takes a number sooner than a tensor."""
        return [Drawn(*row) for row in zip(*(getattr(self, name).tolist() for name in Drawn._fields), strict=True)]

    @staticmethod
    def join(first: "ViewParams", second: "ViewParams") -> "ViewParams":
        """The numbers of both, one after the other."""
        names = [f.name for f in dataclasses.fields(ViewParams)]
        return ViewParams(**{name: torch.cat([getattr(first, name), getattr(second, name)]) for name in names})


def draw_view(config: ViewConfig, count: int, generator: torch.Generator) -> ViewParams:
    """Draw one view's numbers for `count` images, with the official code's distributions.

    (deepmind-research/byol at f5de0ed: utils/augmentations.py:291-430, utils/dataset.py:206-233.)

    Everything is drawn for every image, applied or not, so that an image's numbers do not depend on its neighbors'.
    """
    # One table of uniforms, on the CPU: the cost is a microsecond an image, and every device sees the same numbers.
    u = torch.rand(count, 19, generator=generator)

    def between(column: int, low: float, high: float) -> Tensor:
        return low + (high - low) * u[:, column]

    return ViewParams(
        area=between(0, *config.area),
        log_aspect=between(1, math.log(config.aspect[0]), math.log(config.aspect[1])),
        offset=u[:, 2:4],
        flip=u[:, 4] < config.flip,
        vertical_flip=u[:, 5] < config.vertical_flip,
        jitter=u[:, 6] < config.jitter,
        order=u[:, 7:11].argsort(dim=1),
        factors=torch.stack(
            [
                between(11, -config.brightness, config.brightness),
                between(12, 1 - config.contrast, 1 + config.contrast),
                between(13, 1 - config.saturation, 1 + config.saturation),
                between(14, -config.hue, config.hue),
            ],
            dim=1,
        ),
        gray=u[:, 15] < config.gray,
        blur=u[:, 16] < config.blur,
        sigma=between(17, *config.sigma),
        solarize=u[:, 18] < config.solarize,
    )
