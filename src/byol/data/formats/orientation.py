"""The orientation tag of EXIF and TIFF: how a stored image is turned and mirrored to stand upright."""

from collections.abc import Callable

from PIL import Image
from torch import Tensor

from byol.data.formats.header import Header

__all__ = ["ORIENTATION", "orientation_of", "upright", "upright_header"]

ORIENTATION = 274
"""Number of the tag, in EXIF and in TIFF (TIFF 6.0, section 8). Its values run from 1 (upright) to 8."""


def orientation_of(read: Callable[[], Image.Exif]) -> object:
    """What an image's EXIF block says; 1 where there is none, or where it cannot be read: the pixels may be whole."""
    try:
        return read().get(ORIENTATION, 1)
    except Exception:  # a block is read as a TIFF file, of which a dozen things can be wrong
        return 1


def upright(image: Tensor, orientation: object) -> Tensor:
    """Turn an image (C, H, W) by its orientation. Values that are not defined leave it unchanged."""
    match orientation:
        case 2:
            return image.flip(2)
        case 3:
            return image.flip(1, 2)
        case 4:
            return image.flip(1)
        case 5:
            return image.transpose(1, 2)
        case 6:
            return image.transpose(1, 2).flip(2)
        case 7:
            return image.transpose(1, 2).flip(1, 2)
        case 8:
            return image.transpose(1, 2).flip(1)
    return image


def upright_header(header: Header, orientation: object) -> Header:
    """The header of an image after `upright`: orientations 5 to 8 exchange height and width."""
    return header.turned() if orientation in (5, 6, 7, 8) else header
