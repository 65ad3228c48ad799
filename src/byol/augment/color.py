"""The official colour operations as pure functions of a batch and one factor per image.

Images are (N, C, H, W) floats in [0, 1]; factors are (N,). TensorFlow's meaning, not torchvision's
(deepmind-research/byol at f5de0ed, utils/augmentations.py): brightness is added, contrast scales around each channel's
own mean, saturation and hue act on HSV. Where the official code goes to HSV and back, the same map is written in RGB.
"""

import torch
from torch import Tensor

from byol.augment.crop import rows_image_columns

GRAY_WEIGHTS = (0.2989, 0.5870, 0.1140)
"""Weights of red, green and blue in grey; their sum is 0.9999 (augmentations.py:285)."""

SHORT_KERNEL = 7
"""Longest blur kernel that is applied tap by tap (measured: 64 px images)."""


def _per_image(factor: Tensor) -> Tensor:
    return factor.view(-1, 1, 1, 1)


def adjust_brightness(x: Tensor, delta: Tensor) -> Tensor:
    """Add `delta` to every value; not clipped (augmentations.py:239)."""
    return x + _per_image(delta)


def adjust_contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Scale around each channel's mean; not clipped (augmentations.py:243)."""
    mean = x.mean(dim=(2, 3), keepdim=True)
    return torch.lerp(mean, x, _per_image(factor))


def adjust_saturation(x: Tensor, factor: Tensor) -> Tensor:
    """Multiply S of HSV, clipped to [0, 1], keeping H and V (augmentations.py:250); (N, 3, H, W).

    With H and V fixed, each channel's distance from V is proportional to S: so V stays where it is, and the distance
    grows by the factor, or by 1/S where the factor would take S past 1.
    """
    value, low = _extremes(x)
    chroma = value - low
    # a grey pixel has no distance to scale, so its ratio may be anything finite
    ratio = torch.minimum(_per_image(factor), value / chroma.clamp_min(1e-20))
    return torch.lerp(value, x, ratio)


def adjust_hue(x: Tensor, turns: Tensor) -> Tensor:
    """Add to H of HSV, modulo 1, keeping S and V (augmentations.py:254); (N, 3, H, W)."""
    value, low = _extremes(x)
    chroma = value - low
    hue6 = _hue_in_sixths(x, value, chroma) + 6 * _per_image(turns)
    return torch.addcmul(value, chroma, _distance_share(hue6), value=-1)


def _distance_share(hue6: Tensor) -> Tensor:
    """How far each of red, green and blue lies below V, in chromas: (N, 1, H, W) -> (N, 3, H, W) in [0, 1].

    Channel n is V - C * clamp(min(k, 4 - k), 0, 1) with k = (n + 6 H) mod 6 and n = 5, 3, 1; and
    min(k, 4 - k) = 2 - |k - 2|, where k - 2 may be taken from -3 to 3.
    """
    t = hue6 + torch.tensor([3.0, 1.0, -1.0], dtype=hue6.dtype, device=hue6.device).view(1, 3, 1, 1)
    t = t.sub_((t / 6).round_(), alpha=6).abs_()
    return t.neg_().add_(2).clamp_(0, 1)


def _extremes(x: Tensor) -> tuple[Tensor, Tensor]:
    """Largest and smallest channel of each pixel, (N, 1, H, W)."""
    red, green, blue = x[:, 0:1], x[:, 1:2], x[:, 2:3]
    return (
        torch.maximum(torch.maximum(red, green), blue),
        torch.minimum(torch.minimum(red, green), blue),
    )


def _hue_in_sixths(x: Tensor, value: Tensor, chroma: Tensor) -> Tensor:
    """H of HSV times six, in [-1, 5); of tied channels red wins, then green; 0 for grey (augmentations.py:172)."""
    red, green, blue = x[:, 0:1], x[:, 1:2], x[:, 2:3]
    safe = torch.where(chroma > 0, chroma, 1.0)
    hue = torch.where(green == value, (blue - red) / safe + 2, (red - green) / safe + 4)
    hue = torch.where(red == value, (green - blue) / safe, hue)
    return hue * (chroma > 0)


def rgb_to_hsv(x: Tensor) -> Tensor:
    """(N, 3, H, W) RGB -> HSV, all in [0, 1]."""
    value, low = _extremes(x)
    chroma = value - low
    hue = (_hue_in_sixths(x, value, chroma) / 6).remainder(1)
    saturation = torch.where(value > 0, chroma / torch.where(value > 0, value, 1.0), 0.0)
    return torch.cat([hue, saturation, value], dim=1)


def hsv_to_rgb(x: Tensor) -> Tensor:
    """(N, 3, H, W) HSV -> RGB, all in [0, 1]."""
    hue, saturation, value = x[:, 0:1], x[:, 1:2], x[:, 2:3]
    return value - value * saturation * _distance_share(6 * hue)


def to_grayscale(x: Tensor) -> Tensor:
    """(N, 3, H, W) -> the same with three equal channels (augmentations.py:285)."""
    weights = torch.tensor(GRAY_WEIGHTS, dtype=x.dtype, device=x.device).view(1, 3, 1, 1)
    return (x * weights).sum(dim=1, keepdim=True).expand_as(x).contiguous()


def blur_taps(height: int) -> int:
    """Length of the blur's kernel for images of a height: 3 at 32, 23 at 224 (augmentations.py:133, :423)."""
    return 2 * int(height / 10 / 2) + 1


def gaussian_blur(x: Tensor, sigma: Tensor, taps: int) -> Tensor:
    """Blur by sigma pixels with a separable kernel of `taps` values; outside the image lies black.

    The zero padding is the official code's (augmentations.py:133-151): borders darken. A short kernel is a sum of
    shifted images; a long one is a product with a banded matrix per image, which processors and GPUs do best.
    """
    if taps == 1:
        return x
    if taps <= SHORT_KERNEL:
        return _blur_along(_blur_along(x, sigma, taps, dim=3), sigma, taps, dim=2)
    rows = _blur_matrix(sigma, taps, x.shape[2], x.dtype)
    columns = rows if x.shape[3] == x.shape[2] else _blur_matrix(sigma, taps, x.shape[3], x.dtype)
    return rows_image_columns(rows, x, columns)


def _kernel(sigma: Tensor, taps: int, dtype: torch.dtype) -> Tensor:
    """Normalised weights, (N, taps)."""
    distance = torch.arange(-(taps // 2), taps // 2 + 1, device=sigma.device, dtype=dtype)
    kernel = torch.exp(-distance.square() / (2 * sigma.to(dtype).view(-1, 1).square()))
    return kernel / kernel.sum(dim=1, keepdim=True)


def _blur_along(x: Tensor, sigma: Tensor, taps: int, dim: int) -> Tensor:
    kernel, radius, size = _kernel(sigma, taps, x.dtype), taps // 2, x.shape[dim]
    out = x * _per_image(kernel[:, radius])
    for reach in range(1, radius + 1):
        weight = _per_image(kernel[:, radius + reach])
        out.narrow(dim, reach, size - reach).addcmul_(x.narrow(dim, 0, size - reach), weight)
        out.narrow(dim, 0, size - reach).addcmul_(x.narrow(dim, reach, size - reach), weight)
    return out


def _blur_matrix(sigma: Tensor, taps: int, size: int, dtype: torch.dtype) -> Tensor:
    """(N, size, size), symmetric: row i holds the kernel around pixel i."""
    kernel = torch.nn.functional.pad(_kernel(sigma, taps, dtype), (0, 1))  # a last tap of 0: out of reach
    positions = torch.arange(size, device=sigma.device)
    tap = positions - positions.view(-1, 1) + taps // 2
    return kernel[:, torch.where((tap < 0) | (tap > taps), taps, tap)]


def solarize(x: Tensor, threshold: float = 0.5) -> Tensor:
    """Invert values from the threshold up: x below it, else 1 - x (augmentations.py:434)."""
    return torch.where(x < threshold, x, 1 - x)
