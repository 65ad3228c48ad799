"""Readers for what Pillow would cut down to 8 bits or cannot open.

NumPy arrays, color PNG with 16 bits per channel, and TIFF whose channels are deeper than 8 bits or more than four.
Each reader gives the pixels as they lie in the file, and the EXIF orientation to turn them by.
"""

import io
import math
import re
import zlib
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from byol.data.formats.header import MAX_PIXELS, Depth, Header, check_size
from byol.errors import BadImage

__all__ = [
    "BITS_PER_SAMPLE",
    "ORIENTATION",
    "PHOTOMETRIC",
    "decode",
    "over_white",
    "png_orientation",
    "read_header",
    "unit_floats",
]

NPY = b"\x93NUMPY"
PNG = b"\x89PNG\r\n\x1a\n"
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # classic and BigTIFF, little and big endian

PNG_CHANNELS = {2: 3, 4: 2, 6: 4}  # PNG color types with more than one channel: RGB, gray + alpha, RGBA

# TIFF tags (TIFF 6.0, section 8)
BITS_PER_SAMPLE, PHOTOMETRIC, ORIENTATION = 258, 262, 274
MIN_IS_BLACK, CMYK = 1, 5  # PhotometricInterpretation; the latter is called "separated"

Array = npt.NDArray[np.generic]


def decode(blob: bytes) -> tuple[Tensor, int] | None:
    """(C, H, W) and its orientation, or None for a file that Pillow reads without loss.

    Raises:
        BadImage: the values are of a kind without a known range. Broken bytes may raise anything.
    """
    if blob.startswith(NPY):
        return _decode_npy(blob), 1
    if _is_deep_png(blob):
        return _decode_png(blob)
    if blob.startswith(TIFF):
        return _decode_tiff(blob)
    return None


def read_header(blob: bytes) -> tuple[Header, int] | None:
    """The header and orientation of a file that `decode` reads, or None where `decode` gives None."""
    if blob.startswith(NPY):
        return _npy_layout(blob).header, 1
    if _is_deep_png(blob):
        return _png_header(blob), png_orientation(blob)
    if blob.startswith(TIFF):
        layout = _tiff_layout(blob)
        return None if layout is None else (layout.header, layout.orientation)
    return None


def unit_floats(values: Array) -> Tensor:
    """Floating-point pixels as float32.

    Raises:
        BadImage: a value is not finite or outside [0, 1], so that nobody can tell which value is white.
    """
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):  # false for NaN too
        raise BadImage(f"floating-point pixels from {low:g} to {high:g}; only [0, 1] has a known meaning")
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def over_white(image: Tensor) -> Tensor:
    """Lay (C + 1, H, W), the last channel being opacity, over white: (C, H, W)."""
    color, alpha = image[:-1], image[-1:]
    if image.dtype == torch.uint8:
        wide, opacity = color.int(), alpha.int()
        return ((wide * opacity + 255 * (255 - opacity) + 127) // 255).to(torch.uint8)
    return color * alpha + (1 - alpha)


def _unit_range(values: Array) -> Tensor:
    """Values of a dtype whose white is known: uint8 as it is, uint16 and floats as float32 in [0, 1]."""
    if values.dtype == np.uint8:
        return torch.from_numpy(np.ascontiguousarray(values))
    if values.dtype == np.bool_:
        return torch.from_numpy(np.ascontiguousarray(values).astype(np.uint8) * 255)
    if values.dtype == np.uint16:
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32) / 65535)
    if values.dtype.kind == "f":
        return unit_floats(values)
    raise BadImage(f"{values.dtype} pixels have no known range; store uint8, uint16, or floats in [0, 1]")


def _depth(dtype: np.dtype[np.generic]) -> Depth:
    return "float" if dtype.kind == "f" else "8-bit" if dtype.itemsize == 1 else "16-bit"


# NumPy's `.npy` (numpy.lib.format)


class _NpyLayout(NamedTuple):
    header: Header
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    fortran: bool
    start: int  # of the values, in bytes


def _npy_layout(blob: bytes) -> _NpyLayout:
    # Read by hand: NumPy's own reader evaluates the header as Python and allocates whatever size that names.
    width = 2 if blob[6] == 1 else 4
    start = 8 + width + int.from_bytes(blob[8 : 8 + width], "little")
    text = blob[8 + width : start].decode("latin-1")
    descr = re.search(r"'descr'\s*:\s*'([<>|=]?[a-zA-Z]\d+)'", text)
    order = re.search(r"'fortran_order'\s*:\s*(True|False)", text)
    shape = re.search(r"'shape'\s*:\s*\(([\d,\s]{0,80})\)", text)
    if descr is None or order is None or shape is None:
        raise BadImage("the header of the array is not understood; only plain arrays of numbers are images")
    dtype = np.dtype(descr[1])
    if dtype.kind not in "buf":
        raise BadImage(f"{dtype} pixels have no known range; store uint8, uint16, or floats in [0, 1]")
    sizes = tuple(int(part) for part in shape[1].split(",") if part.strip())
    if len(sizes) not in (2, 3):
        raise BadImage(f"an array of shape {sizes} is no image; only (H, W) and (H, W, C) are")
    check_size(*sizes[:2])
    channels = sizes[2] if len(sizes) == 3 else 1
    if channels < 1:
        raise BadImage(f"an array of shape {sizes} has no channels")
    if len(blob) - start != math.prod(sizes) * dtype.itemsize:
        raise BadImage(f"truncated: shape {sizes} does not go with {len(blob) - start} bytes of values")
    header = Header(height=sizes[0], width=sizes[1], channels=channels, depth=_depth(dtype))
    return _NpyLayout(header, dtype, sizes, order[1] == "True", start)


def _decode_npy(blob: bytes) -> Tensor:
    layout = _npy_layout(blob)
    values = np.frombuffer(blob, layout.dtype, offset=layout.start)
    values = values.reshape(layout.shape, order="F" if layout.fortran else "C")
    values = values.astype(layout.dtype.newbyteorder("="))  # a copy too: the file's bytes are read-only
    return _unit_range(values[None] if values.ndim == 2 else values.transpose(2, 0, 1))


# PNG with 16 bits and color or alpha


def _is_deep_png(blob: bytes) -> bool:
    # IHDR is always first: length and name (8 bytes), width, height (4 + 4), bit depth, color type.
    return blob.startswith(PNG) and len(blob) > 26 and blob[24] == 16 and blob[25] in PNG_CHANNELS


def _png_header(blob: bytes) -> Header:
    width, height = int.from_bytes(blob[16:20], "big"), int.from_bytes(blob[20:24], "big")
    check_size(height, width)
    return Header(height=height, width=width, channels=1 if PNG_CHANNELS[blob[25]] == 2 else 3, depth="16-bit")


def png_orientation(blob: bytes) -> int:
    """The orientation in the `eXIf` chunk of a PNG, or 1."""
    at = len(PNG)
    while at + 8 <= len(blob):  # from chunk to chunk: the name may stand among the pixels too
        length, name = int.from_bytes(blob[at : at + 4], "big"), blob[at + 4 : at + 8]
        if name == b"eXIf":
            exif = Image.Exif()
            exif.load(blob[at + 8 : at + 8 + length])
            return int(exif.get(ORIENTATION, 1))
        at += 12 + length  # length, name and checksum take 4 bytes each
    return 1


def _decode_png(blob: bytes) -> tuple[Tensor, int]:
    _png_header(blob)
    values, see_through = _png_gray_alpha(blob) if blob[25] == 4 else _png_color(blob)
    image = torch.from_numpy(values.astype(np.float32).transpose(2, 0, 1)) / 65535
    if see_through is not None:  # one color that is not drawn
        image[:, torch.from_numpy((values == np.array(see_through)).all(2))] = 1
    return (over_white(image) if len(image) in (2, 4) else image), png_orientation(blob)


def _png_color(blob: bytes) -> tuple[npt.NDArray[np.uint16], tuple[int, ...] | None]:
    """(H, W, 3 or 4), and the transparent color of an image that names one.

    Pillow unpacks the upper byte of every value, as `RGB;16B`, and throws the lower away. Told that the order of bytes
    is the other one, it unpacks the lower; both together are the value.
    """
    halves = []
    for order in ("B", "L"):
        with Image.open(io.BytesIO(blob), formats=["PNG"]) as picture:
            if any(tile.args != f"{picture.mode};16B" for tile in picture.tile):
                raise BadImage("color PNG with 16 bits is not read with this version of Pillow; convert it to TIFF")
            picture.tile = [tile._replace(args=f"{picture.mode};16{order}") for tile in picture.tile]
            halves.append(np.array(picture).astype(np.uint16))
            see_through = picture.info.get("transparency")
    return halves[0] * np.uint16(256) + halves[1], see_through if isinstance(see_through, tuple) else None


def _png_gray_alpha(blob: bytes) -> tuple[npt.NDArray[np.uint16], None]:
    """(H, W, 2). Two values of 16 bits lie in a file just as four of 8 bits, so the header is made to say so."""
    header = blob[12:24] + b"\x08\x06" + blob[26:29]
    changed = blob[:12] + header + zlib.crc32(header).to_bytes(4, "big") + blob[33:]
    with Image.open(io.BytesIO(changed), formats=["PNG"]) as picture:
        quarters = np.array(picture).astype(np.uint16)
    return quarters[..., 0::2] * np.uint16(256) + quarters[..., 1::2], None


# TIFF


class _TiffLayout(NamedTuple):
    header: Header
    photometric: int
    alpha: bool
    orientation: int
    stacked: bool
    """Whether each channel has a page of its own."""


def _tiff_layout(blob: bytes) -> _TiffLayout | None:
    """The layout of a TIFF that Pillow would not read without loss, else None."""
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(blob)) as file:
            page = file.pages.first
            samples, bits = int(page.samplesperpixel), int(page.bitspersample)
            pages = _pages_of_channels(file) if samples == 1 else [page]
            # One channel Pillow reads at any depth; of several it keeps 8 bits, and it knows at most four.
            if len(pages) == 1 and (samples == 1 or (bits <= 8 and samples <= 4)):
                return None
            # ExtraSamples 1 and 2 are opacity, premultiplied or not; anything else is one more channel.
            alpha = samples in (2, 4) and any(int(extra) in (1, 2) for extra in page.extrasamples)
            channels = len(pages) if samples == 1 else samples - alpha
            header = Header(int(page.imagelength), int(page.imagewidth), channels, _depth(np.dtype(page.dtype)))
            orientation = int(page.tags.valueof(ORIENTATION, 1))
            photometric = int(page.photometric)
    except Exception:  # of whatever type: Pillow has the last word on what tifffile cannot parse
        return None
    check_size(header.height, header.width)
    if header.height * header.width * header.channels > 4 * MAX_PIXELS:
        raise BadImage(f"more values than four channels of {MAX_PIXELS // 10**6} million pixels")
    return _TiffLayout(header, photometric, alpha, orientation, len(pages) > 1)


def _pages_of_channels(file: Any) -> list[Any]:
    """The pages of a microscope's stack (ImageJ, OME) that hold its channels: of depth and time, the first.

    One page, the first, of everything else, and where black and white are other than usual.
    """
    first = file.pages.first
    if not (file.is_imagej or file.is_ome) or int(first.photometric) != MIN_IS_BLACK:
        return [first]
    series = file.series[0]
    planes, of_planes = series.axes[:-2], series.shape[:-2]
    pages = series.pages if len(series.pages) == math.prod(of_planes) else file.pages
    if "C" not in planes or series.axes[-2:] != "YX" or len(pages) < math.prod(of_planes):
        return [first]
    place = planes.index("C")
    return [pages[math.prod(of_planes[place + 1 :]) * channel] for channel in range(of_planes[place])]


def _decode_tiff(blob: bytes) -> tuple[Tensor, int] | None:
    import tifffile

    layout = _tiff_layout(blob)
    if layout is None:
        return None
    if layout.photometric == CMYK:
        raise BadImage("CMYK with more than 8 bits is not read; convert it to RGB")
    with tifffile.TiffFile(io.BytesIO(blob)) as file:
        if layout.stacked:
            return _unit_range(np.stack([page.asarray() for page in _pages_of_channels(file)])), layout.orientation
        page = file.pages.first
        values: Array = page.asarray()
        if page.axes == "YXS":
            values = values.transpose(2, 0, 1)
        elif page.axes != "SYX":
            raise BadImage(f"TIFF with axes {page.axes} is not read; only the channels of one flat image are")
    image = _unit_range(values)
    return (over_white(image) if layout.alpha else image), layout.orientation
