"""JPEG XL, by imagecodecs (BSD-3), which keeps more than 8 bits."""

import numpy as np
import torch
from torch import Tensor

from byol.data.formats.channels import over_white
from byol.data.formats.extras import JXL
from byol.data.formats.header import Depth, Header, check_size
from byol.data.formats.intensity import Array, depth_of, intensities
from byol.errors import BadImage

__all__ = ["SUFFIXES", "decode", "header", "sniff"]

SUFFIXES = JXL.suffixes

CODESTREAM = b"\xff\x0a"  # ISO/IEC 18181-1, Annex D
CONTAINER = b"\x00\x00\x00\x0cJXL \x0d\x0a\x87\x0a"  # ISO/IEC 18181-2

RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
"""Of width to height, by number from 1 on (ISO/IEC 18181-1, D.2)."""


def sniff(head: bytes) -> bool:
    """By the mark of a bare codestream or of a container."""
    return head.startswith((CODESTREAM, CONTAINER))


def header(data: bytes) -> Header:
    """The header, upright; see `Format`.

    The codestream states size and depth in front; how many channels there are takes decoding.
    """
    values, _ = _values(data)
    count = 1 if values.ndim == 2 else values.shape[2]
    depth: Depth = depth_of(values.dtype)
    return Header(height=values.shape[0], width=values.shape[1], channels=1 if count <= 2 else 3, depth=depth)


def decode(data: bytes, shrink_to: int | None) -> Tensor:
    """The image, upright, in its full size, an animation's first frame; see `Format`."""
    values, bits = _values(data)
    planes = values[None] if values.ndim == 2 else values.transpose(2, 0, 1)
    if planes.dtype == np.uint16 and bits is not None:  # values come as stored: white is 4095 for 12 bits
        image = torch.from_numpy(planes.astype(np.float32) / (2**bits - 1)).clamp_(0, 1)
    elif planes.dtype.kind == "f":
        image = torch.from_numpy(planes.astype(np.float32)).clamp_(0, 1)  # out-of-range light is cut
    else:
        image = intensities(planes)
    return over_white(image) if len(image) in (2, 4) else image


def _values(data: bytes) -> tuple[Array, int | None]:
    """(H, W) or (H, W, C) as decoded, and the stated bits of a value, or None where that is not plain."""
    JXL.need()
    import imagecodecs

    height, width, bits = _stated(data)
    check_size(height, width)
    values: Array = imagecodecs.jpegxl_decode(data)
    if values.ndim == 4 or (values.ndim == 3 and values.shape[:2] not in ((height, width), (width, height))):
        values = values[0]  # of an animation
    if values.ndim == 3 and values.shape[2] > 4:
        raise BadImage(f"JPEG XL of {values.shape[2]} channels is not read")
    return values, bits


def _stated(data: bytes) -> tuple[int, int, int | None]:
    """Height, width, and bits of a value, as the codestream begins (ISO/IEC 18181-1, D.2 and D.3)."""
    stream = _Bits(_codestream(data)[len(CODESTREAM) :])
    height, width = _size(stream)
    if stream.take(1):  # all of the metadata has its usual values
        return height, width, 8
    if stream.take(1):
        stream.take(3)  # orientation
        if stream.take(3):  # an intrinsic size, a preview or an animation come before the depth
            return height, width, None
    if stream.take(1):  # floats
        return height, width, None
    usual = (8, 10, 12)
    choice = stream.take(2)
    return height, width, usual[choice] if choice < 3 else 1 + stream.take(6)


def _size(stream: "_Bits") -> tuple[int, int]:
    small = stream.take(1)

    def side() -> int:
        return 8 * (1 + stream.take(5)) if small else 1 + stream.take((9, 13, 18, 30)[stream.take(2)])

    height = side()
    ratio = stream.take(3)
    if ratio == 0:
        return height, side()
    numerator, denominator = RATIOS[ratio - 1]
    return height, height * numerator // denominator


def _codestream(data: bytes) -> bytes:
    """The codestream itself, or its beginning, out of the boxes `jxlc` or `jxlp` of a container."""
    if data.startswith(CODESTREAM):
        return data
    start = 0
    while start + 16 <= len(data):
        length, kind = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8]
        head = 8
        if length == 1:
            length, head = int.from_bytes(data[start + 8 : start + 16], "big"), 16
        if kind in (b"jxlc", b"jxlp"):
            return data[start + head + (4 if kind == b"jxlp" else 0) :]
        if length < head:
            break
        start += length
    raise BadImage("truncated: its container holds no codestream")


class _Bits:
    """Reads bits, the lowest of each byte first."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data[:64], "little"), 8 * min(64, len(data))

    def take(self, count: int) -> int:
        if count > self._left:
            raise BadImage("truncated: the header is not whole")
        taken = self._value & ((1 << count) - 1)
        self._value >>= count
        self._left -= count
        return taken
