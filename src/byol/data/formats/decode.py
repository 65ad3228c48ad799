"""From the bytes of one image file to a tensor, or a short reason why not.

Pillow decodes everything that it decodes without loss. What it would cut down to 8 bits or cannot open (color PNG
with 16 bits, TIFF with many channels, NumPy arrays) has a reader of its own in `deep.py`.

JPEGs in full size go through simplejpeg, which is libjpeg-turbo without the detour that Pillow makes: faster, and the
same pixels to the bit (tests/test_decode.py). Whatever it does not
like goes to Pillow, whose word is the last one. `torchvision.io`, as fast, is deprecated since torchvision 0.29, and
ends the process with a segmentation fault on some damaged PNG files (0.29.1). Large photographs are read at a half, a
quarter or an eighth of their size, by Pillow.
"""

import io
import logging
import re
import warnings
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import simplejpeg
import torch
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile
from torch import Tensor

from byol.data.formats import deep
from byol.data.formats.header import MAX_PIXELS, Depth, Header, check_size
from byol.errors import BadImage

__all__ = ["MAX_PIXELS", "BadImage", "Header", "decode", "read_header", "to_channels"]

# Formats that people keep images in. Pillow knows more, but some of those start other programs (EPS) or hold no
# pixels, and a file of unknown origin should reach as little code as possible.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "TGA")

PILLOW_FILTER = ("ignore", None, Warning, re.compile(r"PIL\."), 0)

# Without a handler of their own these loggers would print through Python's last resort to the terminal.
for library in ("PIL", "tifffile"):
    logging.getLogger(library).addHandler(logging.NullHandler())

T = TypeVar("T")


def decode(blob: bytes, channels: int | None = None, shrink_to: int | None = None) -> Tensor:
    """The image in an encoded file, upright, as (C, H, W).

    Args:
        blob: the file's bytes: JPEG, PNG, WebP, GIF, BMP, TIFF, PPM/PGM, JPEG 2000, AVIF, TGA, or a NumPy array
            (`.npy`) of shape (H, W) or (H, W, C).
        channels: None keeps the file's own (gray 1, any other photograph 3, arrays and multi-channel TIFF their own);
            1 or 3 converts between gray and color; another number only accepts images that have it.
        shrink_to: allows a JPEG to be read at 1/2, 1/4 or 1/8 of its size, as long as its shorter side keeps at least
            so many pixels.

    Returns:
        uint8 for images of 8 bits per channel; float32 in [0, 1] for deeper ones (16-bit values / 65535). The memory
        may be laid out channels last.

    EXIF and TIFF orientation is applied; transparency is laid over white; CMYK and palettes become RGB; an animation
    gives its first frame. Safe to call from many threads; Pillow releases the interpreter's lock while it decodes.

    Raises:
        BadImage: whatever is wrong with the bytes, with a short reason. Nothing else is raised.
    """
    return to_channels(_guarded(blob, lambda: _decode(blob, shrink_to)), channels)


def read_header(blob: bytes) -> Header:
    """Size (upright), channels and depth of an encoded image without decoding its pixels.

    Raises:
        BadImage: the header is broken, or the format unknown, or the image larger than `MAX_PIXELS`.
    """
    return _guarded(blob, lambda: _read_header(blob))


def to_channels(images: Tensor, channels: int | None) -> Tensor:
    """Images (..., C, H, W) with `channels` channels: gray is repeated, color weighed into gray (ITU-R BT.601).

    None leaves the images as they are.

    Raises:
        BadImage: no conversion from the channels there are to those asked for is known.
    """
    have = images.shape[-3]
    if channels is None or channels == have:
        return images
    if have == 1 and channels == 3:
        return images.expand(*images.shape[:-3], 3, -1, -1).contiguous()
    if have == 3 and channels == 1:
        red, green, blue = images.unbind(-3)
        if images.dtype == torch.uint8:
            # Pillow's `convert("L")` to the bit: the BT.601 weights times 2^16, rounded.
            gray = (red.int() * 19595 + green.int() * 38470 + blue.int() * 7471 + 0x8000) >> 16
            return gray.to(torch.uint8).unsqueeze(-3)
        return (0.299 * red + 0.587 * green + 0.114 * blue).unsqueeze(-3)
    raise BadImage(f"has {have} channels where {channels} are wanted")


def _guarded(blob: bytes, work: Callable[[], T]) -> T:
    """Do `work` on `blob`, and turn whatever goes wrong into `BadImage`."""
    if not blob:
        raise BadImage("empty file")
    _hush_pillow()
    try:
        return work()
    except BadImage:
        raise
    except Image.DecompressionBombError:
        raise BadImage(f"more than {MAX_PIXELS // 10**6} million pixels") from None
    except UnidentifiedImageError:
        raise BadImage(_unknown_format(blob)) from None
    except Exception as error:  # decoders raise a dozen types on broken bytes, and every one means the same here
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadImage(f"corrupt or truncated: {reason[:100]}") from error


def _decode(blob: bytes, shrink_to: int | None) -> Tensor:
    found = deep.decode(blob)
    if found is not None:
        return _upright(*found)
    with _open(blob) as picture:
        shrink = _shrink_factor(min(picture.size), shrink_to)
        if shrink > 1 and picture.format in ("JPEG", "MPO"):
            picture.draft(None, (picture.width // shrink, picture.height // shrink))
        elif picture.format == "JPEG" and picture.mode in JPEG_COLORS:
            pixels = _whole_jpeg(blob, picture)
            if pixels is not None:
                return _upright(pixels, picture.getexif().get(deep.ORIENTATION, 1))
        picture.load()
        # Asked for after loading: Pillow turns TIFFs itself and then drops their tag; PNG may keep it at the end.
        orientation = picture.getexif().get(deep.ORIENTATION, 1)
        return _upright(_pixels(picture), orientation)


JPEG_COLORS = {"RGB": "RGB", "L": "GRAY"}
"""Pillow's modes of the JPEGs that simplejpeg decodes, and what it calls them."""


def _whole_jpeg(blob: bytes, picture: Image.Image) -> Tensor | None:
    """The pixels (C, H, W) of a sound JPEG in its full size; None where anything is unusual about it."""
    try:
        pixels = simplejpeg.decode_jpeg(blob, JPEG_COLORS[picture.mode])
    except ValueError:  # broken, cut short, or with a warning: Pillow says which
        return None
    if pixels.shape[:2] != (picture.height, picture.width):
        return None
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _read_header(blob: bytes) -> Header:
    found = deep.read_header(blob)
    if found is not None:
        header, orientation = found
        return header.turned() if orientation in (5, 6, 7, 8) else header
    with _open(blob) as picture:
        width, height = picture.size
        mode = picture.mode
        depth: Depth = "float" if mode == "F" else "16-bit" if mode.startswith("I") else "8-bit"
        gray = mode in ("1", "L", "LA", "La", "F") or mode.startswith("I")
        header = Header(height=height, width=width, channels=1 if gray else 3, depth=depth)
        match picture.format:
            case "TIFF":  # whose size is already given upright
                orientation = 1
            case "PNG":  # of which `getexif` would decode all pixels
                orientation = deep.png_orientation(blob)
            case _:
                orientation = picture.getexif().get(deep.ORIENTATION, 1)
        return header.turned() if orientation in (5, 6, 7, 8) else header


def _open(blob: bytes) -> Image.Image:
    """The image with its header read, its size checked, and its pixels not yet decoded."""
    Image.init()  # after its first call it only looks that every plugin is there
    picture = Image.open(io.BytesIO(blob), formats=[name for name in FORMATS if name in Image.OPEN])
    check_size(picture.height, picture.width)
    return picture


def _shrink_factor(shorter: int, shrink_to: int | None) -> int:
    """The largest of 8, 4, 2, 1 that leaves the shorter side at least `shrink_to` pixels."""
    if shrink_to is None:
        return 1
    return next((factor for factor in (8, 4, 2) if shorter // factor >= max(shrink_to, 1)), 1)


def _pixels(picture: Image.Image) -> Tensor:
    """The pixels of a loaded image as (C, H, W), still as they lie in the file."""
    mode = picture.mode
    if mode == "F":
        return deep.unit_floats(np.array(picture)[None])
    if mode.startswith("I"):
        return _sixteen_bits(picture)
    gray = mode in ("1", "L", "LA", "La")
    if picture.has_transparency_data:
        return deep.over_white(_tensor(picture.convert("LA" if gray else "RGBA")))
    wanted = "L" if gray else "RGB"
    return _tensor(picture if mode == wanted else picture.convert(wanted))


def _sixteen_bits(picture: Image.Image) -> Tensor:
    """Gray of 16 bits, which Pillow holds in its modes `I;16...`, and in `I` for PGM."""
    if picture.mode == "I" and picture.format not in ("PPM", "PNG"):
        raise BadImage("signed or 32-bit whole numbers have no known range; store 16 bits, or floats in [0, 1]")
    stored = np.array(picture)
    white, inverted = 65535, False
    if isinstance(picture, TiffImageFile):
        white = 2 ** picture.tag_v2.get(deep.BITS_PER_SAMPLE, (16,))[0] - 1  # 12 bits come unscaled
        inverted = picture.tag_v2.get(deep.PHOTOMETRIC) == 0  # 0: zero is white; Pillow heeds it up to 8 bits only
    values = stored.astype(np.float32) / white
    if inverted:
        values = 1 - values
    see_through = picture.info.get("transparency")  # PNG may name one gray value that is not drawn
    if isinstance(see_through, int):
        values[stored == see_through] = 1
    return torch.from_numpy(values)[None]


def _tensor(picture: Image.Image) -> Tensor:
    # np.array, not np.asarray: the latter is read-only, which torch warns about.
    pixels = torch.from_numpy(np.array(picture))
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)


def _upright(image: Tensor, orientation: object) -> Tensor:
    """Turn (C, H, W) by the EXIF orientation; a value that means nothing leaves the image alone."""
    match orientation:
        case 2:
            return image.flip(2)
        case 3:
            return image.flip(1, 2)
        case 4:
            return image.flip(1)
        case 5:
            return image.transpose(1, 2)
        case 6:
            return image.transpose(1, 2).flip(2)
        case 7:
            return image.transpose(1, 2).flip(1, 2)
        case 8:
            return image.transpose(1, 2).flip(1)
    return image


def _unknown_format(blob: bytes) -> str:
    if blob[4:8] == b"ftyp" and blob[8:12] in (b"heic", b"heix", b"mif1", b"hevc"):
        return "HEIC is not read; convert it to JPEG"
    return "not an image in a known format"


def _hush_pillow() -> None:
    """Ignore Pillow's warnings about odd metadata.

    They must neither reach the terminal nor, where warnings are errors, spoil a good image. `catch_warnings` is not
    safe among threads, so the filter stays; it is put in front again only where another came before it, since every
    change makes Python repeat warnings that it has already shown once.
    """
    if warnings.filters[0] != PILLOW_FILTER:
        warnings.filterwarnings("ignore", module=r"PIL\.")
