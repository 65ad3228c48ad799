"""From stored images to the batches of a step: which images, which crops, decoded by threads, prefetched for a GPU.

Which images a step takes, and every number of their views, is a function of (seed, step) for the whole batch; a
process and a micro-batch take their part of it. So resume needs no state, and the number of processes changes nothing.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from byol.augment.crop import crop_window
from byol.augment.draw import draw_view
from byol.augment.params import Numbers, ViewParams, pick
from byol.augment.views import is_large, make_views_of_one
from byol.config.run import PretrainConfig
from byol.data.batch import CropBatch, Pipeline
from byol.data.crop import crop, shrink_side
from byol.data.crop_buffer import CropBuffer
from byol.data.memory import SHARE_OF_FREE, WHOLE_SIDE
from byol.data.order import EpochOrder
from byol.data.prefetch import prefetch
from byol.data.readable import ReadableImages
from byol.data.sources.open import Source
from byol.data.upload import Upload
from byol.runtime.device import free_memory
from byol.runtime.distributed import Member
from byol.runtime.seeds import generator_of
from byol.runtime.threads import single_threaded_pool

AHEAD = 2
"""Batches that are prefetched for a GPU. None for a CPU: its cores are busy with the step, and decoding threads between
them cost more than they save (benchmarks/throughput.py, resnet50-224)."""
TASK_IMAGES = 4
"""Images that one decoding task takes."""


@dataclass(frozen=True)
class Storage:
    """Where the images of a run are, and by whom they are decoded."""

    source: Source
    """Read from only where `decoded` is None."""
    workers: int
    """Threads that decode and crop."""
    decoded: Tensor | list[Tensor] | None = None
    """The decoded images, if they are in memory: (N, C, H, W), or N tensors (C, H, W)."""
    on_bad: Callable[[str], None] = lambda line: None
    """Told of each image that cannot be read, once: where it is, a tab, and why."""

    def on_device(self, device: torch.device) -> "Storage":
        """The same, with decoded images in the memory of a GPU where they take a small part of it."""
        if not isinstance(self.decoded, Tensor) or device.type == "cpu" or self.decoded.device == device:
            return self
        if self.decoded.numel() * self.decoded.element_size() > SHARE_OF_FREE * free_memory(device):
            return self
        return Storage(self.source, self.workers, self.decoded.to(device), self.on_bad)


@dataclass(frozen=True)
class Part:
    """What a process takes of a micro-batch."""

    indices: Tensor
    """(n,) int64, the numbers of its images."""
    params: list[ViewParams]
    """What was drawn for each view of them."""
    draws: Tensor | None
    """(n, K) float32: what was drawn for the method itself."""


@dataclass(frozen=True)
class Loader:
    """The batches of a run, from any step on.

    Args:
        storage: where the images are.
        config: batch size, seed, micro-batches.
        pipeline: the views of each image, and what else a batch carries.
        device: where batches go.
        member: which process among how many takes its part of each batch; by default the only one.
        prefetched: batches that are decoded before they are asked for; by default `AHEAD` for a GPU, none for a CPU.
    """

    storage: Storage
    config: PretrainConfig
    pipeline: Pipeline
    device: torch.device
    member: Member = Member()
    prefetched: int | None = None
    _labels: Tensor | None = field(init=False)
    _order: EpochOrder = field(init=False)
    _readable: ReadableImages = field(init=False)
    _upload: Upload = field(init=False)

    def __post_init__(self) -> None:
        source = self.storage.source
        labels = None
        if "labels" in self.pipeline.needs:
            assert source.labels is not None, "labels are asked for before anything is loaded"
            labels = torch.tensor(source.labels)
        parts = {
            "_labels": labels,
            "_order": EpochOrder(len(source), self.config.seed, source.shards),
            "_readable": ReadableImages(source, self.storage.on_bad),
            "_upload": Upload(self.device),
            "storage": self.storage.on_device(self.device),
        }
        for name, value in parts.items():
            object.__setattr__(self, name, value)

    @property
    def crops_on_device(self) -> bool:
        """Whether whole images go to the device in batches, and are cropped there."""
        decoded = self.storage.decoded
        if not isinstance(decoded, Tensor):
            return False
        return self.device.type != "cpu" or max(decoded.shape[2:]) <= WHOLE_SIDE

    @property
    def views_in_threads(self) -> bool:
        """Whether the thread that decodes an image makes its views too: large views on a CPU.

        A second thread that works on them elsewhere would wait for the interpreter again and again. Micro-batches keep
        their crops, in bytes, until it is their turn: all their views at once would take four times the memory.
        """
        side, channels = max(view.size for view in self.pipeline.views), len(self.pipeline.normalization.mean)
        one = self.device.type == "cpu" and self.config.optim.accumulate == 1 and not self.crops_on_device
        return one and is_large(channels, side, side)

    @property
    def prefetches(self) -> int:
        """Batches that are decoded before they are asked for."""
        if self.crops_on_device:
            return 0
        return self.prefetched if self.prefetched is not None else 0 if self.device.type == "cpu" else AHEAD

    def batches(self, first: int, last: int) -> Iterator[list[CropBatch]]:
        """Each step's micro-batches, for steps first, first + 1, ... last - 1."""
        if self.crops_on_device:
            for step in range(first, last):
                yield [self._gather(part) for part in self._parts(step)]
            return
        with single_threaded_pool(self.storage.workers, "decode") as pool:

            def begin(step: int) -> Callable[[], list[CropBatch]]:
                waiting = [self._begin(pool, part) for part in self._parts(step)]
                return lambda: [finish() for finish in waiting]

            yield from prefetch(begin, range(first, last), self.prefetches)

    def _parts(self, step: int) -> Iterator[Part]:
        """What this process takes of each micro-batch of a step."""
        config, count = self.config, self.config.batch_size
        indices = self._order.indices(step, count)
        params = [
            draw_view(view.config, count, partial(generator_of, config.seed, "views", step, number))
            for number, view in enumerate(self.pipeline.views)
        ]
        draws = None
        if "draws" in self.pipeline.needs:
            draws = torch.rand(count, self.pipeline.draws, generator=generator_of(config.seed, "draws", step))
        micro = count // config.optim.accumulate
        share = micro // self.member.world_size
        for start in range(self.member.rank * share, count, micro):
            part = slice(start, start + share)
            yield Part(indices[part], [drawn[part] for drawn in params], None if draws is None else draws[part])

    def _gather(self, part: Part) -> CropBatch:
        """A batch of whole images that are in memory."""
        decoded = self.storage.decoded
        assert isinstance(decoded, Tensor)
        images = decoded[part.indices.to(decoded.device, non_blocking=True)]
        if images.device.type != self.device.type:
            images = self._upload(images)
        return self._batch((images,) * len(part.params), part, whole=True)

    def _begin(self, pool: Executor, taken: Part) -> Callable[[], CropBatch]:
        """Start decoding, a few images a task; returns what waits for the batch."""
        indices, params = taken.indices, taken.params
        numbers, views = indices.tolist(), self.pipeline.views
        parts = [slice(i, i + TASK_IMAGES) for i in range(0, len(indices), TASK_IMAGES)]
        shapes = [(len(indices), self.storage.source.channels, view.size, view.size) for view in views]
        made = self.views_in_threads
        if made:
            finished = [torch.empty(shape) for shape in shapes]
            rows = list(zip(*(view.chunk(len(indices)) for view in finished), strict=True))
            drawn = list(zip(*(p.one_by_one() for p in params), strict=True))
        else:
            buffers = [CropBuffer(shape, pinned=self.device.type == "cuda") for shape in shapes]

        def work(part: slice) -> list[int]:
            """Decode and crop a few images, and put the crops or their views into place; the images taken."""
            found, crops = self._crop(numbers[part], [pick(p.numbers["crop"], part) for p in params])
            for row, image in enumerate(crops, part.start):
                if made:
                    one = [view.unsqueeze(0) for view in image]
                    make_views_of_one(one, drawn[row], self.pipeline.normalization, rows[row])
                else:
                    for buffer, view in zip(buffers, image, strict=True):
                        buffer.put(row, view)
            return found

        tasks = [pool.submit(work, part) for part in parts]

        def finish() -> CropBatch:
            found = torch.tensor([index for task in tasks for index in task.result()])
            read = replace(taken, indices=found)
            if made:
                return self._batch(tuple(finished), read, made=True)
            return self._batch(tuple(self._upload(buffer.together()) for buffer in buffers), read)

        return finish

    def _crop(self, indices: list[int], drawn: list[Numbers]) -> tuple[list[int], list[list[Tensor]]]:
        """The images that are taken for some, and the crops of each for every view, as drawn for it."""
        taken, images = zip(*(self._image(index) for index in indices), strict=True)
        heights, widths = (torch.tensor([image.shape[dim] for image in images]) for dim in (1, 2))
        windows = [torch.stack(crop_window(numbers, heights, widths), dim=1).tolist() for numbers in drawn]
        sizes = [view.size for view in self.pipeline.views]
        return list(taken), [
            [crop(image, window, size) for window, size in zip(of_views, sizes, strict=True)]
            for image, *of_views in zip(images, *windows, strict=True)
        ]

    def _image(self, index: int) -> tuple[int, Tensor]:
        """An image and its number, or if it cannot be read those of the next one that can: the same in every thread."""
        if self.storage.decoded is not None:
            return index, self.storage.decoded[index]
        return self._readable.image(index, shrink_side(max(view.size for view in self.pipeline.views)))

    def _batch(self, images: tuple[Tensor, ...], part: Part, whole: bool = False, made: bool = False) -> CropBatch:
        """The batch of a part: of finished views (`made`), of crops, or of whole images."""
        labels = None if self._labels is None else self._labels[part.indices].to(self.device, non_blocking=True)
        index = part.indices.to(self.device, non_blocking=True) if "index" in self.pipeline.needs else None
        draws = None if part.draws is None else part.draws.to(self.device, non_blocking=True)
        params = None if made else tuple(part.params)
        return CropBatch(images, params, self.pipeline, whole, labels, index, draws)
