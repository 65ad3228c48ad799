"""A survey of a source: how many images it has, how large, deep and bright they are, and how many cannot be read."""

from dataclasses import dataclass, replace
from statistics import median

import torch
from torch import Tensor

from byol.data.formats.header import Depth, Header
from byol.data.sample import evenly
from byol.data.sources.base import Source
from byol.errors import BadImage, UserError

__all__ = ["Survey", "survey"]

SHRINK_TO = 64
"""Shorter side, in pixels, that images are read at: mean and deviation hardly depend on the size."""

TAIL = 0.001
"""Share of the values at either end that the used range leaves out: hot and dead pixels, dust."""
VALUES_PER_IMAGE = 20_000
"""Values of each image that are sorted for that, evenly spread."""

DEPTHS: tuple[Depth, ...] = ("8-bit", "16-bit", "float")
"""From shallow to deep."""


@dataclass(frozen=True)
class Survey:
    """Statistics of an evenly spread sample of a source."""

    count: int
    """Images in the whole source."""
    channels: int
    """The number of channels that every image is delivered with."""
    height_median: int
    width_median: int
    short_side_median: int
    """In pixels, of upright images."""
    same_size: bool
    """Whether all images of the sample have one size."""
    depth: Depth
    """The deepest in the sample."""
    bad: int
    """Images of the sample that cannot be read."""
    sampled: int
    """Images in the sample, the bad ones included."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """Per channel, in [0, 1], over all pixels of the sample; every image weighs the same."""
    low: float = 0.0
    high: float = 1.0
    """The values below and above which one in a thousand values of the sample is (`TAIL`), in [0, 1]."""

    def stretched(self, limits: tuple[float, float]) -> "Survey":
        """What a survey of the same images would find once these limits are 0 and 1; but for what is clipped."""
        low, high = limits
        width = high - low
        return replace(
            self,
            mean=tuple(min(1.0, max(0.0, (value - low) / width)) for value in self.mean),
            std=tuple(value / width for value in self.std),
            low=max(0.0, (self.low - low) / width),
            high=min(1.0, (self.high - low) / width),
        )


def survey(source: Source, sample: int = 64) -> Survey:
    """Read `sample` images of a source, spread evenly from its first to its last.

    Raises:
        UserError: more than half of them cannot be read; the message shows up to three.
    """
    headers: list[Header] = []
    moments: list[Tensor] = []
    values: list[Tensor] = []
    bad: list[str] = []
    chosen = evenly(len(source), max(sample, 1))
    for index in chosen:
        try:
            header, image = source.header(index), source.image(index, shrink_to=SHRINK_TO)
        except BadImage as error:
            bad.append(f"{source.where(index)} ({error})")
        else:
            headers.append(header)
            moments.append(_moments(image))
            values.append(_some_values(image))
    if len(bad) * 2 > len(chosen):
        raise UserError(
            f"{len(bad)} of {len(chosen)} images looked at in {source.name!r} cannot be read, such as "
            f"{'; '.join(bad[:3])}; check the path and the files."
        )
    mean, square = torch.stack(moments).mean(0)
    std = (square - mean**2).clamp(min=0).sqrt()
    low, high = _tails(torch.cat(values))
    return Survey(
        count=len(source),
        channels=source.channels,
        height_median=round(median(header.height for header in headers)),
        width_median=round(median(header.width for header in headers)),
        short_side_median=round(median(min(header.height, header.width) for header in headers)),
        same_size=len({(header.height, header.width) for header in headers}) == 1,
        depth=max((header.depth for header in headers), key=DEPTHS.index),
        bad=len(bad),
        sampled=len(chosen),
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        low=low,
        high=high,
    )


def _moments(image: Tensor) -> Tensor:
    """(2, C): mean and mean square of each channel, values in [0, 1]."""
    values = image.double().flatten(1)
    if image.dtype == torch.uint8:
        values = values / 255
    return torch.stack([values.mean(1), (values**2).mean(1)])


def _some_values(image: Tensor) -> Tensor:
    """Up to `VALUES_PER_IMAGE` values of all channels, in [0, 1]."""
    values = image.flatten()
    values = values[:: max(1, len(values) // VALUES_PER_IMAGE)].float()
    return values / 255 if image.dtype == torch.uint8 else values


def _tails(values: Tensor) -> tuple[float, float]:
    """The values below and above which a share of `TAIL` is."""
    count = max(1, int(TAIL * len(values)))
    return float(values.kthvalue(count).values), float(values.kthvalue(len(values) + 1 - count).values)
