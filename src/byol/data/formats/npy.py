"""NumPy arrays in `.npy` files (numpy.lib.format): (H, W), (H, W, C) or (C, H, W), of any number of channels."""

import math
import re
from typing import Literal, NamedTuple

import numpy as np
from torch import Tensor

from byol.config.axes import Axes
from byol.data.formats.header import Header, check_size
from byol.data.formats.intensity import check_dtype, depth_of, intensities
from byol.data.formats.wanted import AXES_SETTING, Wanted, array_axes
from byol.errors import BadImage

__all__ = ["SUFFIXES", "decode", "decode_as", "header", "header_as", "sniff"]

SUFFIXES = (".npy",)

KIND = "NumPy array"

FIRST_AXIS = f"C x H x W: the first axis is read as channels; {AXES_SETTING} hwc or dhw reads it otherwise"
FIRST_PLANE = "the first plane of each is read"


def sniff(head: bytes) -> bool:
    """By the mark of 6 bytes."""
    return head.startswith(b"\x93NUMPY")


def header(data: bytes) -> Header:
    """The header; see `Format`."""
    return _layout(data, "auto").header


def header_as(data: bytes, wanted: Wanted) -> Header:
    """The header where the axes are said; see `Versatile`."""
    return _layout(data, wanted.axes).header


def decode(data: bytes, shrink_to: int | None) -> Tensor:
    """The image in its full size; see `Format`."""
    return decode_as(data, Wanted())


def decode_as(data: bytes, wanted: Wanted) -> Tensor:
    """The image where the axes are said; see `Versatile`."""
    layout = _layout(data, wanted.axes)
    values = np.frombuffer(data, layout.dtype, offset=layout.start)
    values = values.reshape(layout.stored, order="F" if layout.fortran else "C").reshape(layout.shape)
    if layout.axes == "hwc":
        values = values.transpose(2, 0, 1)
    elif layout.axes == "dhw":
        values = values[:1]
    return intensities(values.astype(layout.dtype.newbyteorder("=")))  # also copies: the file's bytes are read-only


class _Layout(NamedTuple):
    header: Header
    dtype: np.dtype[np.generic]
    stored: tuple[int, ...]
    shape: tuple[int, int, int]
    """The same without leading axes of length 1, and with one for the single channel of (H, W)."""
    axes: Literal["hwc", "chw", "dhw"]
    fortran: bool
    start: int
    """Offset of the values in bytes."""


def _layout(data: bytes, axes: Axes) -> _Layout:
    # Parsed by hand: NumPy's reader evaluates the header as Python and allocates whatever size it names.
    width = 2 if data[6] == 1 else 4
    start = 8 + width + int.from_bytes(data[8 : 8 + width], "little")
    text = data[8 + width : start].decode("latin-1")
    descr = re.search(r"'descr'\s*:\s*'([<>|=]?[a-zA-Z]\d+)'", text)
    order = re.search(r"'fortran_order'\s*:\s*(True|False)", text)
    shape = re.search(r"'shape'\s*:\s*\(([\d,\s]{0,80})\)", text)
    if descr is None or order is None or shape is None:
        raise BadImage("the header of the array is not understood; only plain arrays of numbers are images")
    dtype = np.dtype(descr[1])
    check_dtype(dtype)
    stored = tuple(int(part) for part in shape[1].split(",") if part.strip())
    sizes, axes = _image_axes(stored, axes)
    height, width, channels = sizes if axes == "hwc" else (sizes[1], sizes[2], sizes[0])
    if channels < 1:
        raise BadImage(f"an array of shape {stored} has no channels")
    pages = channels if axes == "dhw" else 1
    notes = (FIRST_PLANE,) if axes == "dhw" and pages > 1 else (FIRST_AXIS,) if axes == "chw" and channels > 1 else ()
    channels = 1 if axes == "dhw" else channels
    check_size(height, width, channels)
    if len(data) - start != math.prod(stored) * dtype.itemsize:
        raise BadImage(f"truncated: shape {stored} does not go with {len(data) - start} bytes of values")
    header = Header(
        height=height, width=width, channels=channels, depth=depth_of(dtype), kind=KIND, pages=pages, notes=notes
    )
    return _Layout(header, dtype, stored, sizes, axes, order[1] == "True", start)


def _image_axes(stored: tuple[int, ...], axes: Axes) -> tuple[tuple[int, int, int], Literal["hwc", "chw", "dhw"]]:
    """The three axes of an image, and which one is the channels."""
    sizes = stored
    while len(sizes) > 3 and sizes[0] == 1:  # a batch of one
        sizes = sizes[1:]
    if len(sizes) == 2:
        return (1, *sizes), "chw"
    if len(sizes) == 4:
        raise BadImage(
            f"an array of shape {stored} is no image but a stack of {sizes[0]}; store each image in a file of its own"
        )
    if len(sizes) != 3:
        raise BadImage(f"an array of shape {stored} is no image; only (H, W), (H, W, C) and (C, H, W) are")
    if axes != "auto":
        return sizes, axes
    if 0 in sizes:
        return sizes, "hwc"
    found = array_axes(sizes)
    if found is None:
        raise BadImage(
            f"an array of shape {stored} may be H x W x C, C x H x W or a stack; say which: {AXES_SETTING} hwc, chw or "
            "dhw"
        )
    return sizes, found
