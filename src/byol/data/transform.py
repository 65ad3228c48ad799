"""The images of an evaluation: one deterministic crop, then the normalization of training."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from byol.augment.crop import EVALUATION_SHARE, center_window
from byol.augment.normalize import as_float, normalize_images
from byol.config.encoder import EncoderSpec
from byol.config.views import Normalization

Region = Literal["center", "short-side"]

SMALL_SIDE = 64
"""Longest side of images that are taken whole, in pixels; larger ones get the protocol's central crop."""


@dataclass(frozen=True, kw_only=True)
class Transform:
    """One deterministic crop of an image, then the normalization of training."""

    image_size: int
    """Side of the encoder's input, in pixels."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    region: Region = "center"
    """`center`: the central 7/8 of the shorter side, the paper's "shorter side to 256, center 224" (Appendix C.1).
    `short-side`: the central square of the whole shorter side, as linear transfer resizes (Appendix D.2)."""

    @classmethod
    def of(cls, spec: EncoderSpec) -> "Transform":
        """How an encoder takes whole images; its spec must know the size."""
        assert spec.input_size is not None, "an encoder that takes images knows their size"
        return cls(image_size=spec.input_size, mean=spec.mean, std=spec.std)

    @property
    def decode_side(self) -> int:
        """Length of the shorter side, in pixels, that a JPEG may be decoded to without losing detail."""
        return self.image_size if self.region == "short-side" else math.ceil(self.image_size / EVALUATION_SHARE)

    def crop(self, image: Tensor) -> Tensor:
        """(C, H, W) -> (C, S, S) by an antialiased bicubic filter; uint8 stays uint8.

        Images of at most 64 px are taken whole: such images were cropped before they were stored.
        """
        height, width = image.shape[1:]
        if (height, width) == (self.image_size, self.image_size):
            return image
        if max(height, width) > SMALL_SIDE:
            top, left, side = self._window(height, width)
            image = image[:, top : top + side, left : left + side]
        size = (self.image_size, self.image_size)
        resized = F.interpolate(image.unsqueeze(0), size=size, mode="bicubic", antialias=True, align_corners=False)[0]
        return resized if resized.dtype == torch.uint8 else resized.clamp_(0, 1)

    def _window(self, height: int, width: int) -> tuple[int, int, int]:
        if self.region == "center":
            return center_window(height, width)
        side = min(height, width)
        return (height - side) // 2, (width - side) // 2, side

    def normalize(self, images: Tensor) -> Tensor:
        """(N, C, S, S) uint8 or float in [0, 1] -> normalized float32."""
        return normalize_images(as_float(images), Normalization(self.mean, self.std))
