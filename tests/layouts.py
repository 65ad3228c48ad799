"""Which files are read, and how: the table of docs/data.md, each line with a file as the usual libraries write it."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from written import Pixels, noise, npy, tiff

Made = tuple[bytes, Pixels | str]
"""A file, and its image (C, H, W) with values in the range of 8 bits or in [0, 1]; or why it is none."""


@dataclass(frozen=True)
class Layout:
    """One line of the table."""

    kind: str
    depth: str
    layout: str
    read: str
    make: Callable[[], Made]
    notes: str = ""
    """What a run says of it, or a part of that."""
    needs: bool = False
    """Whether imagecodecs reads it (`byol[tiff]`)."""

    @property
    def line(self) -> str:
        """In the documentation."""
        return f"| {self.kind} | {self.depth} | {self.layout} | {self.read} |"


def whites(values: Pixels, bits: int | None = None) -> Pixels:
    """Stored values as they are read: 8 bits stay, deeper ones are divided by the largest value."""
    if values.dtype == np.uint8 or values.dtype.kind == "f":
        return values
    return values / (2 ** (bits or 16) - 1)


def first(values: Pixels) -> Pixels:
    """(H, W, C) as (C, H, W)."""
    return np.moveaxis(values, -1, 0)


def over_white(values: Pixels) -> Pixels:
    """(H, W, C + 1) of 8 bits over white, as (C, H, W)."""
    color, alpha = first(values)[:-1].astype(int), first(values)[-1:].astype(int)
    return (color * alpha + 255 * (255 - alpha) + 127) // 255


def pillow(values: Pixels, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, kind, **options)
    return buffer.getvalue()


def as_stored(values: Pixels, bits: int | None = None, **options: Any) -> Made:
    """A TIFF of (H, W, C) as one page, and its channels."""
    return tiff(values, planarconfig="contig", **options), whites(first(values), bits)


def planar(values: Pixels, **options: Any) -> Made:
    """A TIFF of (C, H, W) as one page, and its channels."""
    return tiff(values, planarconfig="separate", **options), whites(values)


def pages(values: Pixels, image: Pixels | str, **options: Any) -> Made:
    return tiff(values, **options), image if isinstance(image, str) else whites(image)


def array(values: Pixels, image: Pixels | str) -> Made:
    return npy(values), image if isinstance(image, str) else whites(image)


def fractions(*shape: int, dtype: str = "f4") -> Pixels:
    return noise(*shape, dtype=dtype)


def ppm(most: int) -> Made:
    values = noise(20, 24, 3, dtype="u2", most=most)
    return b"P6 24 20 %d\n" % most + values.astype(">u2").tobytes(), first(values) / most


GRAY, COLOR, FOUR, BANDS = noise(20, 24), noise(20, 24, 3), noise(20, 24, 4), noise(20, 24, 13)
DEEP, DEEP_BANDS = noise(20, 24, 3, dtype="u2"), noise(20, 24, 13, dtype="u2")
TWELVE = noise(20, 24, 3, dtype="u2", most=4095)
AS_CHANNELS, ROWS = "read as its channels", "row of an H x W x C array"

# fmt: off
LAYOUTS = (
    Layout("TIFF", "8, 16 bits, float", "gray, one page", "1 channel", lambda: (tiff(GRAY), GRAY[None])),
    Layout("TIFF", "float16, 64", "gray", "1 channel", lambda: pages(x := fractions(20, 24, dtype="f8"), x[None])),
    Layout(
        "TIFF",
        "float",
        "gray, big-endian, deflate",
        "1 channel",
        lambda: pages(x := fractions(20, 24), x[None], byteorder=">", compression="zlib"),
    ),
    Layout(
        "TIFF",
        "float",
        "NaN among the values",
        "refused: how many",
        lambda: pages(np.where(x := fractions(20, 24) > 0.5, np.nan, x).astype("f4"), r"of 480 are nan \(no data\)"),
    ),
    Layout(
        "TIFF",
        "float",
        "up to 0.001 outside [0, 1]",
        "clipped",
        lambda: pages(np.float32([[0, 1.0000001], [-0.0005, 0.5]]), np.float32([[[0, 1], [0, 0.5]]])),
    ),
    Layout("TIFF", "8 bits", "RGB, chunky or planar", "3 channels", lambda: as_stored(COLOR, photometric="rgb")),
    Layout(
        "TIFF",
        "8 bits",
        "2 bands, none of them opacity",
        "2 channels",
        lambda: as_stored(noise(20, 24, 2), photometric="minisblack"),
    ),
    Layout(
        "TIFF", "8 bits", "3 bands that are no RGB", "3 channels", lambda: as_stored(COLOR, photometric="minisblack")
    ),
    Layout(
        "TIFF", "8 bits", "4 bands that are no RGB", "4 channels", lambda: as_stored(FOUR, photometric="minisblack")
    ),
    Layout(
        "TIFF",
        "8 bits",
        "RGB and one more band",
        "4 channels",
        lambda: as_stored(FOUR, photometric="rgb", extrasamples=["unspecified"]),
    ),
    Layout(
        "TIFF",
        "8 bits",
        "the same, planar",
        "4 channels",
        lambda: planar(first(FOUR).copy(), photometric="rgb", extrasamples=["unspecified"]),
    ),
    Layout(
        "TIFF",
        "8, 16 bits",
        "RGB and opacity, as GDAL, tifffile and scikit-image tag any fourth band",
        "3 channels over white; 4 with `--data.channels 4`",
        lambda: (tiff(FOUR, photometric="rgb", extrasamples=["unassalpha"]), over_white(FOUR)),
    ),
    Layout(
        "TIFF", "16 bits", "RGB, chunky or planar", "3 channels", lambda: planar(first(DEEP).copy(), photometric="rgb")
    ),
    Layout(
        "TIFF",
        "8, 16 bits, float",
        "5 bands or more",
        "as many channels",
        lambda: as_stored(DEEP_BANDS, photometric="minisblack"),
    ),
    Layout(
        "TIFF",
        "8, 16 bits, float",
        "H x W x C as tifffile and scikit-image write it: H pages of W x C",
        "C channels",
        lambda: pages(DEEP_BANDS, first(DEEP_BANDS)),
        ROWS,
    ),
    Layout(
        "TIFF",
        "8, 16 bits, float",
        "C x H x W as they write it: up to 16 pages",
        "C channels; the first page with `--data.axes dhw`",
        lambda: pages(x := first(DEEP_BANDS).copy(), x),
        AS_CHANNELS,
    ),
    Layout(
        "TIFF",
        "8, 16 bits, float",
        "N x H x W as they write it: more than 16 pages",
        "the first page",
        lambda: pages(x := noise(20, 24, 28), x[:1]),
        "only the first page",
    ),
    Layout(
        "TIFF",
        "8, 16 bits, float",
        "N x H x W x 3: N pages in color",
        "the first page",
        lambda: pages(x := noise(5, 20, 24, 3), first(x[0]), photometric="rgb"),
        "only the first page",
    ),
    Layout(
        "TIFF",
        "8, 16 bits, float",
        "ImageJ and OME stacks",
        "all channels, at the first depth and time",
        lambda: pages(x := noise(4, 2, 20, 24, dtype="u2"), x[0], imagej=True, metadata={"axes": "ZCYX"}),
        "at the first depth and time",
    ),
    Layout(
        "TIFF",
        "10, 12, 14 bits",
        "RGB or bands",
        "3 channels; the largest value of so many bits is white",
        lambda: as_stored(TWELVE, 12, photometric="rgb", bitspersample=12),
        needs=True,
    ),
    Layout(
        "TIFF",
        "16 bits",
        "RGB with LZW",
        "3 channels",
        lambda: as_stored(DEEP, photometric="rgb", compression="lzw"),
        needs=True,
    ),
    Layout(
        "TIFF",
        "16 bits",
        "RGB with ZSTD",
        "3 channels",
        lambda: as_stored(DEEP, photometric="rgb", compression="zstd"),
        needs=True,
    ),
    Layout(
        "TIFF",
        "16 bits",
        "RGB with LERC",
        "3 channels",
        lambda: as_stored(DEEP, photometric="rgb", compression="lerc"),
        needs=True,
    ),
    Layout(
        "TIFF",
        "float",
        "predictor 3",
        "as many channels",
        lambda: as_stored(fractions(20, 24, 3), photometric="rgb", compression="zlib", predictor=3),
        needs=True,
    ),
    Layout(
        "TIFF",
        "8 bits",
        "JPEG 2000, JPEG XL, PNG, LERC, WebP inside",
        "as many channels",
        lambda: pages(GRAY, GRAY[None], compression="png"),
        needs=True,
    ),
    Layout(
        "TIFF",
        "8, 16 bits",
        "big-endian BigTIFF",
        "1 channel",
        lambda: pages(GRAY, GRAY[None], bigtiff=True, byteorder=">"),
    ),
    Layout(
        "TIFF",
        "signed, 32 bits",
        "any",
        "refused: no known range",
        lambda: pages(noise(20, 24, dtype="i4"), "no known range"),
    ),
    Layout(
        "TIFF",
        "16 bits",
        "CMYK, CIELab",
        "refused",
        lambda: pages(noise(20, 24, 4, dtype="u2"), "CMYK with more than 8 bits", photometric="separated"),
    ),
    Layout("`.npy`", "bool, 8, 16 bits, float", "H x W, 1 x H x W", "1 channel", lambda: array(GRAY[None], GRAY[None])),
    Layout(
        "`.npy`", "bool, 8, 16 bits, float", "H x W x C, C up to 16", "C channels", lambda: array(BANDS, first(BANDS))
    ),
    Layout(
        "`.npy`",
        "bool, 8, 16 bits, float",
        "C x H x W, C up to 16",
        "C channels; otherwise with `--data.axes`",
        lambda: array(x := first(COLOR).copy(), x),
        "the first axis is read as channels",
    ),
    Layout(
        "`.npy`",
        "bool, 8, 16 bits, float",
        "H x H x C of more channels",
        "C channels",
        lambda: array(x := noise(20, 20, 31), first(x)),
    ),
    Layout(
        "`.npy`", "bool, 8, 16 bits, float", "1 x H x W x C", "C channels", lambda: array(COLOR[None], first(COLOR))
    ),
    Layout(
        "`.npy`",
        "any",
        "three long axes of which nobody can tell",
        "refused without `--data.axes`",
        lambda: array(noise(20, 20, 20), r"say which: --data\.axes hwc, chw or dhw"),
    ),
    Layout(
        "`.npy`",
        "any",
        "N x H x W x C",
        "refused: a stack of images",
        lambda: array(noise(2, 20, 24, 3), "is no image but a stack of 2"),
    ),
    Layout(
        "`.npy`",
        "float",
        "outside [0, 1]",
        "refused: no known range",
        lambda: array(np.float32([[0, 255]]), r"from 0 to 255; only \[0, 1\]"),
    ),
    Layout("PNG", "1 to 8 bits", "gray, RGB, palette", "1 or 3 channels", lambda: (pillow(COLOR, "PNG"), first(COLOR))),
    Layout(
        "PNG",
        "8, 16 bits",
        "with opacity",
        "over white; with it by `--data.channels 4` (gray: 2)",
        lambda: (pillow(FOUR, "PNG"), over_white(FOUR)),
    ),
    Layout(
        "PNG",
        "16 bits",
        "gray, RGB",
        "1 or 3 channels, all 16 bits",
        lambda: (pillow(DEEP[..., 0].copy(), "PNG"), DEEP[None, ..., 0] / 65535),
    ),
    Layout("PPM", "16 bits", "RGB", "3 channels; the file's own white is 1", lambda: ppm(4095)),
    Layout(
        "PPM, PGM, PBM", "1 to 8 bits", "gray, RGB", "1 or 3 channels", lambda: (pillow(COLOR, "PPM"), first(COLOR))
    ),
    Layout(
        "WebP",
        "8 bits",
        "RGB, opacity",
        "3 channels over white",
        lambda: (pillow(COLOR, "WEBP", lossless=True), first(COLOR)),
    ),
    Layout("BMP, TGA", "8 bits", "gray, RGB", "1 or 3 channels", lambda: (pillow(COLOR, "BMP"), first(COLOR))),
    Layout(
        "JPEG 2000",
        "8 bits",
        "gray, RGB",
        "1 or 3 channels",
        lambda: (pillow(COLOR, "JPEG2000", irreversible=False), first(COLOR)),
    ),
)
# fmt: on

HEADING = "| format | values | layout | what is read |\n|---|---|---|---|"


def as_markdown() -> str:
    """The table of the documentation."""
    return "\n".join([HEADING, *(layout.line for layout in LAYOUTS)])
