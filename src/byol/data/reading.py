"""The reading that is in force where data is opened: that of a run, or that of a trained encoder.

A setting of a run holds for all images that it opens (training, monitor, parts), and an encoder is judged on images
that are read as those it was trained on were. A source keeps the reading that it was opened with.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from byol.config.axes import Axes
from byol.config.reading import ReadingConfig
from byol.data.axes import axes_as

__all__ = ["current_reading", "opened_as", "reading_as"]

USUAL = ReadingConfig()
_READING: ContextVar[ReadingConfig] = ContextVar("reading", default=USUAL)


def current_reading() -> ReadingConfig:
    """The reading of sources that are opened now."""
    return _READING.get()


@contextmanager
def reading_as(reading: ReadingConfig) -> Iterator[None]:
    """Open sources with this reading, for the time of a `with`."""
    token = _READING.set(reading)
    try:
        yield
    finally:
        _READING.reset(token)


class Asked(Protocol):
    """What says how files are read: the settings of a run, or a trained encoder."""

    @property
    def axes(self) -> Axes:
        """Of arrays without named axes."""

    @property
    def reading(self) -> ReadingConfig:
        """Of files that can be read in several ways."""


@contextmanager
def opened_as(asked: Asked) -> Iterator[None]:
    """Open sources as a run asks for, or as an encoder's own images were opened, for the time of a `with`."""
    with axes_as(asked.axes), reading_as(asked.reading):
        yield
