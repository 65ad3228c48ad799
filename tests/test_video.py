"""Videos: which frames are images, their pixels, their turn, by value."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from byol.config.reading import ReadingConfig
from byol.data.formats import extras
from byol.data.formats.header import Header
from byol.data.reading import reading_as
from byol.data.sources.base import Source
from byol.data.sources.open import open_source
from byol.errors import BadImage, UserError

av = pytest.importorskip("av", reason="videos take PyAV")


def film(path: Path, frames: Any, rate: int = 10, codec: str = "ffv1", pixels: str = "bgr0") -> None:
    """A video of these frames, (N, H, W, 3); by default without loss."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], pixels
        stream.time_base = Fraction(1, rate)
        for values in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(values, format="rgb24")):
                file.mux(packet)
        for packet in stream.encode():
            file.mux(packet)


def numbered(count: int) -> Any:
    """Frames of 24 x 32 px, the n-th of which has the value 2 n."""
    return np.stack([np.full((24, 32, 3), 2 * number, dtype=np.uint8) for number in range(count)])


def read(path: Path, **reading: Any) -> Source:
    with reading_as(ReadingConfig(**reading)):
        return open_source(path)


def test_one_frame_each_second_or_as_often_as_asked(tmp_path: Path) -> None:
    film(tmp_path / "a.mkv", numbered(35))  # 3.5 seconds
    source = read(tmp_path)
    assert (len(source), source.channels) == (4, 3)
    assert source.header(3) == Header(height=24, width=32, channels=3, depth="8-bit")
    assert [source.image(index).unique().tolist() for index in (3, 0, 2, 1)] == [[60], [0], [40], [20]]
    assert source.where(2) == f"{tmp_path / 'a.mkv'} frame 2"
    assert "one frame every second" in source.notes[0]
    often = read(tmp_path, seconds=0.25)
    assert len(often) == 14
    # at 0.25 s the frame of 0.2 s is still shown: number 2 of value 4
    assert [int(often.image(index).max()) for index in (0, 1, 2, 13)] == [0, 4, 10, 64]
    assert len(read(tmp_path, seconds=60)) == 1


def test_frames_between_key_frames(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", numbered(100), codec="mpeg4", pixels="yuv420p")
    source = read(tmp_path / "a.mp4")
    assert len(source) == 10
    means = torch.tensor([float(source.image(index).float().mean()) for index in range(10)])
    assert (means - torch.arange(10) * 20).abs().max() < 3, "MPEG-4 loses a little"


def test_a_video_of_a_phone_held_upright_is_turned(tmp_path: Path) -> None:
    frames = np.zeros((2, 24, 32, 3), dtype=np.uint8)
    frames[:, :, :16] = 200  # bright on the left
    film(tmp_path / "a.mp4", frames, codec="mpeg4", pixels="yuv420p")
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40  # ISO/IEC 14496-12, 8.3.2: version 0
    turn = [0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000]  # to be shown turned by 90 degrees clockwise
    data[matrix : matrix + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in turn)
    (tmp_path / "a.mp4").write_bytes(data)
    source = read(tmp_path / "a.mp4")
    assert (source.header(0).height, source.header(0).width) == (32, 24)
    image = source.image(0).float().mean(0)
    assert image.shape == (32, 24)
    assert image[:14].mean() > 190, "what was on the left is at the top"
    assert image[18:].mean() < 10


def test_broken_files_and_a_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film(tmp_path / "a.mkv", numbered(5))
    (tmp_path / "cut.mkv").write_bytes((tmp_path / "a.mkv").read_bytes()[:300])
    (tmp_path / "text.mp4").write_text("no film" * 50)
    source = read(tmp_path)
    assert len(source) == 3
    for index in (1, 2):
        with pytest.raises(BadImage):
            source.image(index)
    monkeypatch.setattr(extras, "_installed", lambda modules: False)
    with pytest.raises(UserError, match=r"pip install 'byol\[video\]'"):
        open_source(tmp_path)
