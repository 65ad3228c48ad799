"""Videos, by PyAV: one frame every so many seconds, turned upright."""

import math
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from byol.config.reading import ReadingConfig
from byol.data.formats.extras import VIDEO
from byol.data.formats.header import Header, check_size
from byol.data.formats.several import Contents, Opened
from byol.errors import BadImage

__all__ = ["EXTRA", "contents", "open"]

EXTRA = VIDEO

EARLY = 1e-6
"""Seconds by which a frame may begin after the time that is asked for: times are fractions."""


def contents(path: str, reading: ReadingConfig) -> Contents:
    """The frames at 0, 1, 2, ... times `seconds`, as long as the video runs."""
    with _opened(path) as file:
        seconds = _duration(file, _stream(file))
    every = f"{reading.seconds:g} seconds" if reading.seconds != 1 else "second"
    return Contents(
        numbers=range(max(1, math.ceil(seconds / reading.seconds - EARLY))),
        word="frame",
        said=f"video: one frame every {every} (--data.reading.seconds)",
    )


def open(path: str, reading: ReadingConfig) -> Opened:
    """A video."""
    return _Frames(path, reading.seconds)


class _Frames:
    def __init__(self, path: str, seconds: float) -> None:
        self._file, self._seconds, self._reading = _opened(path), seconds, Lock()
        self._stream = _stream(self._file)

    def header(self, number: int) -> Header:
        with self._reading:
            frame = self._frame_at(number * self._seconds)
        height, width = frame.height, frame.width
        if _quarters(frame) % 2:
            height, width = width, height
        return Header(height=height, width=width, channels=3, depth="8-bit")

    def image(self, number: int) -> Tensor:
        with self._reading:  # a decoder has one place in its file
            frame = self._frame_at(number * self._seconds)
        pixels = np.rot90(frame.to_ndarray(format="rgb24"), _quarters(frame))
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))

    def _frame_at(self, seconds: float) -> Any:
        """The frame that is shown at a time: the last one that has begun."""
        stream, base = self._stream, self._stream.time_base
        check_size(stream.height, stream.width)
        start = float((stream.start_time or 0) * base)
        self._file.seek(int((seconds + start) / base), stream=stream)  # to the key frame before it
        shown = None
        for frame in self._file.decode(stream):
            if shown is not None and frame.time is not None and frame.time - start > seconds + EARLY:
                break
            shown = frame
        if shown is None:
            raise BadImage(f"has no frame at {seconds:g} seconds")
        return shown


def _opened(path: str) -> Any:
    import av

    return av.open(path)


def _stream(file: Any) -> Any:
    if not file.streams.video:
        raise BadImage("holds no video")
    return file.streams.video[0]


def _duration(file: Any, stream: Any) -> float:
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    if file.duration is not None:
        return float(file.duration / 1_000_000)  # in microseconds
    raise BadImage("does not say how long it runs; store it as .mp4 or .mkv")


def _quarters(frame: Any) -> int:
    """Quarter turns against the clock that make a frame upright: phones store how they were held."""
    quarters: int = round(frame.rotation / 90) % 4
    return quarters
