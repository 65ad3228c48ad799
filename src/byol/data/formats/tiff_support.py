"""Which kinds of TIFF are read, and by whom: what Pillow keeps whole, what tifffile decodes, what nobody knows."""

import importlib.util
from enum import IntEnum
from typing import Any

import numpy as np

from byol.data.formats.extras import TIFF
from byol.data.formats.intensity import check_dtype
from byol.errors import BadImage

__all__ = [
    "BIG_ENDIAN",
    "COLOR_MAP",
    "Extrasamples",
    "Photometric",
    "extra_samples",
    "missing_codec",
    "pillow_reads_whole",
    "unsupported_reason",
]

BIG_ENDIAN = ">"

COLOR_MAP = 320
"""The tag of a palette (TIFF 6.0, section 8)."""

NONE, JPEG, OLD_JPEG, WEBP = 1, 7, 6, 50001
ZSTD = (50000, 34926)
"""Values of Compression."""
UNSIGNED, FLOAT = 1, 3
"""Values of SampleFormat (TIFF 6.0, section 19)."""
CHUNKY = 1
"""The value of PlanarConfiguration for pixels whose samples lie side by side."""


class Photometric(IntEnum):
    """Values of PhotometricInterpretation (TIFF 6.0, section 8)."""

    MIN_IS_WHITE = 0
    MIN_IS_BLACK = 1
    RGB = 2
    PALETTE = 3
    CMYK = 5
    YCBCR = 6
    LAB = 8


class Extrasamples(IntEnum):
    """Values of ExtraSamples (TIFF 6.0, section 18)."""

    UNSPECIFIED = 0
    PREMULTIPLIED = 1
    PLAIN = 2


COLORS = {Photometric.RGB: 3, Photometric.YCBCR: 3, Photometric.LAB: 3, Photometric.CMYK: 4}
"""Samples of the kinds of color of which Pillow reads 8 bits."""
OTHER_COLORS = {Photometric.CMYK: "CMYK", Photometric.LAB: "CIELab", Photometric.YCBCR: "YCbCr"}
"""Kinds of color that tifffile gives as they are stored."""


def extra_samples(page: Any) -> tuple[int, ...]:
    """What the samples beyond those of the color are said to be."""
    return tuple(int(extra) for extra in page.extrasamples)


def pillow_reads_whole(page: Any, big_endian: bool, tifffile_can: bool) -> bool:
    """Whether Pillow gives all that a page holds: one channel, color of 8 bits, and these with opacity.

    Args:
        page: the first one.
        big_endian: the order of the file's bytes.
        tifffile_can: whether it has the codec; Pillow's may serve instead where it is missing.
    """
    samples, photometric, bits = int(page.samplesperpixel), int(page.photometric), int(page.bitspersample)
    extras, compression = extra_samples(page), int(page.compression)
    if compression == WEBP:  # libtiff prints to the terminal
        return False
    if int(page.sampleformat) == FLOAT:
        # Pillow 13.0 swaps the bytes of compressed big-endian floats twice, and knows no float16 nor float64
        swapped = big_endian and compression != NONE
        return not tifffile_can and samples == 1 and bits == 32 and not swapped
    if int(page.sampleformat) != UNSIGNED:
        return False
    if samples == 1:
        gray = photometric in (Photometric.MIN_IS_BLACK, Photometric.MIN_IS_WHITE)
        return (gray and bits in (1, 2, 4, 8, 12, 16)) or (photometric == Photometric.PALETTE and bits <= 8)
    if bits != 8:
        return False
    if not extras:
        return samples == COLORS.get(Photometric(photometric) if photometric in COLORS else Photometric.PALETTE)
    blended = len(extras) == 1 and extras[0] in (Extrasamples.PREMULTIPLIED, Extrasamples.PLAIN)
    kinds = ((Photometric.RGB, 4), (Photometric.MIN_IS_BLACK, 2))
    return blended and int(page.planarconfig) == CHUNKY and (photometric, samples) in kinds


def unsupported_reason(page: Any) -> str | None:
    """Why tifffile's pixels of a page would have no known meaning, or None."""
    photometric, compression = int(page.photometric), int(page.compression)
    jpeg = photometric == Photometric.YCBCR and compression in (JPEG, OLD_JPEG)  # comes as RGB
    if photometric in OTHER_COLORS and not jpeg:
        return f"{OTHER_COLORS[Photometric(photometric)]} with more than 8 bits is not read; convert it to RGB"
    if page.axes not in ("YX", "YXS", "SYX"):
        return f"TIFF with axes {page.axes} is not read; only the channels of one flat image are"
    if page.dtype is not None:
        try:
            check_dtype(np.dtype(page.dtype))
        except BadImage as error:
            return str(error)
    return None


def missing_codec(page: Any) -> str | None:
    """What is missing to decode a page by tifffile, and how to get it, or None."""
    from tifffile import TIFF as KNOWN

    compression, predictor = page.compression, int(page.predictor)
    bits, packed = int(page.bitspersample), getattr(page, "dtype", None)
    if int(compression) in ZSTD and not TIFF.there and importlib.util.find_spec("compression") is None:
        return _needs("ZSTD")  # tifffile's own way is a module of Python 3.14, which it only misses when it decodes
    try:
        KNOWN.DECOMPRESSORS[int(compression)]
    except Exception:  # KeyError, or ModuleNotFoundError of an optional module
        return _needs(getattr(compression, "name", f"number {int(compression)}"))
    try:
        KNOWN.UNPREDICTORS[predictor]
    except Exception:
        return _needs(f"predictor {predictor}")
    if packed is not None and bits not in (1, 8, 16, 32, 64) and not TIFF.there:
        return _needs(f"{bits} bits per value")
    return None


def _needs(what: str) -> str:
    if TIFF.there:
        return f"TIFF with {what} compression is not read; save it without"
    return f"TIFF with {what} is read with an extra: {TIFF.command}"
