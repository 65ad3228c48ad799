"""JPEG: by simplejpeg in its full size, by Pillow where it is shrunk or anything about it is unusual.

simplejpeg is libjpeg-turbo without Pillow's detour: faster, with the same pixels to the bit (tests/test_decode.py).
`torchvision.io`, as fast, is deprecated since torchvision 0.29. Large photographs are decoded by Pillow at a half, a
quarter or an eighth of their size.
"""

import simplejpeg
import torch
from torch import Tensor

from byol.data.formats import pillow
from byol.data.formats.header import MAX_PIXELS, Header
from byol.data.formats.orientation import orientation_of, upright, upright_header

__all__ = ["SUFFIXES", "decode", "header", "sniff"]

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo")

NAMES = ("JPEG",)  # MPO, several JPEGs in one file, is opened by the same plugin

COLORS = {"RGB": "RGB", "L": "GRAY"}
"""Pillow's modes of the JPEGs that simplejpeg decodes, and what it calls them."""

# Markers, by the second of their two bytes (ITU-T T.81, table B.1)
BASELINE, EXTENDED, PROGRESSIVE, SCAN, JFIF = 0xC0, 0xC1, 0xC2, 0xDA, 0xE0
PLAIN = (BASELINE, EXTENDED, PROGRESSIVE, JFIF, 0xC4, 0xDB, 0xDD, 0xFE)
"""Those of a file in which nothing is unusual: frame and JFIF, Huffman and quantization tables, restarts, a comment.
EXIF, color profiles, Adobe's mark and further images have others."""


def sniff(head: bytes) -> bool:
    """By the marker that starts an image, and the first byte of the next marker."""
    return head.startswith(b"\xff\xd8\xff")


def header(data: bytes) -> Header:
    """The header, upright; see `Format`."""
    with pillow.open_picture(data, NAMES) as picture:
        return upright_header(pillow.stored_header(picture), orientation_of(picture.getexif))


def decode(data: bytes, shrink_to: int | None) -> Tensor:
    """The image, upright, at 1, 1/2, 1/4 or 1/8 of its size; see `Format`."""
    size = plain_size(data)
    if size is not None and _shrink_factor(min(size[:2]), shrink_to) == 1:
        pixels = _whole_jpeg(data, "RGB" if size[2] == 3 else "L", size[:2])
        if pixels is not None:
            return pixels
    with pillow.open_picture(data, NAMES) as picture:
        shrink = _shrink_factor(min(picture.size), shrink_to)
        if shrink > 1:
            picture.draft(None, (picture.width // shrink, picture.height // shrink))
        elif picture.format == "JPEG" and picture.mode in COLORS:
            pixels = _whole_jpeg(data, picture.mode, (picture.height, picture.width))
            if pixels is not None:
                return upright(pixels, orientation_of(picture.getexif))
        return pillow.load(picture)


def plain_size(data: bytes) -> tuple[int, int, int] | None:
    """Height, width and channels (1 or 3) of a JFIF file that needs no more than its decoder; None of any other.

    For small images opening a file with Pillow takes several times as long as decoding it.
    """
    at, size, jfif = 2, None, False
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == SCAN:
            return size if jfif else None
        if marker not in PLAIN or length < 2:
            return None
        if marker == JFIF:
            jfif = data[at + 4 : at + 9] == b"JFIF\0"
            if not jfif:
                return None
        elif marker in (BASELINE, EXTENDED, PROGRESSIVE):
            if size is not None or length < 9 or at + 10 > len(data) or data[at + 4] != 8 or data[at + 9] not in (1, 3):
                return None
            size = (
                int.from_bytes(data[at + 5 : at + 7], "big"),
                int.from_bytes(data[at + 7 : at + 9], "big"),
                data[at + 9],
            )
            if not 0 < size[0] * size[1] <= MAX_PIXELS:
                return None
        at += 2 + length
    return None


def _whole_jpeg(data: bytes, mode: str, size: tuple[int, int]) -> Tensor | None:
    """The pixels (C, H, W) of an intact JPEG in its full size; None where anything about it is unusual."""
    try:
        pixels = simplejpeg.decode_jpeg(data, COLORS[mode])
    except ValueError:  # broken, truncated, or with a warning: Pillow decides which
        return None
    if pixels.shape[:2] != size:
        return None
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _shrink_factor(shorter: int, shrink_to: int | None) -> int:
    """The largest of 8, 4, 2, 1 that leaves the shorter side at least `shrink_to` pixels."""
    if shrink_to is None:
        return 1
    return next((factor for factor in (8, 4, 2) if shorter // factor >= max(shrink_to, 1)), 1)
