"""A micro-batch of one process: as it leaves the loader, and as a method is given it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from byol.augment.fused import fused_views
from byol.augment.params import ViewParams
from byol.augment.views import make_views
from byol.config.views import Normalization, ViewSpec


@dataclass(frozen=True)
class Batch:
    """What a method is given, on the device of training."""

    views: tuple[Tensor, ...]
    """Normalized views, (N, C, S, S) each with its own side S; row i of all of them is the same image."""
    labels: Tensor | None = None
    """(N,) int64, where the method needs labels."""
    index: Tensor | None = None
    """(N,) int64: the number of each image in the training set, where the method needs it."""
    draws: Tensor | None = None
    """(N, K) float32 uniform in [0, 1), where the method needs numbers that it draws itself."""

    def augmented(self) -> "Batch":
        """Itself."""
        return self

    def tensors(self) -> tuple[Tensor, ...]:
        """The views in PyTorch's fast memory format, then labels, index and draws where they are there."""
        views = tuple(view.contiguous(memory_format=torch.channels_last) for view in self.views)
        return (*views, *(extra for extra in (self.labels, self.index, self.draws) if extra is not None))

    @staticmethod
    def of(tensors: Sequence[Tensor], needs: Collection[str]) -> "Batch":
        """The batch of some `tensors`, where it carries what `needs` names."""
        views = tuple(tensors[: len(tensors) - len(needs)])
        extras = iter(tensors[len(views) :])
        labels = next(extras) if "labels" in needs else None
        index = next(extras) if "index" in needs else None
        return Batch(views, labels, index, next(extras) if "draws" in needs else None)


@dataclass(frozen=True)
class CropBatch:
    """One micro-batch before augmentation: uint8, or float32 in [0, 1], on the device of training."""

    images: tuple[Tensor, ...]
    """What each view starts from: crops (N, C, S, S), or for each view the whole images (N, C, H, W)."""
    params: tuple[ViewParams, ...] | None
    """What was drawn for each view; None where the images are the finished views."""
    pipeline: "Pipeline"
    """What makes views of them."""
    whole: bool = False
    """Whether the crops are still to be made."""
    labels: Tensor | None = None
    """(N,) int64 on the device of training, where the method needs labels."""
    index: Tensor | None = None
    """(N,) int64 on the device of training: numbers in the training set, where the method needs them."""
    draws: Tensor | None = None
    """(N, K) float32 on the device of training, where the method needs numbers that it draws itself."""

    def augmented(self) -> Batch:
        """The batch with its views made."""
        if self.params is None:
            return Batch(self.images, self.labels, self.index, self.draws)
        fused = self.pipeline.fused and self.images[0].device.type != "cpu"
        make = fused_views if fused else make_views
        sizes = [view.size for view in self.pipeline.views] if self.whole else None
        views = make(self.images, self.params, self.pipeline.normalization, sizes)
        return Batch(views, self.labels, self.index, self.draws)


@dataclass(frozen=True)
class Pipeline:
    """What is made of every image of a run."""

    views: tuple[ViewSpec, ...]
    """The views of an image."""
    normalization: Normalization
    """Of all views."""
    needs: frozenset[str] = frozenset()
    """What a batch carries besides views, of "labels", "index" and "draws"."""
    fused: bool = False
    """Whether torch.compile makes the views on a GPU."""
    draws: int = 0
    """How many numbers the method draws for each image, where it needs "draws"."""
