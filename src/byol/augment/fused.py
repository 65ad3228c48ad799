"""Both views of a batch in a few kernels: for a GPU, where starting an operation may cost more than the operation.

`apply.py` gives every image only the operations that were drawn for it, run by run of images. Here every image goes
through all of them, with a factor that changes nothing where none was drawn: four times the arithmetic, and none of the
bookkeeping, so that `torch.compile` makes one chain of it. On a processor that gains nothing, and it is not used there.
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from byol.augment import apply
from byol.augment.color import adjust_hue, adjust_saturation, solarize, to_grayscale
from byol.augment.draw import BRIGHTNESS, CONTRAST, HUE, SATURATION, ViewParams

Numbers = Tensor
"""(N, 13) float32, what was drawn for each image, as one tensor that travels to the device at once: whether it is
mirrored left and right, top and bottom, jittered, made gray, solarized; the order of its operations; their factors."""
FLIP, VERTICAL_FLIP, JITTER, GRAY, SOLARIZE = range(5)
ORDER, FACTORS = 5, 9


def fused_views(images, params, normalization, sizes=None):  # type: ignore[no-untyped-def]
    raise NotImplementedError


@cache
def compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function that torch.compile has fused, for the shapes of a run."""
    return torch.compile(function, dynamic=False)


def numbers_of(params: ViewParams, flips: bool) -> Numbers:
    """One tensor of what `colored` and `finished` ask for; no image is mirrored where `flips` is false."""
    chosen = torch.stack(
        [params.flip & flips, params.vertical_flip & flips, params.jitter, params.gray, params.solarize]
    )
    return torch.cat([chosen.T, params.order, params.factors], dim=1)


def colored(x: Tensor, numbers: Numbers) -> Tensor:
    """Flips, the four color operations and gray: (N, C, H, W) uint8, or float in [0, 1] -> float in [0, 1]."""
    x = apply.as_float(x)
    x = torch.where(_drawn(numbers, FLIP), x.flip(3), x)
    x = torch.where(_drawn(numbers, VERTICAL_FLIP), x.flip(2), x)
    for turn in range(4):
        x = _operation(x, numbers, _column(numbers, ORDER + turn))
    if x.shape[1] == 3:
        x = torch.where(_drawn(numbers, GRAY), to_grayscale(x), x)
    return x.clamp(0, 1)


def _operation(x: Tensor, numbers: Numbers, code: Tensor) -> Tensor:
    """Whichever of the four each image has the turn of: `code` (N, 1, 1, 1)."""
    jittered = _drawn(numbers, JITTER)

    def factor(which: int, neutral: float) -> Tensor:
        return torch.where(jittered & (code == which), _column(numbers, FACTORS + which), neutral)

    contrast = factor(CONTRAST, 1.0)
    mean = x.mean(dim=(2, 3), keepdim=True)
    x = (x * contrast + mean * (1 - contrast) + factor(BRIGHTNESS, 0.0)).clamp(0, 1)
    if x.shape[1] != 3:
        return x
    x = adjust_saturation(x, factor(SATURATION, 1.0))
    return torch.where(jittered & (code == HUE), adjust_hue(x, _column(numbers, FACTORS + HUE)), x)


def finished(x: Tensor, numbers: Numbers, threshold: float, scale: Tensor, shift: Tensor) -> Tensor:
    """Solarize where that was drawn, and normalize."""
    return torch.where(_drawn(numbers, SOLARIZE), solarize(x, threshold), x).clamp(0, 1) * scale + shift


def _column(numbers: Numbers, which: int) -> Tensor:
    return numbers[:, which].view(-1, 1, 1, 1)


def _drawn(numbers: Numbers, which: int) -> Tensor:
    return _column(numbers, which) > 0
