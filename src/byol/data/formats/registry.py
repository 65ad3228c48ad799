"""The table of image formats.

A new format is one new file with the four names of `Format`, and one more line in `FORMATS`. Formats whose files hold
several images stand in `CONTAINERS`.
"""

from collections.abc import Iterable
from typing import Protocol

from torch import Tensor

from byol.data.formats import dicom, fits, heif, jpeg, jxl, nifti, npy, ome_zarr, pillow, png, pnm, slides, tiff, video
from byol.data.formats.extras import DOUBLE, extra_for, suffix_of
from byol.data.formats.header import Header
from byol.data.formats.several import Container

__all__ = [
    "CONTAINERS",
    "FORMATS",
    "HEAD_BYTES",
    "Format",
    "container_of",
    "file_suffixes",
    "format_of",
    "image_suffixes",
    "single_image_ends",
    "told_by_their_end",
]

HEAD_BYTES = 4096
"""Bytes of a file that `sniff` sees. Most marks are at the very beginning, DICOM's is at byte 128, tar's at 257."""


class Format(Protocol):
    """What a file in this package defines: how one image format is recognized and read.

    `header` and `decode` may raise anything for broken bytes; `decode.py` turns it into `BadImage`. They raise
    `BadImage` themselves where they know a better reason.
    """

    @property
    def SUFFIXES(self) -> tuple[str, ...]:  # noqa: N802  (a constant of the module)
        """Suffixes of such files in a folder, in lower case with the dot. Nothing else depends on them."""
        ...

    def sniff(self, head: bytes) -> bool:
        """Whether a file that begins with these bytes, at most `HEAD_BYTES`, has this format."""
        ...

    def header(self, data: bytes) -> Header:
        """The header of a whole file, upright, without decoding its pixels. Calls `check_size`."""
        ...

    def decode(self, data: bytes, shrink_to: int | None) -> Tensor:
        """The image of a whole file, upright, as (C, H, W) with the file's own channels.

        uint8 for 8 bits per channel, float32 in [0, 1] for deeper values. `shrink_to` allows a decoder to reduce the
        size while the shorter side keeps at least so many pixels; a format may ignore it.
        """
        ...


FORMATS: tuple[Format, ...] = (
    dicom,  # first: its mark comes after bytes that may look like another format's
    jpeg,
    png,
    tiff,
    npy,
    pnm,
    heif,
    jxl,
    fits,
    pillow,  # last: it accepts every file, since some of its formats have no mark
)
"""Every format, in the order in which they are asked whether a file is theirs."""


CONTAINERS: tuple[Container, ...] = (dicom, nifti, video, slides, ome_zarr)
"""Formats whose files may hold several images, or none."""


def format_of(data: bytes) -> Format:
    """The format of a file, by its first bytes."""
    head = data[:HEAD_BYTES]
    return next(candidate for candidate in FORMATS if candidate.sniff(head))


def image_suffixes() -> frozenset[str]:
    """Suffixes of single images, as far as the packages that read them are there."""
    return _readable(suffix for entry in FORMATS for suffix in entry.SUFFIXES)


def file_suffixes() -> frozenset[str]:
    """Suffixes by which the files of a folder count: those of images, and of files that hold several."""
    return image_suffixes() | _readable(suffix for entry in CONTAINERS for suffix in entry.EXTRA.suffixes)


def told_by_their_end(suffixes: Iterable[str]) -> frozenset[str]:
    """Those of some suffixes that count whenever a name ends in them, in lower and in upper case.

    A look-up in these takes a tenth of `suffix_of`, which matters with a million names; other names need that.
    """
    plain = {suffix for suffix in suffixes if not any(double.endswith(suffix) for double in DOUBLE)}
    return frozenset(plain | {suffix.upper() for suffix in plain})


def single_image_ends() -> frozenset[str]:
    """Ends of names of files that hold one image each: `container_of` is None for them."""
    several = {suffix for entry in CONTAINERS for suffix in entry.EXTRA.suffixes}
    return told_by_their_end({suffix for entry in FORMATS for suffix in entry.SUFFIXES} - several)


def _readable(suffixes: Iterable[str]) -> frozenset[str]:
    return frozenset(suffix for suffix in suffixes if (extra := extra_for(suffix)) is None or extra.there)


def container_of(path: str) -> Container | None:
    """The format of a file that may hold several images, by its suffix; DICOM and OME-Zarr also by their marks."""
    suffix = suffix_of(path)
    for entry in CONTAINERS:
        if suffix in entry.EXTRA.suffixes:
            return entry if entry.EXTRA.there else None
    if ome_zarr.EXTRA.there and ome_zarr.is_store(path):
        return ome_zarr
    known = any(suffix in entry.SUFFIXES for entry in FORMATS)
    return dicom if not known and dicom.EXTRA.there and dicom.marked(path) else None
