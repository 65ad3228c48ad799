"""The formats that Pillow alone decodes, and what the other formats use of Pillow.

Pillow knows more formats than these. Some of them start other programs (EPS) or hold no pixels, and a file of unknown
origin should reach as little code as possible, so only the listed ones are tried.
"""

import io
import logging
import re
import warnings
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile
from torch import Tensor

from byol.data.formats.bits import stored_bits
from byol.data.formats.channels import over_white
from byol.data.formats.header import Depth, Header, check_size
from byol.data.formats.intensity import unit_floats
from byol.data.formats.orientation import orientation_of, upright, upright_header
from byol.data.formats.wanted import Wanted
from byol.errors import BadImage

__all__ = [
    "SUFFIXES",
    "decode",
    "decode_as",
    "header",
    "header_as",
    "load",
    "open_picture",
    "silence_pillow",
    "sniff",
    "stored_header",
]

SUFFIXES = (".bmp", ".gif", ".webp", ".pgm", ".pbm", ".jp2", ".j2k", ".j2c", ".jpx", ".avif", ".tga")

NAMES = ("WEBP", "GIF", "BMP", "PPM", "JPEG2000", "AVIF", "TGA")
"""What Pillow calls these formats. AVIF is missing from some of its builds."""

PLAIN = Wanted()

GRAY_MODES = ("1", "L", "LA", "La")
WITH_OPACITY = ("LA", "La", "RGBA", "RGBa")
"""Modes whose last channel is opacity."""
KINDS = {"WEBP": "WebP", "JPEG2000": "JPEG 2000", "MPO": "JPEG"}
"""What formats are called, where it is not what Pillow calls them."""
NO_RANGE = "signed or 32-bit whole numbers have no known range; store 16 bits, or floats in [0, 1]"

# TIFF tags (TIFF 6.0, section 8)
BITS_PER_SAMPLE, PHOTOMETRIC = 258, 262

PILLOW_FILTER = ("ignore", None, Warning, re.compile(r"PIL\."), 0)

# Without a handler this logger would print to the terminal through Python's handler of last resort.
logging.getLogger("PIL").addHandler(logging.NullHandler())


def sniff(head: bytes) -> bool:
    """Always true: TGA has no mark, and Pillow says by itself what it does not know."""
    return True


def header(data: bytes) -> Header:
    """The header, upright; see `Format`."""
    with open_picture(data, NAMES) as picture:
        found = upright_header(stored_header(picture), orientation_of(picture.getexif))
    bits = stored_bits(data, found.kind) if found.depth == "8-bit" else 8
    return found if bits <= 8 else replace(found, notes=(f"{bits}-bit {found.kind} in color is read as 8 bits",))


def decode(data: bytes, shrink_to: int | None) -> Tensor:
    """The image, upright, in its full size; see `Format`."""
    return decode_as(data, Wanted())


def header_as(data: bytes, wanted: Wanted) -> Header:
    """The header; see `Versatile`."""
    return header(data)


def decode_as(data: bytes, wanted: Wanted) -> Tensor:
    """The image where channels are said; see `Versatile`."""
    with open_picture(data, NAMES) as picture:
        return load(picture, wanted)


def open_picture(data: bytes, names: tuple[str, ...]) -> Image.Image:
    """An image in one of the named formats: its header is read, its size is checked, its pixels are not decoded."""
    Image.init()  # loads the plugins at its first call
    picture = Image.open(io.BytesIO(data), formats=[name for name in names if name in Image.OPEN])
    check_size(picture.height, picture.width)
    return picture


def stored_header(picture: Image.Image) -> Header:
    """The header of an opened image, before its orientation is applied."""
    width, height = picture.size
    mode = picture.mode
    depth: Depth = "float" if mode == "F" else "16-bit" if mode.startswith("I") else "8-bit"
    if mode == "I" and picture.format not in ("PPM", "PNG"):
        raise BadImage(NO_RANGE)
    gray = mode in GRAY_MODES or depth != "8-bit"
    return Header(
        height=height,
        width=width,
        channels=1 if gray else 3,
        depth=depth,
        kind=KINDS.get(picture.format or "", picture.format or ""),
        opacity=mode in WITH_OPACITY,
    )


def load(picture: Image.Image, wanted: Wanted = PLAIN) -> Tensor:
    """The pixels of an opened image, upright, as (C, H, W); see `Versatile` about opacity."""
    if picture.mode == "I" and picture.format not in ("PPM", "PNG"):
        raise BadImage(NO_RANGE)
    picture.load()
    # The tag is read after loading: Pillow turns a TIFF itself and then drops the tag; a PNG may have it at the end.
    orientation = orientation_of(picture.getexif)
    return upright(_stored_pixels(picture, wanted), orientation)


def silence_pillow() -> None:
    """Ignore Pillow's warnings about odd metadata.

    They should not reach the terminal, and where warnings are errors they should not spoil a good image.
    `catch_warnings` is not safe among threads, so the filter stays installed. It is moved to the front only when
    another filter came before it, since every change makes Python repeat warnings that it has already shown once.
    """
    if warnings.filters[0] != PILLOW_FILTER:
        warnings.filterwarnings("ignore", module=r"PIL\.")


def _stored_pixels(picture: Image.Image, wanted: Wanted) -> Tensor:
    """The pixels of a loaded image as (C, H, W), before its orientation is applied."""
    mode = picture.mode
    if mode == "F":
        return unit_floats(np.array(picture)[None])
    if mode.startswith("I"):
        return _sixteen_bits(picture)
    gray = mode in GRAY_MODES
    if picture.has_transparency_data:
        image = _tensor(picture.convert("LA" if gray else "RGBA"))
        return image if mode in WITH_OPACITY and wanted.keeps_opacity(len(image)) else over_white(image)
    plain = "L" if gray else "RGB"
    return _tensor(picture if mode == plain else picture.convert(plain))


def _sixteen_bits(picture: Image.Image) -> Tensor:
    """Gray of 16 bits, which Pillow holds in its modes `I;16...`, and in `I` for PGM."""
    stored = np.array(picture)
    white, inverted = 65535, False
    if isinstance(picture, TiffImageFile):
        white = 2 ** picture.tag_v2.get(BITS_PER_SAMPLE, (16,))[0] - 1  # 12 bits come unscaled
        inverted = picture.tag_v2.get(PHOTOMETRIC) == 0  # 0: zero is white; Pillow applies it up to 8 bits only
    values = stored.astype(np.float32) / white
    if inverted:
        values = 1 - values
    transparent = picture.info.get("transparency")  # PNG may name one gray value that is not drawn
    if isinstance(transparent, int):
        values[stored == transparent] = 1
    return torch.from_numpy(values)[None]


def _tensor(picture: Image.Image) -> Tensor:
    # np.array copies. np.asarray would give read-only memory, about which torch warns.
    pixels = torch.from_numpy(np.array(picture))
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)
