"""The pages of a TIFF: which of them are one image, and what they are to it.

`tifffile.imwrite` and `skimage.io.imsave` write arrays of more than two axes as a page for each step of the first
axes, and state the array's shape in the file. ImageJ and OME-TIFF name their axes.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from byol.config.axes import Axes
from byol.data.formats.header import MAX_VALUES, Header
from byol.data.formats.intensity import Array
from byol.data.formats.tiff_support import Photometric
from byol.data.formats.wanted import AXES_SETTING, array_axes
from byol.errors import BadImage

__all__ = ["Pages", "pages_of"]

AS_CHANNELS = f"the pages of each are read as its channels; {AXES_SETTING} dhw reads the first alone"
AS_ROWS = "each page is a row of an H x W x C array, and is read so"
FIRST_ALONE = "only the first page of each is read"
UNKNOWN = f"only the first page of each is read; {AXES_SETTING} chw reads pages as channels"
PLANES = "of a stack the channels are read, at the first depth and time"

COUNTED = 256
"""Pages that are looked at one by one, for those that are smaller copies of another."""

Arrangement = Literal["page", "channels", "rows"]


@dataclass(frozen=True)
class Pages:
    """Which pages are the image."""

    arrangement: Arrangement
    """The first page alone, pages that are channels, or pages that are rows."""
    count: int = 1
    """How many are read."""
    step: int = 1
    """From one that is read to the next."""
    stated: bool = False
    """Whether the file states the shape of all, so that some may have no entry of their own."""
    pages: int = 1
    """In the file, without smaller copies."""
    note: str = ""

    def noted(self, header: Header) -> Header:
        """A header that says so."""
        return replace(header, kind="TIFF", pages=self.pages, notes=(self.note,) if self.note else ())

    def values(self, file: Any) -> Array:
        """The stored values as (C, H, W)."""
        if self.arrangement == "page":
            values: Array = file.pages.first.asarray()
            return (
                values.transpose(2, 0, 1) if file.pages.first.axes == "YXS" else values.reshape(-1, *values.shape[-2:])
            )
        first = file.pages.first
        if self.count * int(first.imagelength) * int(first.imagewidth) > MAX_VALUES:
            raise BadImage(f"pages of more than {MAX_VALUES // 10**6} million values together")
        if self.stated:
            values = np.asarray(file.series[0].asarray()).reshape(self.count, *first.shape)
        else:
            chosen = _series_pages(file) if file.is_imagej or file.is_ome else file.pages
            planes = [chosen[self.step * number].asarray() for number in range(self.count)]
            if any(plane.shape != planes[0].shape for plane in planes):
                raise BadImage(f"pages of different sizes are not the channels of one image; give {AXES_SETTING} dhw")
            values = np.stack(planes)
        return values.transpose(2, 0, 1) if self.arrangement == "rows" else values


def pages_of(file: Any, axes: Axes) -> Pages:
    """Which pages of a file are its image.

    Args:
        file: an open `TiffFile`.
        axes: what the first and the last axis of pages are whose file does not name them.
    """
    first = file.pages.first
    if file.is_imagej or file.is_ome:
        return _named(file)
    shape = _stated_shape(file, first)
    count = _counted(file) if shape is None else shape[0]
    if count == 1:
        return Pages("page")
    if int(first.samplesperpixel) != 1:
        return Pages("page", pages=count, note=FIRST_ALONE)
    if shape is None and axes in ("chw", "hwc"):
        return Pages("channels" if axes == "chw" else "rows", count, pages=count)
    if shape is None:
        return Pages("page", pages=count, note=UNKNOWN if axes == "auto" else FIRST_ALONE)
    found = array_axes(shape) if axes == "auto" else axes
    if found == "hwc":
        return Pages("rows", count, stated=True, note=AS_ROWS)
    if found == "chw":
        return Pages("channels", count, stated=True, pages=count, note=AS_CHANNELS)
    return Pages("page", pages=count, note=UNKNOWN if axes == "auto" else FIRST_ALONE)


def _stated_shape(file: Any, first: Any) -> tuple[int, int, int] | None:
    """(pages, height, width) of an array whose shape the file states, without axes of length 1; or None."""
    if not file.is_shaped:
        return None
    described: list[dict[str, Any]] = [*(file.shaped_metadata or ())]
    if not described:
        return None
    stated = tuple(int(size) for size in described[0].get("shape", ()))
    height, width = int(first.imagelength), int(first.imagewidth)
    samples = int(first.samplesperpixel)
    inner = [size for size in (height, width, samples) if size != 1]
    outer = [size for size in stated if size != 1]
    pages, rest = divmod(math.prod(stated), max(1, height * width * samples))
    if rest or pages < 1 or sorted(outer[len(outer) - len(inner) :]) != sorted(inner):
        return None
    if pages > 1 and samples == 1 and len(outer) - len(inner) != 1:  # more than three axes: of a series of pages
        return None
    return pages, height, width


def _counted(file: Any) -> int:
    """How many pages there are, without the smaller copies and the masks that pyramids hold."""
    count = len(file.pages)
    if count > COUNTED:
        return count
    others = (file.pages[number] for number in range(1, count))
    return 1 + sum(not (page.is_reduced or page.is_mask) for page in others)


def _series_pages(file: Any) -> Any:
    series = file.series[0]
    return series.pages if len(series.pages) == math.prod(series.shape[:-2]) else file.pages


def _named(file: Any) -> Pages:
    """The channels of a microscope's stack (ImageJ, OME), at the first depth and the first time."""
    first, series = file.pages.first, file.series[0]
    whole = max(len(file.pages), math.prod(series.shape) // max(1, math.prod(first.shape)))
    alone = Pages("page", pages=whole, note=FIRST_ALONE if whole > 1 else "")
    if int(first.photometric) != Photometric.MIN_IS_BLACK or int(first.samplesperpixel) != 1:
        return alone
    planes, of_planes = series.axes[:-2], series.shape[:-2]
    if "C" not in planes or series.axes[-2:] != "YX" or len(_series_pages(file)) < math.prod(of_planes):
        return alone
    place = planes.index("C")
    count = int(of_planes[place])
    note = PLANES if whole > count else ""
    if count == 1:
        return replace(alone, note=note)
    return Pages("channels", count, math.prod(of_planes[place + 1 :]), pages=whole, note=note)
