"""From the bytes of one image file to a tensor, or a short reason why not, whatever its format."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from PIL import Image, UnidentifiedImageError
from torch import Tensor

from byol.config.axes import Axes
from byol.data.formats.channels import to_channels
from byol.data.formats.header import MAX_PIXELS, Header
from byol.data.formats.pillow import silence_pillow
from byol.data.formats.registry import format_of
from byol.data.formats.wanted import Versatile, Wanted
from byol.errors import BadImage

__all__ = ["decode", "guarded", "read_header"]

T = TypeVar("T")


def decode(data: bytes, channels: int | None = None, shrink_to: int | None = None, *, axes: Axes = "auto") -> Tensor:
    """The image in an encoded file, upright, as (C, H, W).

    Args:
        data: the file's bytes: JPEG, PNG, WebP, GIF, BMP, TIFF, PPM/PGM, JPEG 2000, AVIF, TGA, or a NumPy array
            (`.npy`) of shape (H, W), (H, W, C) or (C, H, W).
        channels: None keeps the file's own (gray 1, any other photograph 3, arrays and multi-channel TIFF their own);
            1 or 3 converts between gray and color; another number only accepts images that have it, and 2 or 4 takes
            opacity for a channel.
        shrink_to: allows a JPEG to be read at 1/2, 1/4 or 1/8 of its size, as long as its shorter side keeps at least
            so many pixels.
        axes: what the three axes of an array are, or of pages whose file does not name them.

    Returns:
        uint8 for images of 8 bits per channel; float32 in [0, 1] for deeper ones (16-bit values / 65535). The memory
        may be laid out channels last.

    EXIF and TIFF orientation is applied. Transparency is blended with white, unless its channel is asked for. CMYK and
    palettes become RGB. An animation gives its first frame. Safe to call from many threads: the decoders release the
    interpreter's lock.

    Raises:
        BadImage: whatever is wrong with the bytes, with a short reason. Nothing else is raised.
    """

    def read() -> Tensor:
        entry = format_of(data)
        if isinstance(entry, Versatile):
            return entry.decode_as(data, Wanted(axes, channels))
        return entry.decode(data, shrink_to)

    return to_channels(_guarded(data, read), channels)


def read_header(data: bytes, *, axes: Axes = "auto") -> Header:
    """Size (upright), channels and depth of an encoded image without decoding its pixels.

    Raises:
        BadImage: the header is broken, the format is unknown, or the image is larger than `MAX_PIXELS`.
    """

    def read() -> Header:
        entry = format_of(data)
        found = entry.header_as(data, Wanted(axes)) if isinstance(entry, Versatile) else entry.header(data)
        return found if found.kind else replace(found, kind=getattr(entry, "__name__", "").rpartition(".")[2].upper())

    return _guarded(data, read)


def _guarded(data: bytes, work: Callable[[], T]) -> T:
    """Do `work` on `data`, and turn every error into `BadImage`."""
    if not data:
        raise BadImage("empty file")
    silence_pillow()
    try:
        return guarded(work)
    except UnidentifiedImageError:
        raise BadImage(_unknown_format(data)) from None


def guarded(work: Callable[[], T]) -> T:
    """Do some work on an image, and turn every error into `BadImage`."""
    try:
        return work()
    except (BadImage, UnidentifiedImageError):
        raise
    except Image.DecompressionBombError:
        raise BadImage(f"more than {MAX_PIXELS // 10**6} million pixels") from None
    except Exception as error:  # decoders raise a dozen types for broken bytes, and all of them mean the same here
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadImage(f"corrupt or truncated: {reason[:100]}") from error


def _unknown_format(data: bytes) -> str:
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG of 12 bits, or without loss, is not read; convert it to PNG or TIFF"
    if data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "a TIFF of this kind is not read, or it is broken; save it without compression"
    return "not an image in a known format"
