"""Color PPM of more than 8 bits (netpbm, `ppm`): Pillow keeps 8 of them. All other files of the family are Pillow's."""

import re

import numpy as np
from torch import Tensor

from byol.data.formats.header import Header, check_size
from byol.data.formats.intensity import Array, intensities
from byol.errors import BadImage

__all__ = ["SUFFIXES", "decode", "header", "sniff"]

SUFFIXES = (".ppm", ".pnm")

KIND = "PPM"

BETWEEN = rb"(?:\s|#[^\n]*\n)+"
START = re.compile(rb"P([36])" + BETWEEN + rb"(\d{1,9})" + BETWEEN + rb"(\d{1,9})" + BETWEEN + rb"(\d{1,5})\s")
"""Binary or plain; width, height and the value that is white; comments may stand between them."""


def sniff(head: bytes) -> bool:
    """By the first two letters, and a white of more than 255."""
    found = START.match(head)
    return found is not None and 255 < int(found[4]) < 65536


def header(data: bytes) -> Header:
    """The header; see `Format`."""
    height, width, _, _, _ = _parsed(data)
    return Header(height=height, width=width, channels=3, depth="16-bit", kind=KIND)


def decode(data: bytes, shrink_to: int | None) -> Tensor:
    """The image in its full size; see `Format`."""
    height, width, white, start, plain = _parsed(data)
    count = height * width * 3
    values: Array
    if plain:
        values = np.array(data[start:].split(None, count)[:count], dtype=np.int64)
    else:
        values = np.frombuffer(data, ">u2", count=min(count, (len(data) - start) // 2), offset=start)
    if len(values) < count:
        raise BadImage(f"truncated: {len(values)} of {count} values")
    if int(values.max()) > white:
        raise BadImage(f"has a value of {int(values.max())} where {white} is white")
    image = intensities(values.astype(np.uint16).reshape(height, width, 3).transpose(2, 0, 1))
    return image if white == 65535 else (image * (65535 / white)).clamp_(0, 1)


def _parsed(data: bytes) -> tuple[int, int, int, int, bool]:
    """Height, width, the value of white, where the values begin, and whether they are written as text."""
    found = START.match(data)
    assert found is not None, "`sniff` has seen it"
    width, height = int(found[2]), int(found[3])
    check_size(height, width)
    return height, width, int(found[4]), found.end(), found[1] == b"3"
