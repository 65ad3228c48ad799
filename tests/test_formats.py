"""The table of formats: a new format is one file with four names, and one line in the table."""

from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image
from torch import Tensor

from byol.data.formats import registry
from byol.data.formats.decode import decode, read_header
from byol.data.formats.header import Header
from byol.data.sources.open import FolderSource, open_source
from byol.data.survey import survey
from byol.errors import BadImage, UserError

MARK = b"TINY"
"""At byte 128, where DICOM has its own."""


def sniff(head: bytes) -> bool:
    return head[128:132] == MARK


def header(data: bytes) -> Header:
    return Header(height=data[132], width=data[133], channels=1, depth="8-bit")


def decode_tiny(data: bytes, shrink_to: int | None) -> Tensor:
    stored = header(data)
    return torch.tensor(list(data[134:]), dtype=torch.uint8).view(1, stored.height, stored.width)


def tiny(height: int, width: int, values: bytes, preamble: bytes = bytes(128)) -> bytes:
    return preamble + MARK + bytes([height, width]) + values


@pytest.fixture
def with_tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adds a made-up format to the table."""
    made_up = ModuleType("tiny")
    vars(made_up).update(SUFFIXES=(".tiny",), sniff=sniff, header=header, decode=decode_tiny)
    monkeypatch.setattr(registry, "FORMATS", (made_up, *registry.FORMATS))


@pytest.mark.usefixtures("with_tiny")
def test_one_line_in_the_table_is_all_that_a_new_format_needs(tmp_path: Path) -> None:
    (tmp_path / "1.tiny").write_bytes(tiny(2, 3, bytes([0, 50, 100, 150, 200, 250])))
    (tmp_path / "2.TINY").write_bytes(tiny(1, 2, bytes([7, 8])))
    Image.new("L", (4, 5), 9).save(tmp_path / "3.png")
    source = open_source(tmp_path)
    assert isinstance(source, FolderSource)
    assert (len(source), source.channels) == (3, 1)
    assert source.header(0) == Header(height=2, width=3, channels=1, depth="8-bit")
    assert source.image(0).tolist() == [[[0, 50, 100], [150, 200, 250]]]
    assert source.image(1).tolist() == [[[7, 8]]]
    assert source.image(2).tolist() == [[[9] * 4] * 5]
    assert open_source(tmp_path, channels=3).image(1).tolist() == [[[7, 8]]] * 3, "channels are converted as for all"
    assert survey(source).height_median == 2


@pytest.mark.usefixtures("with_tiny")
def test_a_mark_decides_and_not_the_suffix_nor_the_bytes_before_it(tmp_path: Path) -> None:
    jpeg_like = b"\xff\xd8\xff".ljust(128, b"\0")
    (tmp_path / "wrong.jpg").write_bytes(tiny(1, 2, bytes([7, 8]), jpeg_like))
    assert open_source(tmp_path).image(0).tolist() == [[[7, 8]]]


@pytest.mark.usefixtures("with_tiny")
def test_whatever_a_format_raises_is_a_bad_image() -> None:
    broken = tiny(2, 3, bytes([1]))
    assert read_header(broken).width == 3
    with pytest.raises(BadImage, match="corrupt or truncated: shape"):
        decode(broken)


def test_without_its_line_the_format_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "1.tiny").write_bytes(tiny(1, 2, bytes([7, 8])))
    with pytest.raises(BadImage, match="not an image in a known format"):
        decode((tmp_path / "1.tiny").read_bytes())
    with pytest.raises(UserError, match=r"holds no images, only 1 other files \(\.tiny\)"):
        open_source(tmp_path)


def test_no_two_formats_claim_a_suffix() -> None:
    suffixes = [suffix for entry in registry.FORMATS for suffix in entry.SUFFIXES]
    assert len(suffixes) == len(set(suffixes))
    assert registry.image_suffixes() >= {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif", ".tga", ".npy"),
    }


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\xff\xd8\xff\xe0", "jpeg"),
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"II*\0", "tiff"),
        (b"MM\0+", "tiff"),
        (b"\x93NUMPY\x01\x00", "npy"),
        (b"RIFF\0\0\0\0WEBP", "pillow"),
        (b"", "pillow"),
    ],
)
def test_marks_of_formats(head: bytes, name: str) -> None:
    assert getattr(registry.format_of(head), "__name__", "") == f"byol.data.formats.{name}"
