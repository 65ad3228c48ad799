"""Every line of the table of formats in docs/data.md: the right values, the header of the same size, and the words."""

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

from byol.data.formats import extras
from byol.data.formats.decode import decode, read_header
from byol.data.formats.tiff_pages import AS_CHANNELS
from byol.data.formats.wanted import array_axes
from byol.data.sources.open import open_source
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
