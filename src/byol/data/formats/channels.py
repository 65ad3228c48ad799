"""Conversions between numbers of channels: gray and color, and transparency over white."""

import torch
from torch import Tensor

from byol.errors import BadImage

__all__ = ["over_white", "to_channels"]


def to_channels(images: Tensor, channels: int | None) -> Tensor:
    """Convert images (..., C, H, W) to `channels` channels.

    Gray is repeated three times. Color becomes gray by the weights of ITU-R BT.601. None leaves the images as they are.

    Raises:
        BadImage: there is no conversion between these numbers of channels.
    """
    have = images.shape[-3]
    if channels is None or channels == have:
        return images
    if have == 1 and channels == 3:
        return images.expand(*images.shape[:-3], 3, -1, -1).contiguous()
    if have == 3 and channels == 1:
        red, green, blue = images.unbind(-3)
        if images.dtype == torch.uint8:
            # Bit for bit Pillow's `convert("L")`: the weights of BT.601 times 2^16, rounded.
            gray = (red.int() * 19595 + green.int() * 38470 + blue.int() * 7471 + 0x8000) >> 16
            return gray.to(torch.uint8).unsqueeze(-3)
        return (0.299 * red + 0.587 * green + 0.114 * blue).unsqueeze(-3)
    raise BadImage(f"has {have} channels where {channels} are wanted")


def over_white(image: Tensor, premultiplied: bool = False) -> Tensor:
    """Blend (C + 1, H, W), whose last channel is opacity, with a white background: (C, H, W).

    Args:
        image: uint8, or floats in [0, 1].
        premultiplied: whether the colors are stored times the opacity.
    """
    color, alpha = image[:-1], image[-1:]
    if image.dtype == torch.uint8:
        wide, opacity = color.int(), alpha.int()
        if premultiplied:
            return (wide + 255 - opacity).clamp(0, 255).to(torch.uint8)
        return ((wide * opacity + 255 * (255 - opacity) + 127) // 255).to(torch.uint8)
    return (color + (1 - alpha)).clamp(0, 1) if premultiplied else color * alpha + (1 - alpha)
