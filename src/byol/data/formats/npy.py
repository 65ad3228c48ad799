"""NumPy arrays in `.npy` files (numpy.lib.format): (H, W) or (H, W, C), of any number of channels."""

import math
import re
from typing import NamedTuple

import numpy as np
from torch import Tensor

from byol.data.formats.header import Header, check_size
from byol.data.formats.intensity import depth_of, intensities
from byol.errors import BadImage

__all__ = ["SUFFIXES", "decode", "header", "sniff"]

SUFFIXES = (".npy",)


def sniff(head: bytes) -> bool:
    """By the mark of 6 bytes."""
    return head.startswith(b"\x93NUMPY")


def header(data: bytes) -> Header:
    """The header; see `Format`."""
    return _layout(data).header


def decode(data: bytes, shrink_to: int | None) -> Tensor:
    """The image in its full size; see `Format`."""
    layout = _layout(data)
    values = np.frombuffer(data, layout.dtype, offset=layout.start)
    values = values.reshape(layout.shape, order="F" if layout.fortran else "C")
    values = values.astype(layout.dtype.newbyteorder("="))  # also copies: the file's bytes are read-only
    return intensities(values[None] if values.ndim == 2 else values.transpose(2, 0, 1))


class _Layout(NamedTuple):
    header: Header
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    fortran: bool
    start: int
    """Offset of the values in bytes."""


def _layout(data: bytes) -> _Layout:
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
    if dtype.kind not in "buf":
        raise BadImage(f"{dtype} pixels have no known range; store uint8, uint16, or floats in [0, 1]")
    sizes = tuple(int(part) for part in shape[1].split(",") if part.strip())
    if len(sizes) not in (2, 3):
        raise BadImage(f"an array of shape {sizes} is no image; only (H, W) and (H, W, C) are")
    check_size(*sizes[:2])
    channels = sizes[2] if len(sizes) == 3 else 1
    if channels < 1:
        raise BadImage(f"an array of shape {sizes} has no channels")
    if len(data) - start != math.prod(sizes) * dtype.itemsize:
        raise BadImage(f"truncated: shape {sizes} does not go with {len(data) - start} bytes of values")
    header = Header(height=sizes[0], width=sizes[1], channels=channels, depth=depth_of(dtype))
    return _Layout(header, dtype, sizes, order[1] == "True", start)
