"""Labeled training images with the protocol's spatial augmentation: a random crop and a flip, nothing else."""

from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from byol.augment.draw import draw_spatial
from byol.augment.normalize import as_float
from byol.augment.params import ViewParams
from byol.augment.views import make_views
from byol.config.views import Normalization, ViewConfig
from byol.data.crop import crop_one, shrink_side
from byol.data.memory import STOP_AT_SHARE, WHOLE_SIDE, TooManyBytes, decode_all, fits
from byol.data.order import EpochOrder
from byol.data.readable import ReadableImages
from byol.data.sources.open import Source, TensorSource
from byol.data.survey import survey
from byol.data.transform import Transform
from byol.evals.labels import LabeledSource, as_tensor
from byol.runtime.device import cores, free_memory
from byol.runtime.seeds import generator_of
from byol.runtime.threads import single_threaded_pool

SPATIAL = ViewConfig()
"""Random crop and flip (arXiv:2006.07733, Appendix C.1) as in pretraining; nothing else of it is applied."""


@dataclass(frozen=True)
class TrainingViews:
    """Batches of crops and labels from a labeled source; decoded once where memory allows."""

    source: Source
    labels: Tensor
    """(N,) int64, or (N, C) where an image has many."""
    transform: Transform
    device: torch.device
    held: Tensor | list[Tensor] | None
    """Decoded images, or None where each is read anew."""

    def __len__(self) -> int:
        return len(self.source)

    def subset(self, indices: list[int]) -> "TrainingViews":
        """The same, of some images; nothing is decoded again."""
        chosen = torch.tensor(indices, dtype=torch.long)
        held: Tensor | list[Tensor] | None = None
        if isinstance(self.held, Tensor):
            held = self.held[chosen.to(self.held.device)]
        elif self.held is not None:
            held = [self.held[index] for index in indices]
        return TrainingViews(self.source.subset(indices), self.labels[chosen], self.transform, self.device, held)

    def batches(self, batch_size: int, steps: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Normalized crops (n, C, S, S) and labels, on the device; one epoch follows the other.

        The numbers are a function of the seed and the step, as in pretraining.
        """
        order, readable = EpochOrder(len(self), seed, self.source.shards), ReadableImages(self.source)
        with single_threaded_pool(cores(), "decode") as pool:
            for step in range(steps):
                params = draw_spatial(SPATIAL, batch_size, partial(generator_of, seed, "crops", step))
                yield self._batch(pool, readable, order.indices(step, batch_size), params)

    def _batch(
        self, pool: Executor, readable: ReadableImages, indices: Tensor, params: ViewParams
    ) -> tuple[Tensor, Tensor]:
        size, normalization = self.transform.image_size, Normalization(self.transform.mean, self.transform.std)
        if isinstance(self.held, Tensor):
            images = self.held[indices.to(self.held.device)].to(self.device)
            (views,) = make_views((images,), (params,), normalization, (size,))
            return views, self.labels[indices].to(self.device)

        def crop(row: int) -> tuple[Tensor, int]:
            index, image = self._image(readable, int(indices[row]))
            return crop_one(image, params[row : row + 1], size), index

        made = list(pool.map(crop, range(len(indices))))
        crops = torch.stack([as_float(image) for image, _ in made]).to(self.device)
        labels = self.labels[torch.tensor([index for _, index in made])].to(self.device)
        (views,) = make_views((crops,), (params,), normalization)
        return views, labels

    def _image(self, readable: ReadableImages, index: int) -> tuple[int, Tensor]:
        """The number of an image and the image, or those of the next one that can be read."""
        if self.held is not None:
            return index, self.held[index]
        return readable.image(index, shrink_side(self.transform.image_size))


def training_views(train: LabeledSource, transform: Transform, device: torch.device) -> TrainingViews:
    """Prepare labeled images for training: decode them once if memory allows.

    Args:
        train: the images.
        transform: size and normalization of the crops.
        device: where batches go.
    """
    source, labels = train.images, as_tensor(train.labels)
    if isinstance(source, TensorSource):
        return TrainingViews(source, labels, transform, device, source.images)
    free = free_memory(torch.device("cpu"))
    if not fits(survey(source), free)[0]:
        return TrainingViews(source, labels, transform, device, None)
    try:
        held = decode_all(source, cores(), shrink_side(transform.image_size), STOP_AT_SHARE * free)
    except TooManyBytes:
        return TrainingViews(source, labels, transform, device, None)
    images = held.images
    if isinstance(images, Tensor) and max(images.shape[2:]) > WHOLE_SIDE and device.type == "cpu":
        images = list(images)  # cropped one by one, antialiased
    if held.bad:
        bad = {line.split("\t")[0] for line in held.bad}
        kept = torch.tensor([index for index in range(len(source)) if source.where(index) not in bad])
        return TrainingViews(held.source, labels[kept], transform, device, images)
    return TrainingViews(source, labels, transform, device, images)
