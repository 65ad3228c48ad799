"""Images that use a small part of their range, such as 12 bits in files of 16, stretched to all of it."""

import torch
from torch import Tensor

from byol.data.formats.header import Header
from byol.data.sources.base import Source
from byol.data.sources.relabeled import Labels, relabeled
from byol.data.sources.tensor import TensorSource

__all__ = ["FULL_RANGE", "stretch", "stretched"]

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


class _Stretched(Source):
    def __init__(self, base: Source, limits: tuple[float, float]) -> None:
        self._base, self._limits = base, limits
        self.name, self.channels, self.remark = base.name, base.channels, base.remark
        self.labels, self.classes, self.labels_from = base.labels, base.classes, base.labels_from
        self.groups = base.groups

    def __len__(self) -> int:
        return len(self._base)

    def read(self, index: int) -> bytes:
        return self._base.read(index)

    def where(self, index: int) -> str:
        return self._base.where(index)

    def image(self, index: int, shrink_to: int | None = None) -> Tensor:
        return stretch(self._base.image(index, shrink_to), self._limits)

    def header(self, index: int) -> Header:
        return self._base.header(index)

    def stored_bytes(self, index: int) -> int | None:
        return self._base.stored_bytes(index)

    def state(self, index: int) -> str:
        return self._base.state(index)

    def fingerprint(self) -> str:
        return self._base.fingerprint()
