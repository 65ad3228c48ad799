"""TIFF: by Pillow where it loses nothing, by tifffile for deep or many channels and for stacks of pages."""

import io
import logging
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from byol.data.formats import pillow
from byol.data.formats.channels import over_white
from byol.data.formats.header import Header, check_size
from byol.data.formats.intensity import Array, depth_of, intensities
from byol.data.formats.orientation import ORIENTATION, upright, upright_header
from byol.data.formats.tiff_pages import Pages, pages_of
from byol.data.formats.tiff_support import (
    BIG_ENDIAN,
    COLOR_MAP,
    Extrasamples,
    Photometric,
    extra_samples,
    missing_codec,
    pillow_reads_whole,
    unsupported_reason,
)
from byol.data.formats.wanted import Wanted
from byol.errors import BadImage

__all__ = ["SUFFIXES", "decode", "decode_as", "header", "header_as", "sniff"]

SUFFIXES = (".tif", ".tiff")

NAMES = ("TIFF",)

MARKS = (
    *(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),  # classic and BigTIFF, little and big endian
    *(b"II\0*", b"MM*\0"),  # not valid, but Pillow reads them
)

# Without a handler this logger would print to the terminal through Python's handler of last resort.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def sniff(head: bytes) -> bool:
    """By the byte order and the version, 4 bytes."""
    return head.startswith(MARKS)


def header(data: bytes) -> Header:
    """The header, upright; see `Format`."""
    return header_as(data, Wanted())


def header_as(data: bytes, wanted: Wanted) -> Header:
    """The header where the axes of unnamed pages are said; see `Versatile`."""
    layout = _layout(data, wanted)
    if isinstance(layout, _Layout):
        return upright_header(layout.header, layout.orientation)
    with pillow.open_picture(data, NAMES) as picture:
        stored = pillow.stored_header(picture)  # Pillow gives the size of a TIFF upright
    return stored if layout is None else layout.noted(stored)


def decode(data: bytes, shrink_to: int | None) -> Tensor:
    """The image, upright, in its full size; see `Format`."""
    return decode_as(data, Wanted())


def decode_as(data: bytes, wanted: Wanted) -> Tensor:
    """The image where axes and channels are said; see `Versatile`."""
    layout = _layout(data, wanted)
    if isinstance(layout, _Layout):
        return upright(_pixels(data, layout, wanted), layout.orientation)
    with pillow.open_picture(data, NAMES) as picture:
        return pillow.load(picture, wanted)


class _Layout(NamedTuple):
    """An image that tifffile reads."""

    header: Header
    photometric: int
    bits: int
    opacity: Literal["", "plain", "premultiplied"]
    """Whether the last sample is opacity, and whether the others are stored times it."""
    orientation: int
    pages: Pages


def _layout(data: bytes, wanted: Wanted) -> _Layout | Pages | None:
    """The layout of an image that tifffile reads; the pages of one that Pillow reads; None where Pillow must judge."""
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages.first
            pages = pages_of(file, wanted.axes)
            here = missing_codec(page)
            whole = pages.arrangement == "page" and pillow_reads_whole(page, file.byteorder == BIG_ENDIAN, here is None)
            unsupported = unsupported_reason(page)
            layout = None if page.dtype is None else _layout_of(page, pages)
    except BadImage:
        raise
    except Exception:  # of any type: what tifffile cannot parse, Pillow judges
        return None
    if (whole and _opens(data)) or layout is None:
        return pages
    if unsupported is not None:
        raise BadImage(unsupported)
    if here is not None:
        raise BadImage(here)
    check_size(layout.header.height, layout.header.width, layout.header.channels + layout.header.opacity)
    return layout


def _layout_of(page: Any, pages: Pages) -> _Layout:
    extras, samples, photometric = extra_samples(page), int(page.samplesperpixel), int(page.photometric)
    blended = samples in (2, 4) and len(extras) == 1 and extras[0] in (Extrasamples.PREMULTIPLIED, Extrasamples.PLAIN)
    opacity: Literal["", "plain", "premultiplied"] = ""
    if pages.arrangement == "page" and blended:
        opacity = "premultiplied" if extras[0] == Extrasamples.PREMULTIPLIED else "plain"
    channels = 3 if photometric == Photometric.PALETTE else samples - bool(opacity)
    height, width = int(page.imagelength), int(page.imagewidth)
    if pages.arrangement == "channels":
        channels = pages.count
    elif pages.arrangement == "rows":
        height, width, channels = pages.count, height, width
    depth = "16-bit" if photometric == Photometric.PALETTE else depth_of(np.dtype(page.dtype))
    stored = Header(height, width, channels, depth, opacity=bool(opacity))
    bits = int(page.bitspersample)
    orientation = int(page.tags.valueof(ORIENTATION, 1))
    return _Layout(pages.noted(stored), photometric, bits, opacity, orientation, pages)


def _opens(data: bytes) -> bool:
    """Whether Pillow knows the layout: it decides by a table of kinds of pixels, and by the name of the compression."""
    try:
        with Image.open(io.BytesIO(data), formats=NAMES):
            return True
    except Image.DecompressionBombError:
        return True
    except Exception:  # of any type, as decoders do
        return False


def _pixels(data: bytes, layout: _Layout, wanted: Wanted) -> Tensor:
    """The pixels (C, H, W), before the orientation is applied."""
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        values = layout.pages.values(file)
        if layout.photometric == Photometric.PALETTE:
            colors: Array = np.asarray(page.tags.valueof(COLOR_MAP), np.uint16).reshape(3, -1)
            return intensities(colors[:, values[0]])
    if values.dtype.byteorder not in "=|":
        values = values.astype(values.dtype.newbyteorder("="))
    image = intensities(values, layout.bits if values.dtype.kind == "u" else None)
    if layout.photometric == Photometric.MIN_IS_WHITE:
        image = 255 - image if image.dtype == torch.uint8 else 1 - image
    if not layout.opacity or wanted.keeps_opacity(len(image)):
        return image
    return over_white(image, premultiplied=layout.opacity == "premultiplied")
