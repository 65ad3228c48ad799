"""Every line of the table of formats in docs/data.md: the right values, the header of the same size, and the words."""

import importlib
import importlib.util
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

from byol.data.axes import axes_as
from byol.data.formats import extras
from byol.data.formats.decode import decode, read_header
from byol.data.formats.tiff_pages import AS_CHANNELS
from byol.data.formats.wanted import array_axes
from byol.data.sources.open import open_source
from byol.data.sources.relabeled import Labels, relabeled
from byol.data.sources.stretched import stretched
from byol.data.survey import survey
from byol.errors import BadImage
from layouts import FOUR, LAYOUTS, Layout, as_markdown, first, over_white, pillow
from written import noise, npy, tiff

ROOT = Path(__file__).parents[1]

CODECS = importlib.util.find_spec("imagecodecs") is not None


def test_the_table_of_the_documentation_is_this_one() -> None:
    assert as_markdown() in (ROOT / "docs" / "data.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: f"{layout.kind} {layout.depth} {layout.layout}")
def test_a_line_of_the_table(layout: Layout) -> None:
    if layout.needs and not CODECS:
        pytest.skip("needs imagecodecs")
    blob, wanted = layout.make()
    if isinstance(wanted, str):
        with pytest.raises(BadImage, match=wanted):
            decode(blob)
        return
    image, header = decode(blob), read_header(blob)
    np.testing.assert_allclose(image.double().numpy(), wanted, atol=1e-6)
    assert image.dtype == (torch.uint8 if header.depth == "8-bit" else torch.float32)
    assert (header.channels, header.height, header.width) == tuple(image.shape)
    assert layout.notes in " ".join(header.notes)
    assert header.kind


def outcome(read: Callable[..., Any], blob: bytes, axes: str) -> Any:
    """What a reader gives, or its reason."""
    try:
        return read(blob, axes=axes)
    except BadImage as error:
        return str(error)


@pytest.mark.parametrize("axes", ["auto", "hwc", "chw", "dhw"])
def test_header_and_decoder_agree_on_every_layout(axes: str) -> None:
    stored = [layout.make()[0] for layout in LAYOUTS if CODECS or not layout.needs]
    for samples in (1, 2, 3, 4, 5):
        for dtype in ("u1", "u2", "f4", "f8", "i2", "u4", "bool"):
            values = np.ones((18, 20, samples), dtype)
            stored += [npy(values), npy(first(values).copy()), tiff(values), tiff(first(values).copy())]
            if dtype != "bool":
                for photometric in ("minisblack", "rgb"):
                    if samples < (3 if photometric == "rgb" else 2):
                        continue
                    stored.append(tiff(values, photometric=photometric, planarconfig="contig"))
                    planes = first(values).copy()
                    stored.append(tiff(planes, photometric=photometric, planarconfig="separate", byteorder=">"))
    for blob in stored:
        header, image = outcome(read_header, blob, axes), outcome(decode, blob, axes)
        if isinstance(header, str):
            assert image == header
            continue
        if isinstance(image, str):  # of the pixels themselves, which a header does not see
            assert "only [0, 1]" in image
            continue
        assert (header.channels, header.height, header.width) == tuple(image.shape)
        assert (header.depth == "8-bit") == (image.dtype == torch.uint8)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        *[
            ((64, 64, 13), "hwc"),
            ((13, 64, 64), "chw"),
            ((3, 64, 64), "chw"),
            ((64, 65, 2), "hwc"),
            ((1, 40, 50), "chw"),
        ],
        *[
            ((10, 200, 3), "hwc"),
            ((3, 9, 10), "chw"),
            ((5, 6, 7), "hwc"),
            ((145, 145, 200), "hwc"),
            ((2, 300, 3), "hwc"),
        ],
        *[((64, 64, 64), None), ((100, 64, 64), None), ((30, 40, 50), None), ((8, 100, 9), None)],
    ],
)
def test_axes_by_their_lengths(shape: tuple[int, int, int], axes: str | None) -> None:
    assert array_axes(shape) == axes


def test_what_is_said_of_axes_counts() -> None:
    values = noise(13, 30, 40)
    for blob in (npy(values), tiff(values)):
        assert decode(blob, axes="chw").tolist() == values.tolist()
        assert decode(blob, axes="dhw").tolist() == values[:1].tolist()
        assert decode(blob, axes="hwc").tolist() == first(values).tolist()
    one = noise(20, 24, 3)
    assert decode(tiff(one, photometric="rgb"), axes="chw").tolist() == first(one).tolist(), "the file says what it is"


@pytest.mark.parametrize(
    "blob",
    [
        tiff(FOUR, photometric="rgb", extrasamples=["unassalpha"]),
        tiff(first(FOUR).copy(), photometric="rgb", planarconfig="separate", extrasamples=["unassalpha"]),
        pillow(FOUR, "PNG"),
        pillow(FOUR, "WEBP", lossless=True, exact=True),
        pillow(FOUR, "TGA"),
    ],
    ids=["tiff", "planar tiff", "png", "webp", "tga"],
)
def test_four_channels_asked_for_are_not_blended(blob: bytes) -> None:
    assert decode(blob, channels=4).tolist() == first(FOUR).tolist()
    assert decode(blob).tolist() == over_white(FOUR).tolist()
    assert read_header(blob).opacity


def test_premultiplied_colors_over_white() -> None:
    alpha = np.full((4, 5, 1), 0x8000, np.uint16)
    color = np.full((4, 5, 3), 0x4000, np.uint16)
    image = decode(tiff(np.concatenate([color, alpha], 2), photometric="rgb", extrasamples=["assocalpha"]))
    np.testing.assert_allclose(image.numpy(), (0x4000 + 65535 - 0x8000) / 65535, rtol=1e-6)


def test_a_survey_says_once_what_it_read(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.tif").write_bytes(tiff(noise(13, 30, 40, dtype="u2")))
    (tmp_path / "3.tif").write_bytes(tiff(noise(30, 40, 13, dtype="u2")))
    for number in range(5):
        (tmp_path / f"{number}.raw2").write_bytes(b"")
    source = open_source(tmp_path)
    assert source.notes == ("passed over: 5 other files are not read (5 .raw2)",)
    assert survey(source).notes == (
        "read: TIFF of 13 channels, 16-bit; of 4 images looked at",
        f"3 of 4 images looked at (13 pages): {AS_CHANNELS}",
        "1 of 4 images looked at: each page is a row of an H x W x C array, and is read so",
    )


def test_opacity_that_looks_like_a_band_is_asked_about(tmp_path: Path) -> None:
    for name, opacity in (("band", noise(30, 40, 1, most=200)), ("mask", 255 * noise(30, 40, 1, most=1))):
        (tmp_path / name).mkdir()
        values = np.concatenate([noise(30, 40, 3), opacity], 2).astype("u1")
        (tmp_path / name / "1.tif").write_bytes(tiff(values, photometric="rgb", extrasamples=["unassalpha"]))
    assert [note for note in survey(open_source(tmp_path / "band")).notes if "--data.channels 4" in note]
    assert len(survey(open_source(tmp_path / "mask")).notes) == 1
    assert len(survey(open_source(tmp_path / "band", channels=4)).notes) == 1, "it has been answered"
    assert (
        open_source(tmp_path / "band", channels=4).image(0).tolist()[3] == noise(30, 40, 1, most=200)[..., 0].tolist()
    )


@pytest.fixture
def no_imagecodecs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the package were not installed: tifffile then has a module of its own."""
    module = importlib.import_module("tifffile.tifffile")
    monkeypatch.setattr(extras, "_installed", lambda modules: "imagecodecs" not in modules)
    monkeypatch.setattr(module, "imagecodecs", importlib.import_module("tifffile._imagecodecs"))
    for table in (tifffile.TIFF.DECOMPRESSORS, tifffile.TIFF.UNPREDICTORS):
        monkeypatch.setattr(table, "_codecs", {1: lambda data, **options: data})


@pytest.mark.skipif(not CODECS, reason="needs imagecodecs to write them")
def test_without_its_extra_a_tiff_is_not_called_corrupt(request: pytest.FixtureRequest) -> None:
    needing = [layout.make()[0] for layout in LAYOUTS if layout.needs]
    by_pillow = tiff(noise(20, 24, 3), photometric="rgb", compression="lzw")
    request.getfixturevalue("no_imagecodecs")
    for blob in needing:
        for read in (read_header, decode):
            with pytest.raises(BadImage, match=r"^TIFF with .* is read with an extra: pip install 'byol\[tiff\]'$"):
                read(blob)
    assert decode(by_pillow).tolist() == first(noise(20, 24, 3)).tolist(), "Pillow has its own LZW"


def test_a_source_keeps_the_axes_that_it_was_opened_with(tmp_path: Path) -> None:
    (tmp_path / "1.tif").write_bytes(tiff(noise(13, 30, 40)))
    with axes_as("dhw"):
        source = open_source(tmp_path)
    assert open_source(tmp_path).channels == 13
    for kept in (source, source.subset([0]), relabeled(source, Labels(labels=[0])), stretched(source, (0, 0.5))):
        assert kept.header(0).channels == kept.channels == 1
        assert kept.image(0).shape == (1, 30, 40)
    assert survey(source).notes[1].endswith("(13 pages): only the first page of each is read")


def test_pages_of_a_pyramid_are_one_image() -> None:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        file.write(noise(64, 64, 3), photometric="rgb", metadata=None)
        file.write(noise(32, 32, 3), photometric="rgb", metadata=None, subfiletype=1)
    assert read_header(buffer.getvalue()).notes == ()
    assert decode(buffer.getvalue()).tolist() == first(noise(64, 64, 3)).tolist()


def test_pages_that_the_file_does_not_describe() -> None:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        for plane in noise(3, 20, 24, dtype="u2"):
            file.write(plane, metadata=None)
    header = read_header(buffer.getvalue())
    assert (header.channels, header.pages) == (1, 3)
    assert header.notes == ("only the first page of each is read; --data.axes chw reads pages as channels",)
    assert decode(buffer.getvalue(), axes="chw").shape == (3, 20, 24)


def test_more_values_than_allowed_are_refused_before_they_are_decoded() -> None:
    for blob in (
        tiff(noise(4, 4, 5), photometric="minisblack", planarconfig="contig").replace(b"\x04\0\0\0", b"\0\0\x10\0"),
        tiff(np.zeros((13, 40, 40), "u1")).replace(b"(40, 40)", b"(40, 40)").replace(b"\x28\0\0\0", b"\xff\xff\0\0"),
    ):
        for read in (read_header, decode):
            with pytest.raises(BadImage, match="million pixels"):
                read(blob)


@pytest.mark.parametrize(
    ("bits", "stored", "key", "expected"),
    [
        (2, b"\x1b", 1, [0, 255, 170, 255]),
        (4, b"\x12\x34", 2, [17, 255, 51, 68]),
    ],
)
def test_the_transparent_gray_of_few_bits(bits: int, stored: bytes, key: int, expected: list[int]) -> None:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    start = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 1, bits, 0, 0, 0, 0)) + chunk(b"tRNS", struct.pack(">H", key))
    blob = b"\x89PNG\r\n\x1a\n" + start + chunk(b"IDAT", zlib.compress(b"\0" + stored)) + chunk(b"IEND", b"")
    assert decode(blob)[0, 0].tolist() == expected


@pytest.mark.parametrize("plain", [False, True])
def test_ppm_of_any_white(plain: bool) -> None:
    values = noise(5, 6, 3, dtype="u2", most=1000)
    pixels = b" ".join(b"%d" % value for value in values.ravel()) if plain else values.astype(">u2").tobytes()
    blob = (b"P3" if plain else b"P6") + b"\n# a comment\n6 5\n1000\n" + pixels
    np.testing.assert_allclose(decode(blob).numpy(), first(values) / 1000, atol=1e-6)
    with pytest.raises(BadImage, match="truncated"):
        decode(blob[:-9])
    with pytest.raises(BadImage, match="where 500 is white"):
        decode(blob.replace(b"\n1000\n", b"\n500\n"))


@pytest.mark.skipif(not CODECS, reason="needs imagecodecs to write them")
@pytest.mark.parametrize("bits", [10, 12])
def test_bits_that_pillow_drops_are_told(bits: int) -> None:
    import imagecodecs

    values = noise(16, 16, 3, dtype="u2", most=2**bits - 1)
    for kind, write in (("JPEG 2000", imagecodecs.jpeg2k_encode), ("AVIF", imagecodecs.avif_encode)):
        header = read_header(write(values, bitspersample=bits))
        assert header.notes == (f"{bits}-bit {kind} in color is read as 8 bits",)
    assert read_header(imagecodecs.jpeg2k_encode(noise(16, 16, 3))).notes == ()


def test_sixteen_bit_palettes() -> None:
    colors, values = noise(3, 65536, dtype="u2"), noise(20, 24, dtype="u2")
    blob = tiff(values, photometric="palette", colormap=colors)
    np.testing.assert_allclose(decode(blob).numpy(), colors[:, values] / 65535, atol=1e-6)
    assert read_header(blob).channels == 3
