"""What is known of an image before its pixels are decoded, and how large an image may be."""

from dataclasses import dataclass, replace
from typing import Literal

from byol.errors import BadImage

__all__ = ["MAX_PIXELS", "Depth", "Header", "check_size"]

Depth = Literal["8-bit", "16-bit", "float"]

MAX_PIXELS = 178_956_970
"""Images with more pixels are refused. This is Pillow's limit against decompression bombs, twice `MAX_IMAGE_PIXELS`."""


@dataclass(frozen=True)
class Header:
    """Height and width in pixels, the number of channels after decoding, and the depth of the stored values."""

    height: int
    width: int
    channels: int
    depth: Depth

    def turned(self) -> "Header":
        """The same image with height and width exchanged."""
        return replace(self, height=self.width, width=self.height)


def check_size(height: int, width: int) -> None:
    """Raise `BadImage` for an image without pixels or with more than `MAX_PIXELS`."""
    if height < 1 or width < 1:
        raise BadImage(f"has no pixels ({height} x {width})")
    if height * width > MAX_PIXELS:
        raise BadImage(f"more than {MAX_PIXELS // 10**6} million pixels ({height} x {width})")
