"""HEIC and HEIF, as phones store photographs: by pi-heif, which reads only and is LGPL-3."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from byol.data.formats.channels import over_white
from byol.data.formats.extras import HEIF
from byol.data.formats.header import Header, check_size
from byol.errors import BadImage

__all__ = ["SUFFIXES", "decode", "header", "sniff"]

SUFFIXES = HEIF.suffixes

BRANDS = frozenset((*(b"heic", b"heix", b"hevc", b"hevx"), *(b"heim", b"heis", b"hevm", b"hevs"), *(b"mif1", b"msf1")))
"""Of files that hold HEVC, and of any HEIF (ISO/IEC 23008-12, Annex B; `mif1` and `msf1` in Clause 10)."""
AVIF_BRANDS = frozenset((b"avif", b"avis"))
"""Of files that hold AV1, which Pillow reads."""


def sniff(head: bytes) -> bool:
    """By the brands of the first box; `mif1` may also begin an AVIF file, which says so among the brands after it."""
    if head[4:8] != b"ftyp":
        return False
    length = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[8:12], *(head[start : start + 4] for start in range(16, length - 3, 4))}
    return head[8:12] in BRANDS and not brands & AVIF_BRANDS


def header(data: bytes) -> Header:
    """The header, upright; see `Format`."""
    return _header(_opened(data))


def decode(data: bytes, shrink_to: int | None) -> Tensor:
    """The primary image, upright, in its full size; see `Format`.

    libheif turns and mirrors it by the boxes `irot` and `imir`. The orientation in its EXIF says the same once more and
    is left aside.
    """
    image = _opened(data)
    found = _header(image)
    pixels = np.asarray(image)
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    if found.depth == "8-bit":
        result = torch.from_numpy(planes.copy())
    else:  # 10 and 12 bits come as the upper bits of 16
        bits = int(image.info["bit_depth"])
        result = torch.from_numpy(planes.astype(np.float32) / ((2**bits - 1) << (16 - bits)))
    return over_white(result) if image.has_alpha else result


def _opened(data: bytes) -> Any:
    HEIF.need()
    import pi_heif

    file = pi_heif.open_heif(data, convert_hdr_to_8bit=False)
    if not len(file):
        raise BadImage("holds no image")
    return file[file.primary_index]


def _header(image: Any) -> Header:
    width, height = image.size
    check_size(height, width)
    gray = image.mode.split(";")[0] in ("L", "LA", "I")
    depth = int(image.info.get("bit_depth", 8))
    return Header(height=height, width=width, channels=1 if gray else 3, depth="8-bit" if depth <= 8 else "16-bit")
