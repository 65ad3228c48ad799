"""OME-Zarr, by zarr: folders with microscope images at several sizes, with channels, planes and times."""

import math
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from byol.config.reading import ReadingConfig
from byol.data.formats.extras import OME_ZARR, silence
from byol.data.formats.header import MAX_PIXELS, Header, check_size
from byol.data.formats.intensity import Array, depth_of, intensities, limits_of, shown
from byol.data.formats.ome_metadata import SAFE_CODECS, OmeImage, codecs_of, ome_images
from byol.data.formats.several import Contents, Opened
from byol.data.sample import evenly
from byol.errors import BadImage

__all__ = ["EXTRA", "contents", "is_store", "open"]

EXTRA = OME_ZARR

MARKS = ("zarr.json", ".zgroup", ".zattrs")
"""Files of which a store's folder has one."""

PERCENTILES = (0.5, 99.5)
"""Of the values of a channel that become black and white, where they have no known range."""
PLANES_SEEN = 16
"""Planes of the coarsest level that give them."""
VALUES_SEEN = 2**20
"""Values of each of their channels, evenly spread, so that large planes take no more memory."""
LOOKS_KEPT = 2**12
"""Stores of which it is known where their images are, without looking at a dozen small files again."""


@dataclass(frozen=True)
class _Level:
    """An image at the size at which it is read."""

    image: OmeImage
    array: Any
    """Of zarr."""

    def length(self, axis: str) -> int:
        return int(self.array.shape[self.image.axes.index(axis)]) if axis in self.image.axes else 1

    def read(self, time: int | None, plane: int | None) -> Array:
        """(T, C, Z, H, W) at one time and plane, or at all."""
        chosen: dict[str, int | None] = {"t": time, "z": plane}
        numbers = (chosen.get(axis) for axis in self.image.axes)
        index = tuple(slice(None) if number is None else slice(number, number + 1) for number in numbers)
        values = np.asarray(self.array[index])
        order = [axis for axis in "tczyx" if axis in self.image.axes]
        others = [axis for axis in self.image.axes if axis not in order]  # of length 1
        values = values.transpose([self.image.axes.index(axis) for axis in (*others, *order)])
        sizes = dict(zip(order, values.shape[len(others) :], strict=True))
        return values.reshape([sizes.get(axis, 1) for axis in "tczyx"])


class _Place:
    """Which planes of the images of a store are images, and what they look like."""

    def __init__(self, path: str, reading: ReadingConfig) -> None:
        store = _opened(path)
        self.levels = [_level(store, image, reading.pyramid_side) for image in ome_images(store)]
        counts = [self._times(level, reading) * self._planes(level, reading) for level in self.levels]
        self.starts = [0, *accumulate(counts)]
        self._reading = reading

    @staticmethod
    def _times(level: _Level, reading: ReadingConfig) -> int:
        return level.length("t") if reading.times == "all" else 1

    @staticmethod
    def _planes(level: _Level, reading: ReadingConfig) -> int:
        return level.length("z") if reading.planes == "all" else 1

    def find(self, number: int) -> tuple[int, int | None, int | None]:
        """The number of the image in the store, the time and the plane; None for all of them together."""
        image = bisect_right(self.starts, number) - 1
        level, reading = self.levels[image], self._reading
        time, plane = divmod(number - self.starts[image], self._planes(level, reading))
        if reading.planes == "middle":
            plane = level.length("z") // 2
        return image, None if reading.times == "channels" else time, None if reading.planes == "brightest" else plane


@lru_cache(maxsize=LOOKS_KEPT)
def _place(path: str, reading: ReadingConfig) -> _Place:
    return _Place(path, reading)


def is_store(path: str | Path) -> bool:
    """Whether a path is the folder of a store, by what lies in it."""
    return any((Path(path) / mark).is_file() for mark in MARKS)


def contents(path: str, reading: ReadingConfig) -> Contents:
    """The planes of all images of a store."""
    place = _place(path, reading)
    if not place.starts[-1]:
        return Contents(numbers=(), instead="no planes")
    first = place.levels[0]
    size = math.prod(first.length(axis) for axis in "cyx") * first.array.dtype.itemsize
    planes = {"all": "all planes", "middle": "the middle plane", "brightest": "the brightest values of all planes"}
    times = {"first": "the first time", "all": "all times", "channels": "times as channels"}
    return Contents(
        numbers=range(place.starts[-1]),
        word="plane" if place.starts[-1] > 1 else "",
        size=size,
        said=f"OME-Zarr: {planes[reading.planes]}, {times[reading.times]}, all channels, at the smallest stored size "
        f"with {reading.pyramid_side} px or more on the shorter side; {_range_in_words(reading)} "
        "(--data.reading.planes, .times, .pyramid-side, .window)",
    )


def open(path: str, reading: ReadingConfig) -> Opened:
    """A store; its values stay on the disk."""
    return _Planes(path, reading)


class _Planes:
    def __init__(self, path: str, reading: ReadingConfig) -> None:
        self._path, self._reading, self._place = path, reading, _place(path, reading)

    def header(self, number: int) -> Header:
        image, time, _ = self._place.find(number)
        level = self._place.levels[image]
        channels = level.length("c") * (level.length("t") if time is None else 1)
        height, width = level.length("y"), level.length("x")
        check_size(height, width, channels)
        as_stored = _as_stored(level, self._reading)
        return Header(height, width, channels, depth_of(level.array.dtype) if as_stored else "float")

    def image(self, number: int) -> Tensor:
        self.header(number)
        image, time, plane = self._place.find(number)
        level = self._place.levels[image]
        values = level.read(time, plane)
        values = values.max(axis=2) if plane is None else values[:, :, 0]
        if _as_stored(level, self._reading):
            return intensities(values.reshape(-1, *values.shape[2:]))
        limits = _limits(self._path, image, self._reading)
        planes = [shown(at[channel].astype(np.float32), span) for at in values for channel, span in enumerate(limits)]
        return torch.from_numpy(np.stack(planes))


def _range_in_words(reading: ReadingConfig) -> str:
    low, high = PERCENTILES
    measured = f"percentiles {low:g} to {high:g} of each channel"
    return {
        "auto": f"8 and 16 bits as they are, of other values the store's windows, else {measured}",
        "file": f"the store's windows, else {measured}",
        "percentiles": measured,
        "hounsfield": f"values {reading.hounsfield[0]:g} to {reading.hounsfield[1]:g}",
    }[reading.window]


def _as_stored(level: _Level, reading: ReadingConfig) -> bool:
    """Whether the range of the stored type is that of the image: 8 and 16 bits without a sign."""
    dtype = level.array.dtype
    return reading.window == "auto" and dtype.kind in "bu" and dtype.itemsize <= 2


@lru_cache(maxsize=LOOKS_KEPT)
def _limits(path: str, number: int, reading: ReadingConfig) -> tuple[tuple[float, float], ...]:
    """The values of an image that become black and white, for each channel."""
    image = _place(path, reading).levels[number].image  # a plate has thousands: they are not looked up again
    coarse = _level(_opened(path), image, 1)
    channels = coarse.length("c")
    if reading.window == "hounsfield":
        return (reading.hounsfield,) * channels
    if reading.window != "percentiles" and image.windows is not None and len(image.windows) == channels:
        return image.windows
    times, planes = coarse.length("t"), coarse.length("z")
    every = max(1, coarse.length("y") * coarse.length("x") // VALUES_SEEN)
    chosen = evenly(times * planes, PLANES_SEEN)
    seen = [coarse.read(*divmod(at, planes)).reshape(channels, -1)[:, ::every].copy() for at in chosen]
    values = np.concatenate(seen, axis=1).astype(np.float64)
    return tuple(limits_of(channel[np.isfinite(channel)], PERCENTILES) for channel in values)


def _opened(path: str) -> Any:
    import zarr

    silence("zarr")
    try:
        return zarr.open_group(path, mode="r")
    except (FileNotFoundError, ValueError):  # an array alone, or another program's folder
        raise BadImage("a Zarr array without OME's description of it, or a store that is not whole") from None


def _level(store: Any, image: OmeImage, side: int) -> _Level:
    """The smallest level whose shorter side has so many pixels, or the largest one; from the largest one on."""
    found: _Level | None = None
    for path in image.levels:
        level = _Level(image, _checked(store[path], image))
        shorter = min(level.length("y"), level.length("x"))
        if found is not None and shorter < side:
            break
        found = level
    assert found is not None, "an image has a level"
    return found


def _checked(array: Any, image: OmeImage) -> Any:
    """An array that may be read: of numbers, in chunks that fit into memory, by codecs that only decode."""
    if len(array.shape) != len(image.axes):
        raise BadImage(f"an array of the shape {array.shape} does not go with the axes {', '.join(image.axes)}")
    others = [axis for axis, size in zip(image.axes, array.shape, strict=True) if axis not in "tczyx" and size != 1]
    if others:
        raise BadImage(f"the axis {others[0]!r} is not read; only t, c, z, y and x are")
    if array.dtype.kind not in "buif":
        raise BadImage(f"values of {array.dtype} are not read; only numbers are")
    if math.prod(array.chunks) > MAX_PIXELS:
        raise BadImage(f"chunks of more than {MAX_PIXELS // 10**6} million values ({array.chunks})")
    other = codecs_of(array.metadata.to_dict()) - SAFE_CODECS
    if other:
        raise BadImage(f"the codec {min(other)!r} is not read; write the store with blosc, zstd or gzip")
    return array
