"""Features of a frozen encoder over a source of images."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from byol.augment.normalize import as_float
from byol.data.prefetch import prefetch_map
from byol.data.sources.open import Source, TensorSource
from byol.data.transform import Transform
from byol.encoders.build import features_of
from byol.errors import BadImage
from byol.runtime import device as machine
from byol.runtime.threads import single_threaded_pool


@dataclass(frozen=True)
class Features:
    """What an encoder says of a source."""

    values: Tensor
    """(N, D) float32 on the CPU; perhaps backed by a file on the disk."""
    labels: Tensor | None
    """(N,) int64."""
    indices: Tensor
    """(N,) int64: which images of the source these are; unreadable ones are missing."""


def extract(
    encoder: nn.Module,
    source: Source,
    transform: Transform,
    *,
    device: torch.device,
    batch_size: int = 256,
    workers: int = 2,
    autocast: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> Features:
    """Features of every readable image, in the source's order, by an encoder in evaluation mode.

    Args:
        encoder: from normalized images (N, C, S, S) to features; left in the mode it came in.
        source: the images, and their labels if they have any.
        transform: how images are cropped and normalized.
        device: where the encoder is.
        batch_size: images per pass.
        workers: threads that decode.
        autocast: run the encoder in bf16.
        progress: told how many images are done.
    """
    indices: list[int] = []
    values: list[Tensor] = []
    for numbers, block in feature_blocks(
        encoder, source, transform, device=device, batch_size=batch_size, workers=workers, autocast=autocast
    ):
        indices += numbers
        values.append(block)
        progress(len(indices))
    labels = None if source.labels is None else torch.tensor([source.labels[i] for i in indices])
    return Features(torch.cat(values), labels, torch.tensor(indices))


def feature_blocks(
    encoder: nn.Module,
    source: Source,
    transform: Transform,
    *,
    device: torch.device,
    batch_size: int,
    workers: int,
    autocast: bool,
) -> Iterator[tuple[list[int], Tensor]]:
    """Numbers of readable images and their features (n, D) float32 on the CPU, batch by batch; as for `extract`."""
    was_training = encoder.training
    encoder.eval()
    try:
        for indices, images in crops_in_order(source, transform, batch_size, workers):
            with torch.no_grad(), machine.autocast(device, autocast):
                batch = transform.normalize(images.to(device, non_blocking=True))
                block = features_of(encoder, batch.contiguous(memory_format=torch.channels_last)).cpu()
            yield indices, block
    finally:
        encoder.train(was_training)


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
