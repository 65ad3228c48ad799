"""Images that use a small part of their range, such as 12 bits in files of 16, stretched to all of it."""

import torch
from torch import Tensor

from byol.data.sources.base import Source
from byol.data.sources.relabeled import Labels, relabeled
from byol.data.sources.tensor import TensorSource
from byol.data.sources.wrapped import WrappedSource

__all__ = ["stretch", "stretched"]

FULL_RANGE = (0.0, 1.0)
BLOCK = 256
"""Images, or channels of one, that are stretched at once."""


def stretch(image: Tensor, limits: tuple[float, float]) -> Tensor:
    """Map values from `limits` to [0, 1] and clip the others; uint8 stays uint8, floats stay floats."""
    low, high = limits
    if image.dtype == torch.uint8:
        values = stretch(torch.arange(256) / 255, limits)
        table = (values * 255).round().to(torch.uint8).to(image.device)
        result = torch.empty_like(image)
        for start in range(0, len(image), BLOCK):  # indices take four times the memory
            result[start : start + BLOCK] = table[image[start : start + BLOCK].int()]
        return result
    return ((image - low) / (high - low)).clamp_(0, 1)


def stretched(source: Source, limits: tuple[float, float] | None) -> Source:
    """The images of a source, stretched; the source itself where the limits are None or the full range."""
    if limits is None or limits == FULL_RANGE:
        return source
    if isinstance(source, TensorSource):
        images = stretch(source.images, limits)
        return relabeled(TensorSource(images, name=source.name), Labels.of(source))
    return _Stretched(source, limits)


class _Stretched(WrappedSource):
    def __init__(self, base: Source, limits: tuple[float, float]) -> None:
        super().__init__(base)
        self._limits = limits

    def image(self, index: int, shrink_to: int | None = None) -> Tensor:
        return stretch(super().image(index, shrink_to), self._limits)
