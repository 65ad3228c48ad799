"""Features of a frozen encoder over a source of images."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from byol.augment.normalize import as_float
from byol.data.prefetch import prefetch_map
from byol.data.sources.open import Source, TensorSource
from byol.data.transform import Transform
from byol.encoders.build import features_of
from byol.encoders.modes import evaluating
from byol.errors import BadImage
from byol.runtime import device as machine
from byol.runtime.threads import single_threaded_pool


@dataclass(frozen=True)
class Features:
    """The features of a source's readable images."""

    values: Tensor
    """(N, D) float32 on the CPU; may be mapped from a file."""
    indices: Tensor
    """(N,) int64: which images of the source these are; unreadable ones are missing."""

    def with_labels(self, labels: Sequence[int]) -> "LabeledFeatures":
        """The same features with their labels, given one label per image of the source."""
        return LabeledFeatures(self.values, self.indices, torch.tensor([labels[i] for i in self.indices.tolist()]))


@dataclass(frozen=True)
class LabeledFeatures(Features):
    """Features of labeled images."""

    labels: Tensor
    """(N,) int64."""


@dataclass(frozen=True)
class Passes:
    """How the forward passes over a source are computed."""

    device: torch.device
    """Where the encoder is."""
    batch_size: int = 256
    """Images per pass."""
    workers: int = 2
    """Threads that decode."""
    autocast: bool = False
    """Whether the encoder runs in bf16."""


def extract(
    encoder: nn.Module,
    source: Source,
    transform: Transform,
    passes: Passes,
    progress: Callable[[int], None] = lambda done: None,
) -> Features:
    """Compute the features of every readable image, in the source's order, with the encoder in evaluation mode.

    Args:
        encoder: maps normalized images (N, C, S, S) to features; its mode is restored afterwards.
        source: the images.
        transform: how images are cropped and normalized.
        passes: how they are computed.
        progress: receives the number of finished images.
    """
    indices: list[int] = []
    values: list[Tensor] = []
    for numbers, block in feature_blocks(encoder, source, transform, passes):
        indices += numbers
        values.append(block)
        progress(len(indices))
    return Features(torch.cat(values), torch.tensor(indices))


def feature_blocks(
    encoder: nn.Module,
    source: Source,
    transform: Transform,
    passes: Passes,
) -> Iterator[tuple[list[int], Tensor]]:
    """Yield the numbers of readable images and their features (n, D), batch by batch; arguments as for `extract`."""
    with evaluating(encoder):
        for indices, images in crops_in_order(source, transform, passes.batch_size, passes.workers):
            with torch.no_grad(), machine.autocast(passes.device, passes.autocast):
                batch = transform.normalize(images.to(passes.device, non_blocking=True))
                block = features_of(encoder, batch.contiguous(memory_format=torch.channels_last)).cpu()
            yield indices, block


def crops_in_order(
    source: Source, transform: Transform, batch_size: int, workers: int
) -> Iterator[tuple[list[int], Tensor]]:
    """Numbers and crops (N, C, S, S) of a source's readable images, batch by batch, decoded ahead in threads."""
    side = transform.image_size

    def read(start: int) -> tuple[list[int], Tensor]:
        numbers = range(start, min(start + batch_size, len(source)))
        if isinstance(source, TensorSource) and source.images.shape[2:] == (side, side):  # what `crop` leaves alone
            return list(numbers), source.images[numbers.start : numbers.stop]
        readable, crops = [], []
        for number in numbers:
            try:
                crops.append(transform.crop(source.image(number, shrink_to=transform.decode_side)))
            except BadImage:
                continue
            readable.append(number)
        if len({crop.dtype for crop in crops}) > 1:
            crops = [as_float(crop) for crop in crops]
        return readable, torch.stack(crops) if crops else torch.empty(0)

    with single_threaded_pool(workers, "decode") as pool:
        # one more than there are threads, so that each finds work while the encoder has the batch before
        for found, images in prefetch_map(pool, read, range(0, len(source), batch_size), ahead=workers + 1):
            if found:
                yield found, images
