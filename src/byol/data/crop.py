"""Crops of single images, antialiased."""

import torch
import torch.nn.functional as F
from torch import Tensor

from byol.augment.crop import crop_window
from byol.augment.params import ViewParams


def shrink_side(image_size: int) -> int:
    """Shortest side that a JPEG is decoded to: twice the views', so that only the smallest crops are enlarged more."""
    return 2 * image_size


def crop_one(image: Tensor, params: ViewParams, size: int) -> Tensor:
    """One image (C, H, W), cropped as drawn and resized to (C, size, size), antialiased; uint8 stays uint8.

    The official code does not antialias (utils/dataset.py:201): images that are decoded one by one are, since shrinking
    without it makes patterns that are not in the picture.
    """
    return crop(image, [int(t) for t in crop_window(params.numbers["crop"], image.shape[1], image.shape[2])], size)


def crop(image: Tensor, window: list[int], size: int) -> Tensor:
    """One image (C, H, W), cropped at (top, left, height, width) and resized to (C, size, size)."""
    top, left, height, width = window
    part = image[:, top : top + height, left : left + width].unsqueeze(0)
    resized = F.interpolate(part, size=(size, size), mode="bicubic", antialias=True, align_corners=False)
    return resized[0] if resized.dtype == torch.uint8 else resized[0].clamp_(0, 1)
