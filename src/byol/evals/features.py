"""Features of a frozen encoder over a source of images."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byol import machine
from byol.augment.apply import as_float, normalise_images
from byol.augment.crop import EVALUATION_SHARE, center_window
from byol.data.decode import BadImage
from byol.data.sources import Source, TensorSource
from byol.networks import features_of
from byol.threads import lone_workers

SMALL_SIDE = 64
"""Images up to this size are looked at whole; larger ones through the protocol's central crop."""


@dataclass(frozen=True, kw_only=True)
class Transform:
    """How an evaluation looks at an image: one deterministic crop, then the normalisation of training."""

    image_size: int
    """Side of what the encoder sees, in pixels."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    region: Literal["center", "short-side"] = "center"
    """`center`: the central 7/8 of the shorter side, the paper's "shorter side to 256, centre 224" (Appendix C.1).
    `short-side`: the central square of the whole shorter side, as linear transfer resizes (Appendix D.2)."""

    @property
    def decode_side(self) -> int:
        """Shortest side that a JPEG may be decoded to without losing detail."""
        return self.image_size if self.region == "short-side" else math.ceil(self.image_size / EVALUATION_SHARE)

    def crop(self, image: Tensor) -> Tensor:
        """(C, H, W) -> (C, S, S), uint8 staying uint8, by an antialiased bicubic filter.

        Images of at most 64 px are taken whole, as they are small because someone cropped them already.
        """
        height, width = image.shape[1:]
        if (height, width) == (self.image_size, self.image_size):
            return image
        if max(height, width) > SMALL_SIDE:
            top, left, side = self._window(height, width)
            image = image[:, top : top + side, left : left + side]
        size = (self.image_size, self.image_size)
        resized = F.interpolate(image.unsqueeze(0), size=size, mode="bicubic", antialias=True, align_corners=False)[0]
        return resized if resized.dtype == torch.uint8 else resized.clamp_(0, 1)

    def _window(self, height: int, width: int) -> tuple[int, int, int]:
        if self.region == "center":
            return center_window(height, width)
        side = min(height, width)
        return (height - side) // 2, (width - side) // 2, side

    def normalise(self, images: Tensor) -> Tensor:
        """(N, C, S, S) uint8 or float in [0, 1] -> normalised float32."""
        return normalise_images(as_float(images), self.mean, self.std)


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
        encoder: from normalised images (N, C, S, S) to features; left in the mode it came in.
        source: the images, and their labels if they have any.
        transform: how images are cropped and normalised.
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
                batch = transform.normalise(images.to(device, non_blocking=True))
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

    with lone_workers(workers, "decode") as pool:
        starts = list(range(0, len(source), batch_size))
        waiting = [pool.submit(read, start) for start in starts[: workers + 1]]
        for number in range(len(starts)):
            found, images = waiting.pop(0).result()
            following = number + workers + 1
            if following < len(starts):
                waiting.append(pool.submit(read, starts[following]))
            if found:
                yield found, images
