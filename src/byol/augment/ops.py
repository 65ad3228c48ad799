"""The table of operations: a new augmentation is one entry here, and its fields in `ViewConfig`.

`draw.py` walks this table to draw the numbers of a batch, and all three ways to apply them walk it too: a batch and one
image in `apply.py`, few kernels for a GPU in `fused.py`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from byol.augment.color import blur_taps, gaussian_blur, invert_from, solarize, to_grayscale
from byol.augment.jitter import JitterPlan, draw_jitter, jitter_fused, jitter_one
from byol.augment.params import Numbers, Values, chance, uniform
from byol.config.views import ViewConfig

APPLIED = "applied"
"""Key of the (N,) bool tensor in an operation's numbers; false is the value that leaves an image as it is."""

Change = Callable[[Tensor, Values], Tensor]
"""(n, C, H, W) images and their numbers -> images of the same shape."""


class BatchPlan(Protocol):
    """A faster way through a batch for an operation that wants certain images to be neighbors."""

    @property
    def before(self) -> Tensor:
        """(N,) int64: which image must be at each position of the batch."""

    @property
    def after(self) -> Tensor:
        """(N,) int64: which image is at each position of the result."""

    def apply(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape; `x` may be overwritten."""


def _always(_: Tensor) -> bool:
    return True


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation: what it draws, and how it is applied.

    `change` is enough for most: a batch gets it for the images that were drawn, one image with plain numbers, and the
    fused path runs it on all images and keeps the result where it was drawn. The optional fields are faster ways.
    """

    name: str
    """Seeds its numbers, and is their key in `ViewParams`: renaming it changes every run."""
    draw: Callable[[ViewConfig, int, torch.Generator], Numbers] | None
    """Draw for N images, applied or not; None where there is nothing to draw and all images are changed."""
    change: Change
    """Change images that the operation is applied to; values are (n,) tensors on their device, or plain numbers.
    It must not write to the images, unless it draws nothing, or has faster ways for a batch and the fused path."""
    suits: Callable[[Tensor], bool] = _always
    """Whether the operation means anything for images (N, C, H, W) of that shape."""
    in_crop: bool = False
    """Whether crops out of whole images include it (`crop.crop_views`). It is applied to ready crops first, while their
    pixels are as they are stored, uint8 or float."""
    plan: Callable[[Numbers], BatchPlan] | None = None
    """A faster way through a batch."""
    change_all: Change | None = None
    """The fused path's way, of all images; "applied" is among the values."""
    fuses: bool = True
    """Whether torch.compile gains from it. Otherwise the fused path applies it to the images that were drawn alone."""

    def changed(self, x: Tensor, values: Values) -> Tensor:
        """`change`, which must keep the shape of the images."""
        out = self.change(x, values)
        if out.shape != x.shape:
            raise ValueError(
                f"the operation {self.name!r} makes {tuple(out.shape)} of {tuple(x.shape)}; it must keep the shape."
            )
        return out

    def one(self, x: Tensor, values: Values) -> Tensor:
        """Apply to one image (1, C, H, W), which may be overwritten."""
        return self.changed(x, values) if self.is_applied(x, values) else x

    def is_applied(self, x: Tensor, values: Values) -> bool:
        """Whether one image (1, C, H, W) with these plain numbers is changed."""
        return values.get(APPLIED, True) and self.suits(x)

    def all(self, x: Tensor, values: Values) -> Tensor:
        """Apply to a batch without asking on the host which images were drawn; for torch.compile."""
        if not self.suits(x):
            return x
        if self.change_all is not None:
            return self.change_all(x, values)
        changed = self.changed(x, values)
        return torch.where(values[APPLIED].view(-1, 1, 1, 1), changed, x) if APPLIED in values else changed


def is_rgb(x: Tensor) -> bool:
    """Whether images (N, C, H, W) have red, green and blue."""
    return x.shape[1] == 3


def is_blurred(x: Tensor) -> bool:
    """Whether images (N, C, H, W) are tall enough for a blur's kernel of more than one value."""
    return blur_taps(x.shape[2]) > 1


def _never(_: Tensor) -> bool:
    return False


def _draw_crop(config: ViewConfig, count: int, generator: torch.Generator) -> Numbers:
    """Draw a crop's "area" (N,), its share of the image's; "log_aspect" (N,), the logarithm of width over height; and
    "offset" (N, 2) in [0, 1), its position between the first and last possible row and column."""
    narrow, wide = config.aspect
    return {
        "area": uniform(*config.area, count, generator),
        "log_aspect": uniform(math.log(narrow), math.log(wide), count, generator),
        "offset": torch.rand(count, 2, generator=generator),
    }


def _crop_elsewhere(x: Tensor, values: Values) -> Tensor:
    raise AssertionError("crop_views and the loader crop: what they return is changed further")


def _draw_flip(config: ViewConfig, count: int, generator: torch.Generator) -> Numbers:
    return {APPLIED: chance(config.flip, count, generator)}


def _draw_vertical_flip(config: ViewConfig, count: int, generator: torch.Generator) -> Numbers:
    return {APPLIED: chance(config.vertical_flip, count, generator)}


def _draw_grayscale(config: ViewConfig, count: int, generator: torch.Generator) -> Numbers:
    return {APPLIED: chance(config.gray, count, generator)}


def _draw_blur(config: ViewConfig, count: int, generator: torch.Generator) -> Numbers:
    """Draw "applied", and "sigma" (N,), the width of the kernel in pixels."""
    return {APPLIED: chance(config.blur, count, generator), "sigma": uniform(*config.sigma, count, generator)}


def _blur(x: Tensor, values: Values) -> Tensor:
    return gaussian_blur(x, values["sigma"], blur_taps(x.shape[2]))


def _draw_solarize(config: ViewConfig, count: int, generator: torch.Generator) -> Numbers:
    """Draw "applied"; "threshold" (N,) is the setting."""
    threshold = torch.full((count,), config.solarize_threshold, dtype=torch.float64)
    return {APPLIED: chance(config.solarize, count, generator), "threshold": threshold}


def _solarize(x: Tensor, values: Values) -> Tensor:
    return solarize(x, values["threshold"])


def _solarize_all(x: Tensor, values: Values) -> Tensor:
    return torch.where(values[APPLIED].view(-1, 1, 1, 1), invert_from(x, values["threshold"]), x)


CLIP = Operation("clip", None, lambda x, _: x.clamp_(0, 1), change_all=lambda x, _: x.clamp(0, 1))

OPERATIONS: tuple[Operation, ...] = (
    Operation("crop", _draw_crop, _crop_elsewhere, suits=_never, in_crop=True),
    Operation("flip", _draw_flip, lambda x, _: x.flip(3), in_crop=True),
    Operation("vertical_flip", _draw_vertical_flip, lambda x, _: x.flip(2), in_crop=True),
    Operation("color_jitter", draw_jitter, jitter_one, plan=JitterPlan, change_all=jitter_fused),
    Operation("grayscale", _draw_grayscale, lambda x, _: to_grayscale(x), suits=is_rgb),
    CLIP,
    Operation("blur", _draw_blur, _blur, suits=is_blurred, fuses=False),
    Operation("solarize", _draw_solarize, _solarize, change_all=_solarize_all),
    CLIP,
)
"""The official chain (utils/augmentations.py:69-120, :291-430), in its order."""


def geometric() -> list[Operation]:
    """The operations that a crop out of whole images includes."""
    return [operation for operation in OPERATIONS if operation.in_crop]


def others() -> list[Operation]:
    """The operations that follow crops and flips."""
    return [operation for operation in OPERATIONS if not operation.in_crop]
