"""The normalization at the end of every view, and of what an evaluation sees."""

from functools import cache

import torch
from torch import Tensor

from byol.config.views import Normalization


def as_float(images: Tensor) -> Tensor:
    """uint8 to float32 in [0, 1]; floats pass."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images


def normalize_images(x: Tensor, normalization: Normalization, out: Tensor | None = None) -> Tensor:
    """Subtract each channel's mean and divide by its standard deviation; (N, C, H, W)."""
    scale, shift = scale_and_shift(normalization, x.dtype, x.device)
    return torch.mul(x, scale, out=out).add_(shift)


@cache
def scale_and_shift(normalization: Normalization, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Factor and summand (1, C, 1, 1), made once: a GPU would wait for them at every step."""
    mean, std = normalization.mean, normalization.std
    scale = torch.tensor([1 / s for s in std], dtype=dtype, device=device)
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], dtype=dtype, device=device)
    return scale.view(1, -1, 1, 1), shift.view(1, -1, 1, 1)
