"""Whole-slide images, by OpenSlide: square tiles of tissue at one scale, over white."""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from byol.config.reading import ReadingConfig
from byol.data.formats.extras import SLIDES
from byol.data.formats.header import Header, check_size
from byol.data.formats.several import Contents, Opened
from byol.errors import BadImage

__all__ = ["EXTRA", "contents", "open"]

EXTRA = SLIDES

STAINED = 20
"""A pixel is tissue where its largest and its smallest channel are more than so many of 255 apart: glass, dust and pen
in black are gray, stains are not."""
MASK_SIDE = 16
"""Pixels of the thumbnail on each side of a tile that are looked at."""
MICRONS_AT_1X = 10.0
"""Microns per pixel times the objective's power, where a slide states only the power (OpenSlide's own example: 0.5 at
20x)."""


class _Grid(NamedTuple):
    """Whole tiles from the upper left corner on; what is left at the rim is no tile."""

    rows: int
    columns: int
    side: float
    """Of a tile, in pixels of the largest level."""


def contents(path: str, reading: ReadingConfig) -> Contents:
    """The tiles of tissue, row by row."""
    numbers = _tissue(path, reading)
    if not numbers:
        return Contents(numbers=(), instead="no tissue")
    return Contents(
        numbers=numbers,
        word="tile",
        said=f"slides: tiles of {reading.tile} px at {reading.microns:g} microns per pixel of which "
        f"{reading.tissue:.0%} or more is tissue (--data.reading.tile, .microns, .tissue)",
    )


def open(path: str, reading: ReadingConfig) -> Opened:
    """A slide."""
    return _Tiles(path, reading)


class _Tiles:
    def __init__(self, path: str, reading: ReadingConfig) -> None:
        self._slide, self._size = _opened(path), reading.tile
        self._grid = _grid(self._slide, reading)

    def header(self, number: int) -> Header:
        check_size(self._size, self._size)
        return Header(height=self._size, width=self._size, channels=3, depth="8-bit")

    def image(self, number: int) -> Tensor:
        row, column = divmod(number, self._grid.columns)
        corner = round(column * self._grid.side), round(row * self._grid.side)
        level = self._slide.get_best_level_for_downsample(1.01 * self._grid.side / self._size)
        side = max(1, round(self._grid.side / self._slide.level_downsamples[level]))
        check_size(side, side)
        region = self._slide.read_region(corner, level, (side, side))
        tile = Image.new("RGB", region.size, "white")
        tile.paste(region, mask=region.getchannel("A"))  # outside of what was scanned it is transparent
        if side != self._size:
            tile = tile.resize((self._size, self._size), Image.Resampling.BICUBIC)
        return torch.from_numpy(np.array(tile)).permute(2, 0, 1).contiguous()


@lru_cache(maxsize=2**14)
def _tissue(path: str, reading: ReadingConfig) -> tuple[int, ...]:
    """Numbers of the tiles with enough tissue."""
    slide = _opened(path)
    grid = _grid(slide, reading)
    if reading.tissue == 0:
        return tuple(range(grid.rows * grid.columns))
    width, height = slide.dimensions
    wanted = tuple(max(1, math.ceil(MASK_SIDE * length / grid.side)) for length in (width, height))
    small = np.asarray(slide.get_thumbnail(wanted)).astype(np.int16)[..., :3]
    stained = small.max(axis=2) - small.min(axis=2) > STAINED
    downward, across = stained.shape[0] / height, stained.shape[1] / width
    found = []
    for row in range(grid.rows):
        top, bottom = (round(edge * grid.side * downward) for edge in (row, row + 1))
        for column in range(grid.columns):
            left, right = (round(edge * grid.side * across) for edge in (column, column + 1))
            part = stained[top : max(bottom, top + 1), left : max(right, left + 1)]
            if part.size and part.mean() >= reading.tissue:
                found.append(row * grid.columns + column)
    return tuple(found)


def _opened(path: str) -> Any:
    import openslide

    return openslide.OpenSlide(path)


def _grid(slide: Any, reading: ReadingConfig) -> _Grid:
    side = reading.tile * reading.microns / _microns(slide.properties)
    width, height = slide.dimensions
    if side < 1:
        raise BadImage(f"is scanned so coarsely that a tile at {reading.microns:g} microns per pixel has no pixel")
    return _Grid(int(height / side), int(width / side), side)


def _microns(properties: Any) -> float:
    """Microns per pixel of the largest level."""
    import openslide

    stated = properties.get(openslide.PROPERTY_NAME_MPP_X)
    power = properties.get(openslide.PROPERTY_NAME_OBJECTIVE_POWER)
    if stated and float(stated) > 0:
        return float(stated)
    if power and float(power) > 0:
        return MICRONS_AT_1X / float(power)
    raise BadImage("states neither microns per pixel nor the objective's power; cut its tiles with another program")
