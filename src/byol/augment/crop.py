"""Random-resized crops: the official windows, and the official bicubic resize as two matrix products per image."""

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from byol.augment.params import Numbers, ViewParams

CUBIC_A = -0.5
"""Keys' cubic kernel as TensorFlow has it; PyTorch's `interpolate` has -0.75."""
TABLE_SIZE = 1024
"""TensorFlow looks the kernel up in a table of so many sub-pixel offsets."""
EVALUATION_SHARE = 0.875
"""Side of the central crop over the image's shorter side: 224 / 256 (official code, utils/dataset.py:247)."""


def crop_size(area: Tensor, log_aspect: Tensor, height: Tensor | int, width: Tensor | int) -> tuple[Tensor, Tensor]:
    """Height and width (int64) of crops of a share of the area and an aspect ratio, for images height x width.

    As in the official code (utils/dataset.py:206-233): rounded half to even, clipped to the image, no second try.
    """
    area, log_aspect = area.double(), log_aspect.double()
    target = area * (torch.as_tensor(height) * torch.as_tensor(width)).to(area)
    aspect = log_aspect.exp()
    h = (target / aspect).sqrt().round().long()
    w = (target * aspect).sqrt().round().long()
    # a tiny image may round to nothing; the official code would fail there
    return (
        torch.minimum(h, torch.as_tensor(height).to(h)).clamp_min(1),
        torch.minimum(w, torch.as_tensor(width).to(w)).clamp_min(1),
    )


def crop_window(numbers: Numbers, height: Tensor | int, width: Tensor | int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Top, left, height and width (N,) int64 of the crops drawn, for images height x width."""
    h, w = crop_size(numbers["area"], numbers["log_aspect"], height, width)
    top = (numbers["offset"][:, 0].double() * (torch.as_tensor(height).to(h) - h + 1)).long()
    left = (numbers["offset"][:, 1].double() * (torch.as_tensor(width).to(w) - w + 1)).long()
    return top, left, h, w


def crop_views(images: Tensor, params: ViewParams, size: int) -> Tensor:
    """Crop, resize and flip: (N, C, H, W) uint8 or float in [0, 1] -> (N, C, size, size) float32 in [0, 1]."""
    numbers = params.numbers
    window = crop_window(numbers["crop"], images.shape[2], images.shape[3])
    flips = (numbers[name]["applied"] for name in ("flip", "vertical_flip"))
    top, left, height, width, flip, vertical_flip = (t.to(images.device, non_blocking=True) for t in (*window, *flips))
    return crop_resize(images, (top, left, height, width), size, flip, vertical_flip)


def center_window(height: int, width: int) -> tuple[int, int, int]:
    """Top, left and side of the square that the official evaluation looks at (utils/dataset.py:247-268)."""
    side = max(1, math.floor(EVALUATION_SHARE * min(height, width)))
    return (height - side + 1) // 2, (width - side + 1) // 2, side


def resize_matrix(
    start: Tensor, length: Tensor, size_in: int, size_out: int, backwards: Tensor | None = None
) -> Tensor:
    """Matrices (N, size_out, size_in) that resize pixels [start, start + length) of a line to size_out pixels.

    Where `backwards` (N,) bool is true, the last pixel comes first: a flip that costs nothing.

    TensorFlow's legacy bicubic with half-pixel centers, as the official code calls it (utils/dataset.py:201): no
    antialiasing, taps outside the window dropped and the others renormalized, offsets rounded to 1/1024.
    """
    device = start.device
    scale = (length.float() / size_out).view(-1, 1)
    position = torch.arange(size_out, device=device, dtype=torch.float32)
    if backwards is not None:
        position = torch.where(backwards.view(-1, 1), size_out - 1 - position, position)
    center = (position + 0.5) * scale - 0.5
    base = center.floor()
    # the four taps of each output pixel, at base - 1 ... base + 2
    weights = F.embedding(((center - base) * TABLE_SIZE).round().long(), _tap_weights(device))
    taps = base.long().unsqueeze(-1) + torch.arange(-1, 3, device=device)
    weights = weights.mul_((taps >= 0).logical_and_(taps < length.view(-1, 1, 1)))
    weights = weights.div_(weights.sum(dim=-1, keepdim=True))
    index = taps.add_(start.view(-1, 1, 1)).clamp_(0, size_in - 1)
    matrix = torch.zeros(len(start), size_out, size_in, device=device)
    return matrix.scatter_add_(2, index, weights)


@cache
def _tap_weights(device: torch.device) -> Tensor:
    """(TABLE_SIZE + 1, 4): for each offset, of the taps at distances 1 + offset, offset, 1 - offset and 2 - offset."""
    offset = torch.arange(TABLE_SIZE + 1, device=device, dtype=torch.float32) / TABLE_SIZE
    return torch.stack([_far(1 + offset), _near(offset), _near(1 - offset), _far(2 - offset)], dim=-1)


def _near(x: Tensor) -> Tensor:
    """Keys' kernel at distances from 0 to 1."""
    return ((CUBIC_A + 2) * x - (CUBIC_A + 3)) * x * x + 1


def _far(x: Tensor) -> Tensor:
    """Keys' kernel at distances from 1 to 2."""
    return ((CUBIC_A * x - 5 * CUBIC_A) * x + 8 * CUBIC_A) * x - 4 * CUBIC_A


Window = tuple[Tensor, Tensor, Tensor, Tensor]
"""Top, left, height and width (N,) int64 of one window in each image."""


def crop_resize(
    images: Tensor, window: Window, size: int, flip: Tensor | None = None, vertical_flip: Tensor | None = None
) -> Tensor:
    """Crop (N, C, H, W) floats, or uint8 as 0 to 255, by one window each; resize to (N, C, size, size) in [0, 1]."""
    top, left, height, width = window
    rows = resize_matrix(top, height, images.shape[2], size, vertical_flip)
    columns = resize_matrix(left, width, images.shape[3], size, flip)
    if images.dtype == torch.uint8:
        rows.div_(255)
    return rows_image_columns(rows, images, columns)


def rows_image_columns(rows: Tensor, images: Tensor, columns: Tensor) -> Tensor:
    """rows @ image @ columns^T, clipped to [0, 1]: (N, A, H), (N, C, H, W), (N, B, W) -> (N, C, A, B).

    The channels of an image share its matrices, so each side is one product per image; the copies that bring the
    channels between rows and columns cost a tenth of what the products of single channels would.
    """
    n, c, h, w = images.shape
    dtype = images.dtype if images.is_floating_point() else rows.dtype
    x = torch.empty(n, h, c, w, dtype=dtype, device=images.device).copy_(images.permute(0, 2, 1, 3))
    x = torch.bmm(rows.to(dtype), x.view(n, h, c * w)).view(n, -1, w)
    x = torch.bmm(x, columns.to(dtype).transpose(1, 2)).view(n, rows.shape[1], c, -1).permute(0, 2, 1, 3)
    out = torch.empty(x.shape, dtype=dtype, device=images.device)
    return torch.clamp(x, 0, 1, out=out)
