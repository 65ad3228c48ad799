"""PNG: by Pillow, except color or alpha with 16 bits per channel, of which Pillow would keep 8."""

import io
import zlib
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from byol.data.formats import pillow
from byol.data.formats.channels import over_white
from byol.data.formats.header import Header, check_size
from byol.data.formats.orientation import orientation_of, upright, upright_header
from byol.data.formats.wanted import Wanted
from byol.errors import BadImage

__all__ = ["SUFFIXES", "decode", "decode_as", "header", "header_as", "png_orientation", "sniff"]

SUFFIXES = (".png",)

NAMES = ("PNG",)

SIGNATURE = b"\x89PNG\r\n\x1a\n"

# The chunk IHDR is always first: length and name (8 bytes), width, height (4 + 4), bit depth, color type.
BIT_DEPTH, COLOR_TYPE = 24, 25

CHANNELS = {2: 3, 4: 2, 6: 4}
"""Channels of the color types that have more than one: RGB, gray + alpha, RGBA."""


def sniff(head: bytes) -> bool:
    """By the signature of 8 bytes."""
    return head.startswith(SIGNATURE)


def header(data: bytes) -> Header:
    """The header, upright; see `Format`."""
    if _is_deep(data):
        return upright_header(_deep_header(data), png_orientation(data))
    with pillow.open_picture(data, NAMES) as picture:
        # Pillow's `getexif` would decode all pixels of a PNG.
        return upright_header(pillow.stored_header(picture), png_orientation(data))


def decode(data: bytes, shrink_to: int | None) -> Tensor:
    """The image, upright, in its full size; see `Format`."""
    return decode_as(data, Wanted())


def header_as(data: bytes, wanted: Wanted) -> Header:
    """The header; see `Versatile`."""
    return header(data)


def decode_as(data: bytes, wanted: Wanted) -> Tensor:
    """The image where channels are said; see `Versatile`."""
    if _is_deep(data):
        return upright(_deep_pixels(data, wanted), png_orientation(data))
    with pillow.open_picture(data, NAMES) as picture:
        transparent, bits = picture.info.get("transparency"), data[BIT_DEPTH]
        if isinstance(transparent, int) and bits in (2, 4) and data[COLOR_TYPE] == 0:
            # Pillow 13.0 scales the grays to 8 bits, and not the one that is not drawn
            picture.info["transparency"] = transparent * 255 // (2**bits - 1)
        return pillow.load(picture, wanted)


def png_orientation(data: bytes) -> object:
    """The orientation in the chunk `eXIf` of a PNG, or 1."""
    start = len(SIGNATURE)
    while start + 8 <= len(data):  # from chunk to chunk, as the name may also occur among the pixels
        length, name = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8]
        if name == b"eXIf":
            return orientation_of(partial(_exif, data[start + 8 : start + 8 + length]))
        start += 12 + length  # length, name and checksum take 4 bytes each
    return 1


def _exif(block: bytes) -> Image.Exif:
    exif = Image.Exif()
    exif.load(block)
    return exif


def _is_deep(data: bytes) -> bool:
    """Whether a PNG has 16 bits per channel and more than one channel."""
    return len(data) > 26 and data[BIT_DEPTH] == 16 and data[COLOR_TYPE] in CHANNELS


def _deep_header(data: bytes) -> Header:
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    check_size(height, width)
    stored = CHANNELS[data[COLOR_TYPE]]
    channels, opacity = (1 if stored == 2 else 3), stored in (2, 4)
    return Header(height=height, width=width, channels=channels, depth="16-bit", kind="PNG", opacity=opacity)


def _deep_pixels(data: bytes, wanted: Wanted) -> Tensor:
    """(1 or 3, H, W) float32 in [0, 1], before the orientation is applied."""
    _deep_header(data)  # checks the size
    values, transparent = _gray_and_alpha(data) if CHANNELS[data[COLOR_TYPE]] == 2 else _color(data)
    image = torch.from_numpy(values.astype(np.float32).transpose(2, 0, 1)) / 65535
    if transparent is not None:  # one color that is not drawn
        image[:, torch.from_numpy((values == np.array(transparent)).all(2))] = 1
    return image if len(image) == 3 or wanted.keeps_opacity(len(image)) else over_white(image)


def _color(data: bytes) -> tuple[npt.NDArray[np.uint16], tuple[int, ...] | None]:
    """(H, W, 3 or 4), and the transparent color of an image that names one.

    Pillow unpacks the upper byte of every value, as `RGB;16B`, and discards the lower. Told that the byte order is the
    other one, it unpacks the lower byte. Both together are the value.
    """
    halves = []
    for order in ("B", "L"):
        with Image.open(io.BytesIO(data), formats=NAMES) as picture:
            if any(tile.args != f"{picture.mode};16B" for tile in picture.tile):
                raise BadImage("color PNG with 16 bits is not read with this version of Pillow; convert it to TIFF")
            picture.tile = [tile._replace(args=f"{picture.mode};16{order}") for tile in picture.tile]
            halves.append(np.array(picture).astype(np.uint16))
            transparent = picture.info.get("transparency")
    return halves[0] * np.uint16(256) + halves[1], transparent if isinstance(transparent, tuple) else None


def _gray_and_alpha(data: bytes) -> tuple[npt.NDArray[np.uint16], None]:
    """(H, W, 2). Two values of 16 bits are stored just like four of 8 bits, so the header is changed to say so."""
    changed = data[12:24] + b"\x08\x06" + data[26:29]
    as_rgba = data[:12] + changed + zlib.crc32(changed).to_bytes(4, "big") + data[33:]
    with Image.open(io.BytesIO(as_rgba), formats=NAMES) as picture:
        quarters = np.array(picture).astype(np.uint16)
    return quarters[..., 0::2] * np.uint16(256) + quarters[..., 1::2], None
