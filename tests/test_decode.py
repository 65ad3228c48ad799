"""Every kind of image file comes out right, or as `BadImage` with a reason; never as anything else."""

import io
import os
import struct
import sys
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torch import Tensor

from byol.data.formats import jpeg, pillow
from byol.data.formats.channels import to_channels
from byol.data.formats.decode import decode, read_header
from byol.data.formats.header import MAX_PIXELS, Header
from byol.data.formats.jpeg import _whole_jpeg as whole
from byol.data.formats.png import png_orientation
from byol.errors import BadImage

DATA = Path(os.environ.get("BYOL_DATA", Path(__file__).parents[2] / "shared" / "data"))

Pixels = npt.NDArray[np.generic]


def picture(height: int = 24, width: int = 40, channels: int = 3) -> npt.NDArray[np.uint8]:
    """A smooth picture in which no two corners, and no two channels, are alike."""
    rows, columns = np.mgrid[0:height, 0:width]
    layers = [rows * 255 / height, columns * 255 / width, (rows + columns) * 127 / (height + width)]
    return np.stack(layers[:channels], axis=2).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def npy(values: Pixels) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def tiff(values: Pixels, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, **options)
    return buffer.getvalue()


def png16(values: npt.NDArray[np.uint16], color: int, interlace: bytes = b"\0", level: int = -1) -> bytes:
    """A PNG of 16 bits written by hand (PNG specification, section 5): Pillow writes gray ones only."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBB", width, height, 16, color) + b"\0\0" + interlace
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, level)) + chunk(b"IEND", b"")
    )


def test_a_chunks_name_among_the_pixels_is_no_chunk() -> None:
    values = np.frombuffer((b"eXIf" * 60)[:240], dtype=">u2").reshape(4, 10, 3).astype(np.uint16)
    stored = png16(values, 2, level=0)
    assert b"eXIf" in stored
    assert png_orientation(stored) == 1
    assert torch.equal(decode(stored), decode(png16(values, 2)))


def hwc(tensor: Tensor) -> Pixels:
    values: Pixels = tensor.permute(1, 2, 0).numpy()
    return values


RGB = Image.fromarray(picture())
GRAY = RGB.convert("L")


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "TGA"])
def test_lossless_formats_give_the_stored_pixels(kind: str) -> None:
    image = decode(encoded(RGB, kind))
    assert image.dtype == torch.uint8
    np.testing.assert_array_equal(hwc(image), picture())


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF", "JPEG2000", "AVIF"])
def test_other_formats_agree_with_pillow(kind: str) -> None:
    Image.init()
    if kind not in Image.SAVE:
        pytest.skip(f"this Pillow does not write {kind}")
    blob = encoded(RGB, kind)
    with Image.open(io.BytesIO(blob)) as reference:
        np.testing.assert_array_equal(hwc(decode(blob)), np.array(reference.convert("RGB")))


def test_gray_keeps_one_channel_and_converts() -> None:
    blob = encoded(GRAY, "JPEG", quality=95)
    one, three = decode(blob), decode(blob, channels=3)
    assert one.shape == (1, 24, 40)
    assert three.shape == (3, 24, 40)
    assert three.is_contiguous()
    assert all(torch.equal(channel, one[0]) for channel in three)


def test_color_to_gray_is_pillows() -> None:
    gray = decode(encoded(RGB, "PNG"), channels=1)
    np.testing.assert_array_equal(gray[0].numpy(), np.array(RGB.convert("L")))


def test_float_color_to_gray() -> None:
    image = torch.rand(3, 4, 5)
    expected = (image * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0)
    torch.testing.assert_close(to_channels(image, 1)[0], expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, object] = {"tiffinfo": {274: orientation}} if kind == "TIFF" else {"exif": exif}
    blob = encoded(RGB, kind, **options)
    with Image.open(io.BytesIO(blob)) as reference:
        upright = np.array(ImageOps.exif_transpose(reference).convert("RGB"))
    np.testing.assert_array_equal(hwc(decode(blob)), upright)
    header = read_header(blob)
    assert (header.height, header.width) == upright.shape[:2]
    assert upright.shape[:2] == ((40, 24) if orientation >= 5 else (24, 40))


def test_orientation_six_turns_clockwise() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = np.zeros((2, 3, 3), np.uint8)
    stored[0, 0] = 255  # the stored top left corner belongs at the top right
    image = decode(encoded(Image.fromarray(stored), "PNG", exif=exif))
    assert image.shape == (3, 3, 2)
    assert image[0, 0, 1] == 255
    assert int(image.sum()) == 3 * 255


@pytest.mark.parametrize("value", [0, 9, 77])
def test_orientation_without_meaning_is_ignored(value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    np.testing.assert_array_equal(hwc(decode(encoded(RGB, "PNG", exif=exif))), picture())


@pytest.mark.parametrize("block", [b"Exif\0\0of no meaning", b"Exif\0\0MM\0*\0\0\0\x08\0\x09", b"Exif\0\0II"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_exif_block_that_cannot_be_read_costs_no_image(kind: str, block: bytes) -> None:
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    plain, marked = encoded(RGB, kind, **options), encoded(RGB, kind, exif=block, **options)
    np.testing.assert_array_equal(hwc(decode(marked)), hwc(decode(plain)))
    assert read_header(marked) == read_header(plain)


def test_palette() -> None:
    paletted = RGB.convert("P", palette=Image.Palette.ADAPTIVE)
    np.testing.assert_array_equal(hwc(decode(encoded(paletted, "PNG"))), np.array(paletted.convert("RGB")))


def test_one_bit_is_black_and_white() -> None:
    image = decode(encoded(GRAY.convert("1"), "PNG"))
    assert image.shape == (1, 24, 40)
    assert set(image.unique().tolist()) == {0, 255}


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb(kind: str) -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # no cyan, all magenta and yellow, no black
    image = decode(encoded(red, kind)).float().mean((1, 2))
    assert image[0] > 245
    assert image[1:].max() < 10


@pytest.mark.parametrize("opacity", [0, 51, 255])
def test_transparency_is_laid_over_white(opacity: int) -> None:
    rgba = np.dstack([picture(), np.full((24, 40), opacity, np.uint8)])
    image = decode(encoded(Image.fromarray(rgba), "PNG"))
    expected = np.rint(picture() * (opacity / 255) + 255 * (1 - opacity / 255))
    assert np.abs(hwc(image).astype(float) - expected).max() <= 1
    assert image.shape[0] == 3


def test_gray_with_transparency_stays_gray() -> None:
    image = decode(encoded(Image.new("LA", (5, 4), (0, 0)), "PNG"))
    assert image.shape == (1, 4, 5)
    assert int(image.min()) == 255


def test_transparent_palette_in_bytes_is_laid_over_white() -> None:
    paletted = Image.new("P", (2, 1))
    paletted.putpalette([10, 20, 30, 40, 50, 60])
    paletted.putpixel((1, 0), 1)
    image = decode(encoded(paletted, "PNG", transparency=bytes([255, 0])))
    assert image[:, 0, 0].tolist() == [10, 20, 30]
    assert image[:, 0, 1].tolist() == [255, 255, 255]


@pytest.mark.parametrize(("mode", "key"), [("L", 7), ("RGB", (7, 8, 9))])
def test_transparent_color_is_white(mode: str, key: int | tuple[int, ...]) -> None:
    image = Image.new(mode, (2, 1), key)
    image.putpixel((1, 0), 100 if mode == "L" else (100, 100, 100))
    decoded = decode(encoded(image, "PNG", transparency=key))
    assert set(decoded[:, 0, 0].tolist()) == {255}
    assert set(decoded[:, 0, 1].tolist()) == {100}


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_gray_keeps_every_step(kind: str) -> None:
    values = np.arange(24 * 40, dtype=np.uint16).reshape(24, 40) * 68
    image = decode(encoded(Image.fromarray(values), kind))
    assert image.dtype == torch.float32
    np.testing.assert_array_equal(np.rint(image[0].double().numpy() * 65535), values)
    assert read_header(encoded(Image.fromarray(values), kind)).depth == "16-bit"


def test_sixteen_bit_gray_png_with_a_transparent_value() -> None:
    values = np.array([[300, 600]], np.uint16)
    blob = encoded(Image.fromarray(values), "PNG", transparency=300)
    image = decode(blob)
    assert image[0, 0, 0] == 1
    assert image[0, 0, 1] == np.float32(600 / 65535)


def test_sixteen_bit_pgm() -> None:
    values = np.array([[0, 1, 300], [65535, 40000, 2]], dtype=">u2")
    image = decode(b"P5 3 2 65535\n" + values.tobytes())
    np.testing.assert_array_equal(np.rint(image[0].double().numpy() * 65535), values)


def test_white_is_zero_in_a_sixteen_bit_tiff() -> None:
    values = np.array([[0, 65535]], np.uint16)
    assert decode(tiff(values, photometric="miniswhite"))[0].tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize(("color", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_sixteen_bit_color_png(color: int, channels: int) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (6, 5, channels)).astype(np.uint16)
    image = decode(png16(values, color))
    expected = values / 65535
    if channels in (2, 4):
        expected = expected[..., :-1] * expected[..., -1:] + 1 - expected[..., -1:]
    np.testing.assert_allclose(hwc(image), expected, atol=1e-6)
    assert read_header(png16(values, color)).channels == image.shape[0]


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_sixteen_bit_color_tiff(planar: str) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (6, 5, 3)).astype(np.uint16)
    stored = values if planar == "contig" else values.transpose(2, 0, 1)
    image = decode(tiff(stored, photometric="rgb", planarconfig=planar))
    np.testing.assert_array_equal(np.rint(hwc(image).astype(np.float64) * 65535), values)


def test_sixteen_bit_rgba_tiff_is_laid_over_white() -> None:
    values = np.zeros((2, 2, 4), np.uint16)
    image = decode(tiff(values, photometric="rgb", extrasamples=["unassalpha"]))
    assert image.shape == (3, 2, 2)
    assert float(image.min()) == 1


def test_many_channels() -> None:
    values = np.random.default_rng(0).integers(0, 256, (6, 5, 7)).astype(np.uint8)
    for blob in (tiff(values, photometric="minisblack", planarconfig="contig"), npy(values)):
        image = decode(blob)
        assert image.dtype == torch.uint8
        np.testing.assert_array_equal(hwc(image), values)
        assert torch.equal(decode(blob, channels=7), image)
        assert read_header(blob).channels == 7
        with pytest.raises(BadImage, match="has 7 channels where 3 are wanted"):
            decode(blob, channels=3)


@pytest.mark.parametrize("make", [npy, tiff], ids=["npy", "tiff"])
def test_floats_must_lie_between_zero_and_one(make: object) -> None:
    assert callable(make)
    good = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    image = decode(make(good))
    assert image.dtype == torch.float32
    np.testing.assert_array_equal(image[0].numpy(), good)
    assert read_header(make(good)).depth == "float"
    with pytest.raises(BadImage, match=r"from 0 to 255; only \[0, 1\]"):
        decode(make(good * 255))
    with pytest.raises(BadImage, match="nan"):
        decode(make(np.where(good == 1, np.nan, good).astype(np.float32)))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 255]], np.uint8), [[0.0, 255.0]]),
        (np.array([[False, True]]), [[0.0, 255.0]]),
        (np.array([[0, 65535]], np.uint16), [[0.0, 1.0]]),
        (np.array([[0, 65535]], ">u2"), [[0.0, 1.0]]),
        (np.array([[0, 0.5]], np.float64), [[0.0, 0.5]]),
        (np.asfortranarray(np.array([[0, 1], [2, 3]], np.uint8)), [[0.0, 1.0], [2.0, 3.0]]),
    ],
)
def test_arrays(values: Pixels, expected: list[list[float]]) -> None:
    image = decode(npy(values))
    assert image[0].tolist() == expected
    assert image.dtype == (torch.float32 if values.dtype.itemsize > 1 else torch.uint8)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros((2, 2), np.int64), "int64 pixels have no known range"),
        (np.zeros((2, 2), np.complex64), "complex64"),
        (np.zeros((2,), np.uint8), r"shape \(2,\) is no image"),
        (np.zeros((0, 4), np.uint8), "has no pixels"),
        (np.zeros((2, 2, 0), np.uint8), "no channels"),
        (np.zeros((2, 2, 2, 2), np.uint8), "is no image"),
        (np.array([[{}]], dtype=object), "not understood"),
    ],
)
def test_arrays_that_are_no_images(values: Pixels, reason: str) -> None:
    with pytest.raises(BadImage, match=reason):
        decode(npy(values))


def test_array_header_that_claims_too_much() -> None:
    blob = npy(np.zeros((3, 5), np.uint8))
    with pytest.raises(BadImage, match="truncated"):
        decode(blob[:-1])
    with pytest.raises(BadImage, match="million pixels"):
        decode(blob.replace(b"(3, 5)", b"(99999, 99999)"))


def test_signed_tiff_is_refused() -> None:
    with pytest.raises(BadImage, match="no known range"):
        decode(tiff(np.zeros((4, 4), np.int32)))


def test_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (8, 6), color) for color in ("red", "green", "blue")]
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        options: dict[str, object] = {"lossless": True} if kind == "WEBP" else {}
        image = decode(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options))
        assert image.float().mean((1, 2)).tolist() == [255, 0, 0], kind


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
def test_truncated(kind: str) -> None:
    blob = encoded(Image.fromarray(picture(200, 300)), kind)
    with pytest.raises(BadImage, match=r"corrupt or truncated|known format"):
        decode(blob[: len(blob) // 2])


def test_no_image_at_all() -> None:
    with pytest.raises(BadImage, match="empty file"):
        decode(b"")
    with pytest.raises(BadImage, match="not an image in a known format"):
        decode(b"<html>not found</html>")
    with pytest.raises(BadImage, match=r"corrupt or truncated|pip install 'byol\[heif\]'"):
        decode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 50)


def test_postscript_is_not_run() -> None:
    with pytest.raises(BadImage, match="known format"):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EOF\n")


def test_too_many_pixels_are_refused_by_the_header_alone() -> None:
    def header_of(side: int) -> bytes:
        body = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
        empty = b"\0\0\0\0IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
        return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body)) + empty

    side = int(MAX_PIXELS**0.5)
    for read in (decode, read_header):
        with pytest.raises(BadImage, match="more than 178 million pixels"):
            read(header_of(side + 2))
    assert read_header(header_of(side)).height == side  # below the limit Pillow warns: it must not leak
    with pytest.raises(BadImage, match="million pixels"):
        decode(
            tiff(np.zeros((4, 4, 5), np.uint8), photometric="minisblack", planarconfig="contig").replace(
                struct.pack("<I", 4), struct.pack("<I", 2**20)
            )
        )


@pytest.mark.parametrize("shrink_to", [None, 1, 50, 51, 100, 101, 200, 400, 401])
@pytest.mark.parametrize("size", [(400, 600), (401, 607)])
def test_jpeg_is_shrunk_no_further_than_asked(size: tuple[int, int], shrink_to: int | None) -> None:
    image = decode(encoded(Image.fromarray(picture(*size)), "JPEG", quality=95), shrink_to=shrink_to)
    height, width = image.shape[1:]
    factor = round(size[0] / height)
    assert factor in (1, 2, 4, 8)
    assert (height, width) == (-(-size[0] // factor), -(-size[1] // factor))
    if shrink_to is None:
        assert factor == 1
    else:
        assert height >= min(shrink_to, size[0])
        assert factor == 8 or size[0] // (2 * factor) < shrink_to
    whole = picture(*size).mean((0, 1))
    np.testing.assert_allclose(image.float().mean((1, 2)).numpy(), whole, atol=3)


@pytest.mark.skipif(not (DATA / "imagenet-samples").is_dir(), reason="needs the folder imagenet-samples in $BYOL_DATA")
def test_photographs_agree_with_pillow_and_torchvision() -> None:
    import torchvision

    fast = getattr(torch.ops.image, "decode_jpeg", None)
    for path in sorted((DATA / "imagenet-samples").iterdir())[::10]:
        blob = path.read_bytes()
        image = decode(blob, channels=3)
        with Image.open(path) as reference:
            np.testing.assert_array_equal(hwc(image), np.array(ImageOps.exif_transpose(reference).convert("RGB")))
        if fast is not None:
            other = fast(torch.frombuffer(bytearray(blob), dtype=torch.uint8), 3, True)
            assert (image.int() - other.int()).abs().max() <= 2, f"{path} in torchvision {torchvision.__version__}"


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("quality", [30, 75, 95])
def test_the_fast_way_for_jpeg_gives_pillows_pixels(
    subsampling: int, progressive: bool, quality: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(quality)
    smooth = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)).resize((83, 61), Image.Resampling.BICUBIC)
    fast = []
    monkeypatch.setattr(jpeg, "_whole_jpeg", lambda *given: fast.append(whole(*given)) or fast[-1])
    for picture in (smooth, smooth.convert("L")):
        blob = encoded(picture, "JPEG", quality=quality, progressive=progressive, subsampling=subsampling)
        with Image.open(io.BytesIO(blob)) as reference:
            expected = np.array(reference)
        np.testing.assert_array_equal(hwc(decode(blob)).reshape(expected.shape), expected)
    assert len(fast) == 2
    assert all(pixels is not None for pixels in fast), "Pillow was asked after all"


@pytest.mark.parametrize(
    ("kind", "options", "size"),
    [
        ("RGB", {}, (24, 40, 3)),
        ("L", {"progressive": True}, (24, 40, 1)),
        ("RGB", {"comment": b"said", "optimize": True, "restart_marker_rows": 1}, (24, 40, 3)),
        ("RGB", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"}, None),
        ("RGB", {"icc_profile": b"profile" * 30}, None),
        ("RGB", {"keep_rgb": True}, None),
        ("CMYK", {}, None),
    ],
)
def test_a_plain_jpeg_is_told_by_its_marks(
    kind: str, options: dict[str, Any], size: tuple[int, int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = encoded(RGB.convert(kind), "JPEG", **options)
    assert jpeg.plain_size(blob) == size
    for end in range(0, blob.index(b"\xff\xda"), 7):
        assert jpeg.plain_size(blob[:end]) is None, "no scan has begun"
    found = decode(blob)
    monkeypatch.setattr(jpeg, "plain_size", lambda data: None)
    assert torch.equal(found, decode(blob)), "as Pillow has it"


def test_a_jpeg_with_a_tail_missing_is_pillows_to_judge() -> None:
    blob = encoded(RGB, "JPEG")
    assert whole(blob, "RGB", (24, 40)) is not None
    assert whole(blob[: len(blob) * 2 // 3], "RGB", (24, 40)) is None
    assert whole(blob, "RGB", (40, 24)) is None
    with pytest.raises(BadImage, match="truncated"):
        decode(blob[: len(blob) * 2 // 3])


@pytest.mark.skipif(not (DATA / "imagenet-samples").is_dir(), reason="needs the folder imagenet-samples in $BYOL_DATA")
def test_threads_agree() -> None:
    blobs = [path.read_bytes() for path in sorted((DATA / "imagenet-samples").iterdir())[:24]]
    alone = [decode(blob, 3) for blob in blobs]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda blob: decode(blob, 3), blobs))
    assert all(map(torch.equal, alone, together))


def test_pillow_warnings_do_not_leak() -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0" + b"\xff\xff" + b"\x12\x01\x03\0\xff\xff\xff\xff" * 3  # an IFD that runs out
    blob = encoded(RGB, "JPEG", exif=exif)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(blob).shape == (3, 24, 40)


def test_the_warning_filter_is_added_once() -> None:
    blob = encoded(RGB, "PNG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decode(blob)
        before = list(warnings.filters)
        decode(blob)
        assert list(warnings.filters) == before
        assert warnings.filters[0] == pillow.PILLOW_FILTER


LZW = encoded(RGB, "TIFF", compression="tiff_lzw")

SAMPLES = [
    encoded(RGB, "JPEG"),
    encoded(RGB, "JPEG", progressive=True),
    encoded(GRAY, "JPEG"),
    encoded(RGB, "PNG"),
    encoded(RGB.convert("P"), "PNG", transparency=b"\x10" * 8),
    encoded(Image.fromarray(np.full((8, 8), 700, np.uint16)), "PNG"),
    png16(np.full((5, 4, 3), 1000, np.uint16), 2),
    png16(np.full((5, 4, 4), 1000, np.uint16), 6),
    encoded(RGB, "GIF"),
    encoded(RGB, "WEBP"),
    encoded(RGB, "BMP"),
    encoded(RGB, "TGA"),
    encoded(RGB, "PPM"),
    encoded(RGB, "TIFF"),
    LZW,
    tiff(np.full((5, 4, 3), 1000, np.uint16), photometric="rgb"),
    tiff(np.full((5, 4, 6), 100, np.uint8), photometric="minisblack", planarconfig="contig"),
    tiff(np.full((5, 4), 0.5, np.float32)),
    npy(np.zeros((4, 5, 3), np.uint8)),
    npy(np.zeros((4, 5), np.float32)),
]


@pytest.mark.parametrize("blob", SAMPLES, ids=range(len(SAMPLES)))
def test_header_says_what_decoding_gives(blob: bytes) -> None:
    header, image = read_header(blob), decode(blob)
    assert (header.channels, header.height, header.width) == tuple(image.shape)
    assert (header.depth == "8-bit") == (image.dtype == torch.uint8)


def outcome(read: Callable[[bytes], Tensor | Header], blob: bytes) -> Tensor | Header | str:
    """What a reader gives, or its reason; anything but `BadImage` fails the test."""
    try:
        return read(blob)
    except BadImage as error:
        return str(error)


def only_bad_image(blob: bytes) -> None:
    """Every reader gives a sound answer, or one short line."""
    for read in (decode, read_header, lambda data: decode(data, 3, 16)):
        result = outcome(read, blob)
        if isinstance(result, str):
            assert 0 < len(result) < 200
            assert "\n" not in result
        elif isinstance(result, Tensor):
            assert result.ndim == 3
            assert result.numel() > 0
            assert result.dtype == torch.uint8 or bool(((result >= 0) & (result <= 1)).all())


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=300))
def test_random_bytes(blob: bytes) -> None:
    only_bad_image(blob)


@settings(deadline=None, max_examples=400)
@given(
    st.sampled_from(SAMPLES),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
    st.floats(0, 1),
    st.binary(max_size=8),
)
def test_damaged_files(blob: bytes, changes: list[tuple[float, int]], keep: float, tail: bytes) -> None:
    damaged = bytearray(blob)
    for place, value in changes:
        # Squared: more damage near the beginning, where headers are.
        damaged[int(place**2 * len(damaged))] = value
    cut = len(damaged) if keep > 0.5 else int(2 * keep * len(damaged))
    only_bad_image(bytes(damaged[:cut]) + tail)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]), st.sampled_from(["u1", "u2", "f4"]), st.data())
def test_arrays_come_back_as_they_were(height: int, width: int, channels: int, kind: str, data: st.DataObject) -> None:
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    values = rng.random((height, width, channels)) * {"u1": 255, "u2": 65535, "f4": 1}[kind]
    stored = values.astype(kind)
    image = decode(npy(stored))
    scale = 65535 if kind == "u2" else 1
    np.testing.assert_allclose(hwc(image) * np.float64(scale), stored, rtol=1e-6)


def test_stderr_stays_clean(capfd: pytest.CaptureFixture[str]) -> None:
    for blob in SAMPLES:
        if blob == LZW:
            continue  # libtiff itself prints about these, beyond Python's reach
        damaged = bytearray(blob)
        damaged[len(damaged) // 2] ^= 0xFF
        only_bad_image(bytes(damaged))
    sys.stderr.flush()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("axes", "form"), [("CYX", "imagej"), ("ZCYX", "imagej"), ("CZYX", "ome")])
def test_a_microscopes_stack_gives_its_channels_and_of_depth_the_first(axes: str, form: str, dtype: type) -> None:
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max // 2, (5, 12, 10)).astype(dtype)
    stack = image if axes == "CYX" else np.stack([image, image + 1], axis=axes.index("Z"))
    blob = tiff(stack, metadata={"axes": axes}, **{form: True})
    header = read_header(blob)
    assert (header.channels, header.height, header.width) == (5, 12, 10)
    decoded = decode(blob)
    white = 1 if dtype is np.uint8 else 65535
    np.testing.assert_allclose(decoded.double().numpy(), image / white, rtol=1e-6)


def test_channels_are_those_that_the_description_says() -> None:
    image = np.arange(2 * 6 * 5, dtype=np.uint16).reshape(2, 6, 5)
    blob = tiff(image, ome=True, metadata={"axes": "CYX"})
    first, second = b'FirstC="0" FirstZ="0" FirstT="0"', b'FirstC="1" FirstZ="0" FirstT="0"'
    if first not in blob:  # one entry for all planes
        pytest.skip("this tifffile describes all planes at once")
    swapped = blob.replace(first, b"#").replace(second, first).replace(b"#", second)
    np.testing.assert_allclose(decode(swapped).numpy(), image[::-1] / 65535, rtol=1e-6)


def test_a_stack_of_depth_alone_gives_its_first_plane() -> None:
    stack = np.random.default_rng(0).integers(0, 4096, (5, 12, 10)).astype(np.uint16)
    decoded = decode(tiff(stack, imagej=True, metadata={"axes": "ZYX"}))
    np.testing.assert_allclose(decoded.numpy(), stack[:1] / 65535, rtol=1e-6)
