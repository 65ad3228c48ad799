"""TIFF: by Pillow where it loses nothing, by tifffile for deep or many channels and for stacks of microscopes."""

import io
import logging
import math
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from byol.data.formats import pillow
from byol.data.formats.channels import over_white
from byol.data.formats.header import MAX_PIXELS, Header, check_size
from byol.data.formats.intensity import Array, depth_of, intensities
from byol.data.formats.orientation import ORIENTATION, upright, upright_header
from byol.errors import BadImage

__all__ = ["SUFFIXES", "decode", "header", "sniff"]

SUFFIXES = (".tif", ".tiff")

NAMES = ("TIFF",)

MARKS = (
    *(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),  # classic and BigTIFF, little and big endian
    *(b"II\0*", b"MM*\0"),  # not valid, but Pillow reads them
)

MIN_IS_BLACK, CMYK = 1, 5  # values of PhotometricInterpretation (TIFF 6.0, section 8); CMYK is called "separated"

# Without a handler this logger would print to the terminal through Python's handler of last resort.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def sniff(head: bytes) -> bool:
    """By the byte order and the version, 4 bytes."""
    return head.startswith(MARKS)


def header(data: bytes) -> Header:
    """The header, upright; see `Format`."""
    layout = _layout(data)
    if layout is not None:
        return upright_header(layout.header, layout.orientation)
    with pillow.open_picture(data, NAMES) as picture:
        return pillow.stored_header(picture)  # Pillow gives the size of a TIFF upright


def decode(data: bytes, shrink_to: int | None) -> Tensor:
    """The image, upright, in its full size; see `Format`."""
    layout = _layout(data)
    if layout is not None:
        return upright(_pixels(data, layout), layout.orientation)
    with pillow.open_picture(data, NAMES) as picture:
        return pillow.load(picture)


class _Layout(NamedTuple):
    header: Header
    photometric: int
    alpha: bool
    orientation: int
    stacked: bool
    """Whether each channel has a page of its own."""


def _layout(data: bytes) -> _Layout | None:
    """The layout of a TIFF that Pillow would not read without loss, else None."""
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages.first
            samples, bits = int(page.samplesperpixel), int(page.bitspersample)
            pages = _pages_of_channels(file) if samples == 1 else [page]
            # Pillow reads one channel at any depth. Of several channels it keeps 8 bits, and it knows at most four.
            if len(pages) == 1 and (samples == 1 or (bits <= 8 and samples <= 4)):
                return None
            # ExtraSamples 1 and 2 are opacity, premultiplied or not; anything else is one more channel.
            alpha = samples in (2, 4) and any(int(extra) in (1, 2) for extra in page.extrasamples)
            channels = len(pages) if samples == 1 else samples - alpha
            header = Header(int(page.imagelength), int(page.imagewidth), channels, depth_of(np.dtype(page.dtype)))
            orientation = int(page.tags.valueof(ORIENTATION, 1))
            photometric = int(page.photometric)
    except Exception:  # of any type: what tifffile cannot parse, Pillow judges
        return None
    check_size(header.height, header.width)
    if header.height * header.width * header.channels > 4 * MAX_PIXELS:
        raise BadImage(f"more values than four channels of {MAX_PIXELS // 10**6} million pixels")
    return _Layout(header, photometric, alpha, orientation, len(pages) > 1)


def _pages_of_channels(file: Any) -> list[Any]:
    """The pages that hold the channels of a microscope's stack (ImageJ, OME), at the first depth and the first time.

    For every other file, and where zero is not black, this is the first page alone.
    """
    first = file.pages.first
    if not (file.is_imagej or file.is_ome) or int(first.photometric) != MIN_IS_BLACK:
        return [first]
    series = file.series[0]
    planes, of_planes = series.axes[:-2], series.shape[:-2]
    pages = series.pages if len(series.pages) == math.prod(of_planes) else file.pages
    if "C" not in planes or series.axes[-2:] != "YX" or len(pages) < math.prod(of_planes):
        return [first]
    place = planes.index("C")
    return [pages[math.prod(of_planes[place + 1 :]) * channel] for channel in range(of_planes[place])]


def _pixels(data: bytes, layout: _Layout) -> Tensor:
    """The pixels (C, H, W), before the orientation is applied."""
    import tifffile

    if layout.photometric == CMYK:
        raise BadImage("CMYK with more than 8 bits is not read; convert it to RGB")
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        if layout.stacked:
            return intensities(np.stack([page.asarray() for page in _pages_of_channels(file)]))
        page = file.pages.first
        values: Array = page.asarray()
        if page.axes == "YXS":
            values = values.transpose(2, 0, 1)
        elif page.axes != "SYX":
            raise BadImage(f"TIFF with axes {page.axes} is not read; only the channels of one flat image are")
    image = intensities(values)
    return over_white(image) if layout.alpha else image
