"""What is known of an image before its pixels are decoded, and how large an image may be."""

from dataclasses import dataclass, field, replace
from typing import Literal

from byol.errors import BadImage

__all__ = ["MAX_PIXELS", "MAX_VALUES", "Depth", "Header", "check_size"]

Depth = Literal["8-bit", "16-bit", "float"]

MAX_PIXELS = 178_956_970
"""Images with more pixels are refused. This is Pillow's limit against decompression bombs, twice `MAX_IMAGE_PIXELS`."""

MAX_VALUES = 4 * MAX_PIXELS
"""Images with more values than four channels of that are refused too."""


@dataclass(frozen=True)
class Header:
    """Height and width in pixels, the number of channels after decoding, and the depth of the stored values."""

    height: int
    width: int
    channels: int
    depth: Depth
    kind: str = field(default="", compare=False)
    """What the format is called, where `decode.read_header` knows it."""
    pages: int = field(default=1, compare=False)
    """Images or planes in the file; the notes say what becomes of them."""
    notes: tuple[str, ...] = field(default=(), compare=False)
    """What a person may not expect of how it is read, each a sentence without numbers of this file."""
    opacity: bool = field(default=False, compare=False)
    """Whether there is one more channel, which is used as opacity."""

    def turned(self) -> "Header":
        """The same image with height and width exchanged."""
        return replace(self, height=self.width, width=self.height)


def check_size(height: int, width: int, channels: int = 1) -> None:
    """Raise `BadImage` for an image without pixels, with more than `MAX_PIXELS`, or more than `MAX_VALUES` values."""
    if height < 1 or width < 1:
        raise BadImage(f"has no pixels ({height} x {width})")
    if height * width > MAX_PIXELS:
        raise BadImage(f"more than {MAX_PIXELS // 10**6} million pixels ({height} x {width})")
    if height * width * channels > MAX_VALUES:
        raise BadImage(f"more values than four channels of {MAX_PIXELS // 10**6} million pixels")
