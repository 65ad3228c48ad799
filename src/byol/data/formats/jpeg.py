"""JPEG: by simplejpeg in its full size, by Pillow where it is shrunk or anything about it is unusual.

simplejpeg is libjpeg-turbo without Pillow's detour: faster, with the same pixels to the bit (tests/test_decode.py).
`torchvision.io`, as fast, is deprecated since torchvision 0.29. Large photographs are decoded by Pillow at a half, a
quarter or an eighth of their size.
"""

import simplejpeg
import torch
from PIL import Image
from torch import Tensor

from byol.data.formats import pillow
from byol.data.formats.header import Header
from byol.data.formats.orientation import orientation_of, upright, upright_header

__all__ = ["SUFFIXES", "decode", "header", "sniff"]

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo")

NAMES = ("JPEG",)  # MPO, several JPEGs in one file, is opened by the same plugin

COLORS = {"RGB": "RGB", "L": "GRAY"}
"""Pillow's modes of the JPEGs that simplejpeg decodes, and what it calls them."""


def sniff(head: bytes) -> bool:
    """By the marker that starts an image, and the first byte of the next marker."""
    return head.startswith(b"\xff\xd8\xff")


def header(data: bytes) -> Header:
    """The header, upright; see `Format`."""
    with pillow.open_picture(data, NAMES) as picture:
        return upright_header(pillow.stored_header(picture), orientation_of(picture.getexif))


def decode(data: bytes, shrink_to: int | None) -> Tensor:
    """The image, upright, at 1, 1/2, 1/4 or 1/8 of its size; see `Format`."""
    with pillow.open_picture(data, NAMES) as picture:
        shrink = _shrink_factor(min(picture.size), shrink_to)
        if shrink > 1:
            picture.draft(None, (picture.width // shrink, picture.height // shrink))
        elif picture.format == "JPEG" and picture.mode in COLORS:
            pixels = _whole_jpeg(data, picture)
            if pixels is not None:
                return upright(pixels, orientation_of(picture.getexif))
        return pillow.load(picture)


def _whole_jpeg(data: bytes, picture: Image.Image) -> Tensor | None:
    """The pixels (C, H, W) of an intact JPEG in its full size; None where anything about it is unusual."""
    try:
        pixels = simplejpeg.decode_jpeg(data, COLORS[picture.mode])
    except ValueError:  # broken, truncated, or with a warning: Pillow decides which
        return None
    if pixels.shape[:2] != (picture.height, picture.width):
        return None
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _shrink_factor(shorter: int, shrink_to: int | None) -> int:
    """The largest of 8, 4, 2, 1 that leaves the shorter side at least `shrink_to` pixels."""
    if shrink_to is None:
        return 1
    return next((factor for factor in (8, 4, 2) if shorter // factor >= max(shrink_to, 1)), 1)
