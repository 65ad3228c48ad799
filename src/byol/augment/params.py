"""The random numbers of a batch of views, by operation, and the two distributions they come from."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Numbers = dict[str, Tensor]
"""What one operation draws for N images: named tensors on the CPU, the batch first in each.

The key "applied", (N,) bool, says which images the operation is applied to."""

Values = dict[str, Any]
"""The same for some images that are worked on: (n,) tensors on the images' device, or plain numbers of one image."""

OneImage = dict[str, Values]
"""One image's numbers by operation, as plain numbers: on a single image an operation is faster with them."""


@dataclass(frozen=True)
class ViewParams:
    """The numbers drawn for one view of each of N images.

    They fix the pixels on any device: golden vectors test them, and a resumed run draws them again.
    """

    numbers: dict[str, Numbers]
    """By name of the operation; operations that draw nothing are absent."""

    def __len__(self) -> int:
        return next((len(t) for numbers in self.numbers.values() for t in numbers.values()), 0)

    def __getitem__(self, part: slice | Tensor) -> "ViewParams":
        """The numbers of some images."""
        return ViewParams({name: pick(numbers, part) for name, numbers in self.numbers.items()})

    def one_by_one(self) -> list[OneImage]:
        """Each image's numbers by themselves."""
        columns = {name: {key: t.tolist() for key, t in numbers.items()} for name, numbers in self.numbers.items()}
        return [
            {name: {key: column[i] for key, column in values.items()} for name, values in columns.items()}
            for i in range(len(self))
        ]

    @staticmethod
    def join(*views: "ViewParams") -> "ViewParams":
        """The numbers of several batches, one batch after the other."""
        return ViewParams(
            {
                name: {key: torch.cat([view.numbers[name][key] for view in views]) for key in numbers}
                for name, numbers in views[0].numbers.items()
            }
        )


def pick(numbers: Numbers, part: slice | Tensor) -> Numbers:
    """One operation's numbers for some images."""
    return {key: t[part] for key, t in numbers.items()}


def per_image(value: Tensor | float) -> Tensor | float:
    """A number per image, ready to be combined with (N, C, H, W); a plain number of one image as it is."""
    return value.view(-1, 1, 1, 1) if isinstance(value, Tensor) else value


def chance(probability: float, count: int, generator: torch.Generator) -> Tensor:
    """(N,) bool, each true with the probability."""
    return torch.rand(count, generator=generator) < probability


def uniform(low: float, high: float, count: int, generator: torch.Generator) -> Tensor:
    """(N,) float32, uniform in [low, high)."""
    return low + (high - low) * torch.rand(count, generator=generator)
