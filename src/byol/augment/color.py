"""The official color operations as pure functions of a batch and one factor per image.

Images are (N, C, H, W) floats in [0, 1]; factors are (N,), or one number for all. TensorFlow's meaning, not
torchvision's (deepmind-research/byol at f5de0ed, utils/augmentations.py): brightness is added, contrast scales around
each channel's own mean, saturation and hue act on HSV. Where the official code goes to HSV and back, the same map is
written in RGB.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from byol.augment.crop import rows_image_columns
from byol.augment.params import per_image

GRAY_WEIGHTS = (0.2989, 0.5870, 0.1140)
"""Weights of red, green and blue in gray; their sum is 0.9999 (augmentations.py:285)."""

Factor = Tensor | float
"""(N,), or one number."""

NEGLIGIBLE = 1e-9
"""Weight below which a tap of a long blur is left out: a hundredth of what float32 can tell apart near 1."""

SHORT_KERNEL = 7
"""Longest blur kernel that is applied tap by tap (measured: 64 px images)."""

BLOCK = 16
"""Rows or columns that one small product blurs: their neighbors come on top, so that more is wasted in larger ones and
more calls are made for smaller ones (measured at 224 px: 16 before 32 and 56)."""


def adjust_brightness(x: Tensor, delta: Factor, out: Tensor | None = None) -> Tensor:
    """Add `delta` to every value; not clipped (augmentations.py:239)."""
    return torch.add(x, per_image(delta), out=out)


def adjust_contrast(x: Tensor, factor: Factor, out: Tensor | None = None) -> Tensor:
    """Scale around each channel's mean; not clipped (augmentations.py:243)."""
    # a product and a sum: three tensors of different shapes in one call fall out of the processor's vector loop
    factor = per_image(factor)
    mean = x.mean(dim=(2, 3), keepdim=True)
    return torch.mul(x, factor, out=out).add_(mean.mul_(1 - factor))


def adjust_saturation(x: Tensor, factor: Factor, out: Tensor | None = None) -> Tensor:
    """Multiply S of HSV, clipped to [0, 1], keeping H and V (augmentations.py:250); (N, 3, H, W).

    With H and V fixed, each channel's distance from V is proportional to S: so V stays where it is, and the distance
    grows by the factor, or by 1/S where the factor would take S past 1.
    """
    value, chroma = _value_and_chroma(x)
    ratio = value / chroma
    factor = per_image(factor)
    ratio = torch.minimum(ratio, factor) if isinstance(factor, Tensor) else ratio.clamp_max_(factor)
    return torch.lerp(value, x, ratio, out=out)


def adjust_hue(x: Tensor, turns: Factor, out: Tensor | None = None) -> Tensor:
    """Add to H of HSV, modulo 1, keeping S and V (augmentations.py:254); (N, 3, H, W)."""
    value, chroma = _value_and_chroma(x)
    shares = _distance_shares(_signed_hue_in_sixths(x, value, chroma).add_(per_image(6 * turns)))
    if out is None:
        return value - chroma * torch.cat(shares, dim=1)
    for channel, share in zip(out.chunk(3, dim=1), shares, strict=True):  # no copy of all three
        torch.addcmul(value, chroma, share, value=-1, out=channel)
    return out


def _distance_shares(hue6: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How far red, green and blue lie below V, in chromas, (N, 1, H, W) in [0, 1] each; overwrites `hue6`.

    Each is clamp(d - 1, 0, 1), where d in [0, 3] is the distance around the circle from the channel's own hue: 0, 2
    and 4. With u in [-3, 3], the hue seen from the far side of red, these distances are 3 - |u|, |u + 1| and |u - 1|.
    """
    u = hue6.sub_(3)
    u.sub_((u / 6).round_(), alpha=6)
    green = (u + 1).abs_().sub_(1).clamp_(0, 1)
    blue = (u - 1).abs_().sub_(1).clamp_(0, 1)
    red = u.abs_().neg_().add_(2).clamp_(0, 1)
    return red, green, blue


def _value_and_chroma(x: Tensor) -> tuple[Tensor, Tensor]:
    """Largest channel of each pixel, and its distance from the smallest, never quite 0; (N, 1, H, W)."""
    value, low = _extremes(x)
    return value, (value - low).clamp_min_(1e-20)


def _extremes(x: Tensor) -> tuple[Tensor, Tensor]:
    """Largest and smallest channel of each pixel, (N, 1, H, W)."""
    red, green, blue = x.chunk(3, dim=1)
    return (
        torch.maximum(torch.maximum(red, green), blue),
        torch.minimum(torch.minimum(red, green), blue),
    )


def _signed_hue_in_sixths(x: Tensor, value: Tensor, chroma: Tensor) -> Tensor:
    """H of HSV times six, in [-3, 3] (augmentations.py:172); anything for gray, which has none.

    Without asking which channel is largest (a branch per pixel, that processors guess wrong): with D the distances
    below V in chromas, one of them 0 and one 1, going through the six cases gives |H| = 2 + D_red - D_green - D_blue,
    and H is positive where green exceeds blue.
    """
    red, green, blue = x.chunk(3, dim=1)
    size = (green - red).add_(blue).sub_(value).div_(chroma).add_(2)
    return size.copysign_(green - blue)


def to_grayscale(x: Tensor) -> Tensor:
    """(N, 3, H, W) -> the same with three equal channels (augmentations.py:285)."""
    red, green, blue = GRAY_WEIGHTS
    gray = (x[:, 0:1] * red).add_(x[:, 1:2], alpha=green).add_(x[:, 2:3], alpha=blue)
    return gray.expand_as(x).contiguous()


def blur_taps(height: int) -> int:
    """Length of the blur's kernel for images of a height: 3 at 32, 23 at 224 (augmentations.py:133, :423)."""
    return 2 * int(height / 10 / 2) + 1


def gaussian_blur(x: Tensor, sigma: Factor, taps: int) -> Tensor:
    """Blur by sigma pixels with a separable kernel of `taps` values; outside the image is black.

    The zero padding is the official code's (augmentations.py:133-151): borders darken. A short kernel is a sum of
    shifted images; a long one is a product with a banded matrix per image, of which a processor takes the band alone.
    """
    if taps == 1:
        return x
    if not isinstance(sigma, Tensor):
        sigma = torch.tensor([sigma], device=x.device)
    if taps <= SHORT_KERNEL:
        return _blur_along(_blur_along(x, sigma, taps, dim=3), sigma, taps, dim=2)
    if x.device.type == "cpu":
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        for image, width, blurred in zip(x, sigma.tolist(), out, strict=True):
            _blur_by_blocks(image, width, taps, blurred)
        return out
    rows = _blur_matrix(sigma, taps, x.shape[2], x.dtype)
    columns = rows if x.shape[3] == x.shape[2] else _blur_matrix(sigma, taps, x.shape[3], x.dtype)
    return rows_image_columns(rows, x, columns)


def _kernel(sigma: Tensor, taps: int, dtype: torch.dtype) -> Tensor:
    """Normalized weights, (N, taps)."""
    distance = torch.arange(-(taps // 2), taps // 2 + 1, device=sigma.device, dtype=dtype)
    kernel = torch.exp(-distance.square() / (2 * sigma.to(dtype).view(-1, 1).square()))
    return kernel / kernel.sum(dim=1, keepdim=True)


def _blur_along(x: Tensor, sigma: Tensor, taps: int, dim: int) -> Tensor:
    kernel, radius, size = _kernel(sigma, taps, x.dtype), taps // 2, x.shape[dim]
    out = x * kernel[:, radius].view(-1, 1, 1, 1)
    for reach in range(1, radius + 1):
        weight = kernel[:, radius + reach].view(-1, 1, 1, 1)
        out.narrow(dim, reach, size - reach).addcmul_(x.narrow(dim, 0, size - reach), weight)
        out.narrow(dim, 0, size - reach).addcmul_(x.narrow(dim, reach, size - reach), weight)
    return out


def _blur_by_blocks(image: Tensor, sigma: float, taps: int, result: Tensor) -> None:
    """Write the blur of one image (C, H, W) to `result`: blocks of rows, then blocks of columns, as small products.

    All blocks share one matrix, with the kernel along its diagonal, and read their pixels and their neighbors' through
    strided views. Taps too small to matter in float32 are left out.
    """
    c, h, w = image.shape
    outwards = [math.exp(-0.5 * (distance / sigma) ** 2) for distance in range(taps // 2 + 1)]
    total = 2 * sum(outwards) - outwards[0]
    half = [weight / total for weight in outwards if weight > NEGLIGIBLE * total]
    reach = len(half) - 1
    high, wide = -(-h // BLOCK), -(-w // BLOCK)  # blocks; the last may hang over
    row, taken = wide * BLOCK + 2 * reach, BLOCK + 2 * reach
    band = image.new_zeros(BLOCK, taken)
    band.as_strided((BLOCK, 2 * reach + 1), (taken + 1, 1)).copy_(image.new_tensor(half[:0:-1] + half))
    padded = F.pad(image, (reach, wide * BLOCK - w + reach, reach, high * BLOCK - h + reach))
    between = image.new_empty(c, high, BLOCK, row)
    for channel, blurred in zip(padded, between, strict=True):
        torch.bmm(band.expand(high, -1, -1), channel.as_strided((high, taken, row), (BLOCK * row, row, 1)), out=blurred)
    fits = (h, w) == (high * BLOCK, wide * BLOCK)
    out = result if fits else image.new_empty(c, high * BLOCK, wide * BLOCK)
    lines = c * high * BLOCK
    columns = between.as_strided((wide, lines, taken), (BLOCK, row, 1))
    torch.bmm(columns, band.T.expand(wide, -1, -1), out=out.as_strided((wide, lines, BLOCK), (BLOCK, wide * BLOCK, 1)))
    if not fits:
        result.copy_(out[:, :h, :w])


def _blur_matrix(sigma: Tensor, taps: int, size: int, dtype: torch.dtype) -> Tensor:
    """(N, size, size), symmetric: row i holds the kernel around pixel i."""
    kernel = F.pad(_kernel(sigma, taps, dtype), (0, 1))  # a last tap of 0: out of reach
    positions = torch.arange(size, device=sigma.device)
    tap = positions - positions.view(-1, 1) + taps // 2
    return kernel[:, torch.where((tap < 0) | (tap > taps), taps, tap)]


def solarize(x: Tensor, threshold: Factor = 0.5) -> Tensor:
    """Invert values from the threshold up (augmentations.py:434)."""
    if _is_half(threshold):
        return torch.minimum(x, 1 - x)  # the same for values in [0, 1], without a branch per value
    return invert_from(x, threshold)


def _is_half(threshold: Factor) -> bool:
    """Whether it is known to be 0.5 for all images without waiting for a GPU."""
    if isinstance(threshold, Tensor):
        return threshold.device.type == "cpu" and bool((threshold == 0.5).all())
    return threshold == 0.5


def invert_from(x: Tensor, threshold: Factor) -> Tensor:
    """x below the threshold, else 1 - x; for torch.compile too."""
    if isinstance(threshold, Tensor):
        threshold = threshold.to(x.dtype).view(-1, 1, 1, 1)
    return torch.where(x < threshold, x, 1 - x)
