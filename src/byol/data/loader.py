"""From stored images to the crops of one step: which images, which windows, decoded ahead of time.

Which images a step takes, and every number of their views, is a function of (seed, step) for the whole batch; a
process and a micro-batch take their part of it. So resume needs no state, and the number of processes changes nothing.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from byol.augment.crop import crop_window
from byol.augment.draw import draw_view
from byol.augment.fused import fused_views
from byol.augment.params import OneImage, ViewParams
from byol.augment.views import is_large, make_views, make_views_of_one
from byol.config.run import PretrainConfig
from byol.data.crop_buffer import CropBuffer
from byol.data.formats.decode import BadImage
from byol.data.memory import SHARE_OF_FREE, WHOLE_SIDE
from byol.data.sources.open import Source
from byol.data.upload import Upload
from byol.runtime.device import free_memory
from byol.runtime.seeds import generator_of
from byol.runtime.threads import single_threaded_pool

AHEAD = 2
"""Batches that are decoded before a GPU asks for them. None for a processor: its cores are busy with the step, and
decoding threads between them cost more than they save (benchmarks/throughput.py, resnet50-224)."""
TASK_IMAGES = 4
"""Images that one decoding task takes."""


def order_of_epoch(epoch: int, *, seed: int, images: int) -> Tensor:
    """The order in which an epoch goes through the images."""
    return torch.randperm(images, generator=generator_of(seed, "order", epoch))


@dataclass(frozen=True)
class Batch:
    """One micro-batch of one process, before augmentation: uint8, or float32 in [0, 1], on the device of training."""

    images: tuple[Tensor, Tensor]
    """What each view starts from: crops (N, C, S, S), or twice the whole images (N, C, H, W)."""
    params: tuple[ViewParams, ViewParams] | None = None
    """What was drawn for each view; None where the images are the finished views."""
    whole: bool = False
    """Whether the crops are still to be made."""
    labels: Tensor | None = None
    """(N,) int64 on the device of training, where the method asks for them."""

    @property
    def made(self) -> bool:
        """Whether the images are the finished views."""
        return self.params is None

    def views(self, config: PretrainConfig) -> tuple[Tensor, Tensor]:
        """Two normalized views, (N, C, S, S) float32 each."""
        if self.params is None:
            return self.images
        fused = config.optim.compile and self.images[0].device.type != "cpu"
        make = fused_views if fused else make_views
        sizes = [spec.size for spec in config.augment.views(config.image_size)] if self.whole else None
        view1, view2 = make(self.images, self.params, config.augment.normalization, sizes)
        return view1, view2


@dataclass
class Loader:
    """The batches of a run, from any step on.

    Args:
        source: where the images are; read from only where `held` is None.
        config: batch size, image size, augmentation, seed, micro-batches.
        device: where batches go.
        workers: threads that decode and crop.
        held: the decoded images, if they are in memory: (N, C, H, W), or N tensors (C, H, W).
        rank, world_size: this process among how many.
    """

    source: Source
    config: PretrainConfig
    device: torch.device
    workers: int
    held: Tensor | list[Tensor] | None = None
    rank: int = 0
    world_size: int = 1
    on_bad: Callable[[str], None] = lambda line: None
    """Told of each image that cannot be read, once: where it is, a tab, and why."""
    ahead: int | None = None
    """Batches that are decoded before they are asked for; by default `AHEAD` for a GPU, none for a processor."""
    _labels: Tensor | None = None
    _bad: set[int] = field(default_factory=set)
    _order: tuple[int, Tensor] | None = None
    _upload: Upload = field(init=False)

    def __post_init__(self) -> None:
        self._upload = Upload(self.device)
        if self.config.method == "supervised":
            assert self.source.labels is not None, "labels are asked for before anything is loaded"
            self._labels = torch.tensor(self.source.labels)
        if isinstance(self.held, Tensor) and self.device.type != "cpu":
            size = self.held.numel() * self.held.element_size()
            if size <= SHARE_OF_FREE * free_memory(self.device):
                self.held = self.held.to(self.device)

    @property
    def crops_on_device(self) -> bool:
        """Whether whole images go to the device in batches, and are cropped there."""
        if not isinstance(self.held, Tensor):
            return False
        return self.device.type != "cpu" or max(self.held.shape[2:]) <= WHOLE_SIDE

    @property
    def views_in_threads(self) -> bool:
        """Whether the thread that decodes an image makes its views too: of large ones, on a processor. A second thread
        that works on them elsewhere would wait for the interpreter again and again. Micro-batches keep their crops,
        in bytes, until it is their turn: all their views at once would take four times the memory."""
        side, channels = self.config.image_size, len(self.config.augment.mean)
        one = self.device.type == "cpu" and self.config.optim.accumulate == 1 and not self.crops_on_device
        return one and is_large(channels, side, side)

    @property
    def decodes_ahead(self) -> int:
        """Batches that are decoded before they are asked for."""
        if self.crops_on_device:
            return 0
        return self.ahead if self.ahead is not None else 0 if self.device.type == "cpu" else AHEAD

    def batches(self, first: int, last: int) -> Iterator[list[Batch]]:
        """Each step's micro-batches, for steps first, first + 1, ... last - 1."""
        if self.crops_on_device:
            for step in range(first, last):
                yield [self._gather(*part) for part in self._parts(step)]
            return
        with single_threaded_pool(self.workers, "decode") as pool:
            waiting: deque[list[Callable[[], Batch]]] = deque()
            ahead = self.decodes_ahead
            for step in range(first, last + ahead):
                if step < last:
                    waiting.append([self._begin(pool, *part) for part in self._parts(step)])
                if step >= first + ahead:
                    yield [finish() for finish in waiting.popleft()]

    def _parts(self, step: int) -> Iterator[tuple[Tensor, ViewParams, ViewParams]]:
        """What this process takes of each micro-batch of a step."""
        config, count = self.config, self.config.batch_size
        indices = self._indices(step)
        params1, params2 = (
            draw_view(spec.config, count, partial(generator_of, config.seed, "views", step, number))
            for number, spec in enumerate(config.augment.views(config.image_size))
        )
        micro = count // config.optim.accumulate
        share = micro // self.world_size
        for start in range(self.rank * share, count, micro):
            part = slice(start, start + share)
            yield indices[part], params1[part], params2[part]

    def _indices(self, step: int) -> Tensor:
        """Which images a step's whole batch takes: one epoch's order follows the other's, so no image is left out."""
        images, start = len(self.source), step * self.config.batch_size
        parts: list[Tensor] = []
        needed = self.config.batch_size
        while needed:
            epoch, position = divmod(start, images)
            parts.append(self._epoch_order(epoch)[position : position + needed])
            start, needed = start + len(parts[-1]), needed - len(parts[-1])
        return torch.cat(parts)

    def _epoch_order(self, epoch: int) -> Tensor:
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, order_of_epoch(epoch, seed=self.config.seed, images=len(self.source))
        return self._order[1]

    def _gather(self, indices: Tensor, params1: ViewParams, params2: ViewParams) -> Batch:
        assert isinstance(self.held, Tensor)
        images = self.held[indices.to(self.held.device, non_blocking=True)]
        if images.device.type != self.device.type:
            images = self._upload(images)
        return Batch((images, images), (params1, params2), whole=True, labels=self._labels_of(indices))

    def _labels_of(self, indices: Tensor) -> Tensor | None:
        return None if self._labels is None else self._labels[indices].to(self.device, non_blocking=True)

    def _begin(self, pool: Executor, indices: Tensor, params1: ViewParams, params2: ViewParams) -> Callable[[], Batch]:
        """Start decoding, a few images a task; what is returned waits for them."""
        parts = [slice(i, i + TASK_IMAGES) for i in range(0, len(indices), TASK_IMAGES)]
        numbers, params = indices.tolist(), [(params1[part], params2[part]) for part in parts]
        shape = len(indices), self.source.channels, self.config.image_size, self.config.image_size
        made = self.views_in_threads
        if made:
            views = torch.empty(shape), torch.empty(shape)
            places = list(zip(*(view.chunk(len(indices)) for view in views), strict=True))
            drawn = list(zip(params1.one_by_one(), params2.one_by_one(), strict=True))
            tasks = [
                pool.submit(self._view_part, numbers[i], p, drawn[i], places[i])
                for i, p in zip(parts, params, strict=True)
            ]
        else:
            pinned = self.device.type == "cuda"
            rows = CropBuffer(shape, pinned), CropBuffer(shape, pinned)
            tasks = [
                pool.submit(self._put_part, numbers[i], p, i.start, rows) for i, p in zip(parts, params, strict=True)
            ]

        def finish() -> Batch:
            found = torch.tensor([index for task in tasks for index in task.result()])
            images = views if made else (self._upload(rows[0].together()), self._upload(rows[1].together()))
            return Batch(images, None if made else (params1, params2), labels=self._labels_of(found))

        return finish

    def _put_part(
        self, indices: list[int], params: tuple[ViewParams, ViewParams], start: int, rows: tuple[CropBuffer, CropBuffer]
    ) -> list[int]:
        """Decode a few images and put their crops into the rows from `start` on; those that were taken."""
        crops = self._crop_part(indices, params)
        for row, (_, *views) in enumerate(crops, start):
            for there, view in zip(rows, views, strict=True):
                there.put(row, view)
        return [index for index, _, _ in crops]

    def _view_part(
        self,
        indices: list[int],
        params: tuple[ViewParams, ViewParams],
        drawn: list[tuple[OneImage, OneImage]],
        out: list[tuple[Tensor, Tensor]],
    ) -> list[int]:
        """Decode and crop a few images and make their views; the numbers of those that were taken."""
        crops = self._crop_part(indices, params)
        for (_, one, two), numbers, places in zip(crops, drawn, out, strict=True):
            make_views_of_one((one.unsqueeze(0), two.unsqueeze(0)), numbers, self.config.augment.normalization, places)
        return [index for index, _, _ in crops]

    def _crop_part(self, indices: list[int], params: tuple[ViewParams, ViewParams]) -> "list[_Crops]":
        taken, images = zip(*(self._image(index) for index in indices), strict=True)
        heights, widths = (torch.tensor([image.shape[dim] for image in images]) for dim in (1, 2))
        views = [torch.stack(crop_window(p.numbers["crop"], heights, widths), dim=1).tolist() for p in params]
        size = self.config.image_size
        return [
            (index, crop(image, one, size), crop(image, two, size))
            for index, image, one, two in zip(taken, images, *views, strict=True)
        ]

    def _image(self, index: int) -> tuple[int, Tensor]:
        """An image and its number, or if it cannot be read those of the next one that can: the same whoever asks."""
        if self.held is not None:
            return index, self.held[index]
        for offset in range(len(self.source)):
            candidate = (index + offset) % len(self.source)
            if candidate in self._bad:
                continue
            try:
                return candidate, self.source.image(candidate, shrink_to=shrink_side(self.config.image_size))
            except BadImage as error:
                self._bad.add(candidate)
                self.on_bad(f"{self.source.where(candidate)}\t{error}")
        raise AssertionError("no image can be read, though the survey found some")


_Crops = tuple[int, Tensor, Tensor]
"""The number of an image, and its crop for either view."""


def shrink_side(image_size: int) -> int:
    """Shortest side that a JPEG is decoded to: twice the views', so that only the smallest crops are enlarged more."""
    return 2 * image_size


def crop_one(image: Tensor, params: ViewParams, size: int) -> Tensor:
    """One image (C, H, W), cropped and resized to (C, size, size), antialiased; uint8 stays uint8.

    The official code does not antialias (utils/dataset.py:201): for images decoded one by one we do, since shrinking
    without it makes patterns that are not in the picture.
    """
    return crop(image, [int(t) for t in crop_window(params.numbers["crop"], image.shape[1], image.shape[2])], size)


def crop(image: Tensor, window: list[int], size: int) -> Tensor:
    """One image (C, H, W), cropped at (top, left, height, width) and resized to (C, size, size)."""
    top, left, height, width = window
    part = image[:, top : top + height, left : left + width].unsqueeze(0)
    resized = F.interpolate(part, size=(size, size), mode="bicubic", antialias=True, align_corners=False)
    return resized[0] if resized.dtype == torch.uint8 else resized[0].clamp_(0, 1)
