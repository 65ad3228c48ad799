"""HEIC and JPEG XL: orientation once, more than 8 bits, transparency, by value.

The files in `heif/` are lossless, 24 x 16 px: four fields of red, green, blue and light gray; a gray one of two fields;
one that is stored turned; one whose red field is transparent; one of 10 bits.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from byol.data.formats import extras
from byol.data.formats.decode import decode, read_header
from byol.data.formats.header import Header
from byol.data.sources.open import open_source
from byol.errors import BadImage, UserError

HEIF = Path(__file__).parent / "heif"

RED, GREEN, BLUE, LIGHT = (200, 30, 40), (20, 180, 60), (30, 40, 220), (240, 240, 240)


def corners(image: torch.Tensor) -> list[tuple[float, ...]]:
    """The colors at the top left, top right, bottom left and bottom right."""
    return [tuple(image[:, row, column].tolist()) for row in (0, -1) for column in (0, -1)]


class TestHeic:
    @pytest.fixture(autouse=True)
    def _reader(self) -> None:
        pytest.importorskip("pi_heif", reason="HEIC takes pi-heif")

    def test_colors_and_gray(self) -> None:
        data = (HEIF / "color.heic").read_bytes()
        assert read_header(data) == Header(height=16, width=24, channels=3, depth="8-bit")
        assert decode(data).dtype == torch.uint8
        assert corners(decode(data)) == [RED, GREEN, BLUE, LIGHT]
        gray = (HEIF / "gray.heic").read_bytes()
        assert read_header(gray) == Header(height=16, width=24, channels=1, depth="8-bit")
        assert corners(decode(gray)) == [(50,), (50,), (190,), (190,)]

    def test_a_turned_image_is_turned_once(self) -> None:
        data = (HEIF / "turned.heic").read_bytes()  # stored as color.heic, to be turned by 90 degrees clockwise
        assert read_header(data) == Header(height=24, width=16, channels=3, depth="8-bit")
        assert corners(decode(data)) == [BLUE, RED, LIGHT, GREEN]

    def test_transparency_is_laid_over_white(self) -> None:
        data = (HEIF / "alpha.heic").read_bytes()
        assert read_header(data).channels == 3
        assert corners(decode(data)) == [(255, 255, 255), GREEN, BLUE, LIGHT]

    def test_ten_bits_stay_ten_bits(self) -> None:
        data = (HEIF / "ten.heic").read_bytes()  # 12345 and 65535 of 65535 are 192 and 1023 of 1023, cut to 10 bits
        image = decode(data)
        assert read_header(data).depth == "16-bit"
        torch.testing.assert_close(image[:, 0, 0], torch.tensor([192 / 1023, 0, 1]))
        torch.testing.assert_close(image[:, -1, -1], torch.full((3,), (240 * 257 >> 6) / 1023))

    def test_a_folder_from_a_phone(self, tmp_path: Path) -> None:
        for name in ("color.heic", "turned.heic"):
            shutil.copy(HEIF / name, tmp_path / name.upper())
        (tmp_path / "cut.heic").write_bytes((HEIF / "color.heic").read_bytes()[:900])
        source = open_source(tmp_path)
        assert (len(source), source.channels) == (3, 3)
        assert corners(source.image(0)) == [RED, GREEN, BLUE, LIGHT]
        with pytest.raises(BadImage):
            source.image(2)


class TestJpegXl:
    @pytest.fixture(autouse=True)
    def _codec(self) -> Any:
        self.codecs = pytest.importorskip("imagecodecs", reason="JPEG XL takes imagecodecs")

    def encoded(self, values: Any, **options: Any) -> bytes:
        return bytes(self.codecs.jpegxl_encode(values, lossless=True, **options))

    @pytest.mark.parametrize("container", [False, True])
    def test_eight_bits(self, container: bool) -> None:
        values = np.random.default_rng(0).integers(0, 256, (17, 30, 3), dtype=np.uint8)
        data = self.encoded(values, usecontainer=container)
        assert read_header(data) == Header(height=17, width=30, channels=3, depth="8-bit")
        assert np.array_equal(decode(data).numpy(), values.transpose(2, 0, 1))
        gray = self.encoded(values[..., 0], usecontainer=container)
        assert read_header(gray).channels == 1
        assert np.array_equal(decode(gray).numpy(), values[None, ..., 0])

    @pytest.mark.parametrize(("bits", "white"), [(10, 1023), (12, 4095), (16, 65535)])
    def test_more_bits_have_their_own_white(self, bits: int, white: int) -> None:
        values = np.array([[0, white // 3, white]], dtype=np.uint16)
        data = self.encoded(values, bitspersample=bits)
        assert read_header(data).depth == "16-bit"
        torch.testing.assert_close(decode(data), torch.tensor([[[0, 1 / 3, 1]]]))

    def test_floats_beyond_white_are_cut(self) -> None:
        data = self.encoded(np.array([[0.25, 0.5, 1.5]], dtype=np.float32))
        assert read_header(data).depth == "float"
        torch.testing.assert_close(decode(data), torch.tensor([[[0.25, 0.5, 1]]]))

    def test_transparency_is_laid_over_white(self) -> None:
        values = np.array([[[10, 20, 30, 0], [10, 20, 30, 255]]], dtype=np.uint8)
        assert decode(self.encoded(values)).permute(1, 2, 0).tolist() == [[[255] * 3, [10, 20, 30]]]

    @pytest.mark.parametrize("size", [(8, 8), (64, 128), (40, 30), (1, 600), (513, 9)])
    def test_sizes_are_read_in_front(self, size: tuple[int, int]) -> None:
        from byol.data.formats.jxl import _stated

        data = self.encoded(np.zeros(size, dtype=np.uint8))
        assert _stated(data) == (*size, 8)

    def test_broken_files(self, tmp_path: Path) -> None:
        data = self.encoded(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
        for broken in (data[:40], data[:3], b"\xff\x0a" + bytes(60), b"\xff\x0a" + b"\xff" * 60):
            with pytest.raises(BadImage):
                decode(broken)


@pytest.mark.parametrize(("name", "extra"), [("a.heic", "heif"), ("a.jxl", "jxl")])
def test_without_a_package_one_sentence_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, extra: str
) -> None:
    monkeypatch.setattr(extras, "_installed", lambda modules: False)
    data = (HEIF / "color.heic").read_bytes() if extra == "heif" else b"\xff\x0a" + bytes(50)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=rf"pip install 'byol\[{extra}\]'"):
        open_source(tmp_path)
    with pytest.raises(BadImage, match=rf"pip install 'byol\[{extra}\]'"):
        decode(data)
