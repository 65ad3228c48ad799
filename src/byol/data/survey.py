"""A survey of a source: how many images it has, how large, deep and bright they are, and how many cannot be read."""

from contextlib import suppress
from dataclasses import dataclass, replace
from heapq import nlargest
from statistics import median

import torch
from torch import Tensor

from byol.data.formats.header import Depth, Header
from byol.data.sample import evenly
from byol.data.seen import what_was_read
from byol.data.sources.base import Source
from byol.errors import BadImage, UserError

__all__ = ["Survey", "survey"]

SHRINK_TO = 64
"""Shorter side, in pixels, that images are read at: mean and deviation hardly depend on the size."""

TAIL = 0.001
"""Share of the values at either end that the used range leaves out: hot and dead pixels, dust."""
VALUES_PER_IMAGE = 20_000
"""Values of each image that are sorted for that, evenly spread."""

SIZES_SEEN = 10_000
"""Images whose encoded sizes are looked at to find large ones."""
LARGEST_SEEN = 16
"""The largest of these, whose headers are read."""

VALUES_AT_ONCE = 2**20
"""Values of an image that are turned into float64 at once, in 8 MB; a large photograph at once would take 1.5 GB."""

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
    image_bytes: float
    """Mean bytes of an image once decoded; images with large files are looked for, since few of them weigh much."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """Per channel, in [0, 1], over all pixels of the sample; every image weighs the same."""
    low: float = 0.0
    high: float = 1.0
    """The values below and above which one in a thousand values of the sample is (`TAIL`), in [0, 1]."""
    notes: tuple[str, ...] = ()
    """What was read and what was not, in sentences."""

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
    headers: dict[int, Header] = {}
    moments: list[Tensor] = []
    values: list[Tensor] = []
    bad: list[str] = []
    chosen = evenly(len(source), max(sample, 1))
    for index in chosen:
        try:
            header, (moment, some) = source.header(index), _brightness(source, index)
        except BadImage as error:
            bad.append(f"{source.where(index)} ({error})")
        else:
            headers[index] = header
            moments.append(moment)
            values.append(some)
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
        height_median=round(median(header.height for header in headers.values())),
        width_median=round(median(header.width for header in headers.values())),
        short_side_median=round(median(min(header.height, header.width) for header in headers.values())),
        same_size=len({(header.height, header.width) for header in headers.values()}) == 1,
        depth=max((header.depth for header in headers.values()), key=DEPTHS.index),
        bad=len(bad),
        sampled=len(chosen),
        image_bytes=_image_bytes(source, headers),
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        low=low,
        high=high,
        notes=what_was_read(source, headers),
    )


def _image_bytes(source: Source, headers: dict[int, Header]) -> float:
    """The mean bytes of an image once decoded, from the headers of a sample and of the images with the largest files.

    Each of the largest counts for itself, or for its share where not all sizes are looked at; the sample for the rest.
    """
    asked = evenly(len(source), SIZES_SEEN)
    sizes = {index: size for index in {*asked, *headers} if (size := source.stored_bytes(index)) is not None}
    largest: dict[int, Header] = {}
    for index in nlargest(LARGEST_SEEN, (index for index in asked if index in sizes), key=sizes.__getitem__):
        with suppress(BadImage):
            largest[index] = headers[index] if index in headers else source.header(index)
    if not largest:
        return _mean_bytes(list(headers.values()), source)
    least = min(sizes[index] for index in largest)
    rest = [header for index, header in headers.items() if index not in largest and sizes.get(index, 0) <= least]
    share = len(largest) / len(asked) if rest else 1
    return share * _mean_bytes(list(largest.values()), source) + (1 - share) * _mean_bytes(rest, source)


def _mean_bytes(headers: list[Header], source: Source) -> float:
    values = (header.height * header.width * (1 if header.depth == "8-bit" else 4) for header in headers)
    return source.channels * sum(values) / max(1, len(headers))


def _brightness(source: Source, index: int) -> tuple[Tensor, Tensor]:
    """`_moments` and `_some_values` of an image, which is gone when the next one is decoded."""
    image = source.image(index, shrink_to=SHRINK_TO)
    return _moments(image), _some_values(image)


def _moments(image: Tensor) -> Tensor:
    """(2, C): mean and mean square of each channel, values in [0, 1]; takes little memory beside the image."""
    _, height, width = image.shape
    white = 255 if image.dtype == torch.uint8 else 1
    sums = torch.zeros(2, len(image), dtype=torch.float64)
    for rows in torch.split(image, max(1, VALUES_AT_ONCE // image[:, :1].numel()), dim=1):
        values = rows.double().flatten(1) / white
        sums += torch.stack([values.sum(1), values.square().sum(1)])
    return sums / (height * width)


def _some_values(image: Tensor) -> Tensor:
    """Up to `VALUES_PER_IMAGE` values of all channels, evenly spread, in [0, 1]; a copy, so that the image can go."""
    step, per_channel = max(1, image.numel() // VALUES_PER_IMAGE), image[0].numel()
    # channel by channel, since flattening an image that is laid out channels last copies all of it
    chosen = [channel.flatten()[-number * per_channel % step :: step] for number, channel in enumerate(image)]
    values = torch.cat(chosen).float()
    return values / 255 if image.dtype == torch.uint8 else values


def _tails(values: Tensor) -> tuple[float, float]:
    """The values below and above which a share of `TAIL` is."""
    count = max(1, int(TAIL * len(values)))
    return float(values.kthvalue(count).values), float(values.kthvalue(len(values) + 1 - count).values)
