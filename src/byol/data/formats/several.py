"""What a format defines whose files hold several images: scans of many frames, volumes, videos, slides."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from byol.config.reading import ReadingConfig
from byol.data.formats.extras import Extra
from byol.data.formats.header import Header

__all__ = ["Container", "Contents", "Opened"]


@dataclass(frozen=True)
class Contents:
    """What a file holds, as far as a folder must know."""

    numbers: Sequence[int] = (0,)
    """Of its images, as `Opened` takes them; empty where it holds none."""
    word: str = ""
    """What one of them is called: frame, slice, tile; empty where the file is one image."""
    group: str = ""
    """The patient, or another name that images of several files share; empty where that is not known."""
    instead: str = ""
    """What it holds where there are no images, in words."""
    said: str = ""
    """How it is read, in words that a run says once."""
    size: int | None = None
    """Bytes of one of its images, where it is a folder, whose size says nothing."""


class Opened(Protocol):
    """A file that is open. Safe to read from many threads."""

    def header(self, number: int) -> Header:
        """The header of one image; `BadImage`, or anything that a decoder raises, where there is none."""
        ...

    def image(self, number: int) -> Tensor:
        """One image as (C, H, W): uint8, or float32 in [0, 1]; raises as `header`."""
        ...


class Container(Protocol):
    """What a file of this package defines for such a format."""

    @property
    def EXTRA(self) -> Extra:  # noqa: N802  (a constant of the module)
        """The packages that it takes, and its suffixes."""
        ...

    def contents(self, path: str, reading: ReadingConfig) -> Contents:
        """Which images a file holds; may raise anything for a broken one."""
        ...

    def open(self, path: str, reading: ReadingConfig) -> Opened:
        """Open a file; raises as `contents`."""
        ...
