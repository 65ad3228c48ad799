"""What is wanted of files that can be read in more than one way."""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from torch import Tensor

from byol.config.axes import Axes
from byol.data.formats.header import Header

__all__ = ["AXES_SETTING", "SMALL", "Versatile", "Wanted", "array_axes"]

AXES_SETTING = "--data.axes"

SMALL = 16
"""The longest axis that is taken for channels by its size alone: Sentinel-2 has 13 bands."""
COLORS = (1, 2, 3, 4)
"""Lengths that are far commoner for channels than for the side of an image."""


@dataclass(frozen=True)
class Wanted:
    """How a file is to be read."""

    axes: Axes = "auto"
    channels: int | None = None
    """The number of channels that was asked for."""

    def keeps_opacity(self, stored: int) -> bool:
        """Whether an image whose last of `stored` channels is opacity gives it as a channel, and is not blended."""
        return self.channels == stored


@runtime_checkable
class Versatile(Protocol):
    """What a `Format` defines besides if its files can be read in more than one way."""

    def header_as(self, data: bytes, wanted: Wanted) -> Header:
        """As `Format.header`; the channels that a file has where no number is asked for."""
        ...

    def decode_as(self, data: bytes, wanted: Wanted) -> Tensor:
        """As `Format.decode`; an image whose last channel is opacity keeps it where that many channels are wanted."""
        ...


def array_axes(shape: tuple[int, int, int]) -> Literal["hwc", "chw"] | None:
    """Which of three axes are height, width and channels, by their lengths; None where nobody can tell.

    A last axis of 1 to 4 is the channels. Else one small axis at an end is; of two, a first one of 1 to 4. Arrays that
    are small all over are H x W x C. Where neither end is small, an image as high as wide is told from its channels.
    """
    first, middle, last = shape
    if last in COLORS or last <= SMALL < first:
        return "hwc"
    if first in COLORS or first <= SMALL < last:
        return "chw"
    if last <= SMALL:  # both
        return "hwc" if middle <= SMALL else None
    return "hwc" if first == middle != last else None
