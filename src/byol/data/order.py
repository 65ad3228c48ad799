"""Which image comes when: a pure function of (seed, epoch), and of the shards where images are read one after another.

No order has a state. The images of any step follow from the seed and the step alone, so a resumed run needs nothing
else, and every process can compute the whole batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from byol.runtime.seeds import generator_of

__all__ = ["EpochOrder", "Shards", "order_of_epoch", "sharded_order_of_epoch"]


@dataclass(frozen=True)
class Shards:
    """Images that are stored shard after shard, and are read from the front of each shard to its end."""

    sizes: Sequence[int]
    """Images in each shard. The first shard has the images from number 0 on, the next one those that follow."""
    window: int
    """Images among which a shuffle buffer chooses; 1 keeps the order within a shard."""

    def __post_init__(self) -> None:
        assert self.sizes, "there is a shard"
        assert min(self.sizes) >= 0, "no shard has fewer than no images"
        assert self.window >= 1, "a window holds an image"


class EpochOrder:
    """The order of images over all epochs: one epoch follows the other, and each is a permutation of all images.

    Args:
        images: how many there are.
        seed: of the run.
        shards: None shuffles all images, for sources that read any image equally fast. Otherwise the shards come in
            a random order, and images are shuffled within a moving window.
    """

    def __init__(self, images: int, seed: int, shards: Shards | None = None) -> None:
        assert images > 0, "there is an image"
        assert shards is None or sum(shards.sizes) == images, "every image is in a shard"
        self.images, self.seed, self.shards = images, seed, shards
        self._last: tuple[int, Tensor] | None = None

    def indices(self, step: int, batch_size: int) -> Tensor:
        """(batch_size,) int64: the images of a step's batch. A batch may span two epochs or more."""
        return self.take(step * batch_size, batch_size)

    def take(self, start: int, count: int) -> Tensor:
        """(count,) int64: `count` images, after `start` images have come since the beginning of epoch 0."""
        parts = [torch.empty(0, dtype=torch.long)]
        while count:
            epoch, position = divmod(start, self.images)
            parts.append(self.epoch(epoch)[position : position + count])
            start, count = start + len(parts[-1]), count - len(parts[-1])
        return torch.cat(parts)

    def epoch(self, epoch: int) -> Tensor:
        """(images,) int64: the order of one epoch. The last one that was asked for is kept."""
        if self._last is None or self._last[0] != epoch:
            self._last = epoch, self._compute(epoch)
        return self._last[1]

    def _compute(self, epoch: int) -> Tensor:
        if self.shards is None:
            return order_of_epoch(epoch, seed=self.seed, images=self.images)
        return sharded_order_of_epoch(epoch, seed=self.seed, shards=self.shards)


def order_of_epoch(epoch: int, *, seed: int, images: int) -> Tensor:
    """(images,) int64: a random permutation of all images."""
    return torch.randperm(images, generator=generator_of(seed, "order", epoch))


def sharded_order_of_epoch(epoch: int, *, seed: int, shards: Shards) -> Tensor:
    """(images,) int64: a permutation for images that are read shard after shard.

    The shards come in a random order. Read so from the first to the last, image p gets the key p + u, where u is
    uniform in [0, window), and images come out in the order of their keys. So every image comes out fewer than `window`
    places from where it is read, and a reader never holds more than `window` images.
    """
    starts = list(accumulate(shards.sizes, initial=0))
    drawn = torch.randperm(len(shards.sizes), generator=generator_of(seed, "shards", epoch)).tolist()
    read = torch.cat([torch.arange(starts[shard], starts[shard + 1]) for shard in drawn])
    jitter = torch.rand(len(read), dtype=torch.float64, generator=generator_of(seed, "window", epoch))
    keys = torch.arange(len(read), dtype=torch.float64) + shards.window * jitter
    return read[keys.argsort(stable=True)]
