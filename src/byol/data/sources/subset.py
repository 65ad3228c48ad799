"""Some images of another source."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from byol.data.formats.header import Header
from byol.data.order import Shards
from byol.data.sources.base import Source
from byol.data.sources.digest import digest

__all__ = ["Subset", "checked"]


class Subset(Source):
    """A view of some images of another source.

    Args:
        base: the other source.
        indices: numbers of its images, in the order in which this source has them.
    """

    def __init__(self, base: Source, indices: Sequence[int] | NDArray[np.int64]) -> None:
        self._base = base
        self._indices = checked(indices, len(base))
        self.name = base.name
        self.channels = base.channels
        self.classes = base.classes
        self.labels = None if base.labels is None else [base.labels[index] for index in self._indices.data]
        self.labels_from = base.labels_from
        self.axes = base.axes
        self.shards = _shards(base, self._indices)
        self.groups = None if base.groups is None else [base.groups[index] for index in self._indices.data]

    def __len__(self) -> int:
        return len(self._indices)

    def read(self, index: int) -> bytes:
        return self._base.read(int(self._indices[index]))

    def where(self, index: int) -> str:
        return self._base.where(int(self._indices[index]))

    def image(self, index: int, shrink_to: int | None = None) -> Tensor:
        return self._base.image(int(self._indices[index]), shrink_to)

    def header(self, index: int) -> Header:
        return self._base.header(int(self._indices[index]))

    def stored_bytes(self, index: int) -> int | None:
        return self._base.stored_bytes(int(self._indices[index]))

    def state(self, index: int) -> str:
        return self._base.state(int(self._indices[index]))

    def subset(self, indices: Sequence[int]) -> Source:
        return Subset(self._base, self._indices[checked(indices, len(self))])

    def fingerprint(self) -> str:
        return digest([self._base.fingerprint(), self._indices.tobytes()])


def _shards(base: Source, indices: NDArray[np.int64]) -> Shards | None:
    """What the subset has of each shard; None where it does not go through them from the first to the last."""
    if base.shards is None:
        return None
    shard = np.searchsorted(np.cumsum(base.shards.sizes), indices, side="right")
    if (np.diff(shard) < 0).any():
        return None
    return Shards(np.bincount(shard, minlength=len(base.shards.sizes)).tolist(), base.shards.window)


def checked(indices: Sequence[int] | NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """(N,) image numbers, each of them in [0, count)."""
    chosen = np.array(indices, dtype=np.int64)
    assert not len(chosen) or (chosen.min() >= 0 and chosen.max() < count), f"image numbers must lie in [0, {count})"
    return chosen
