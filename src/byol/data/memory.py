"""Hold a small set in memory, decoded once."""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from byol.data.formats.decode import BadImage
from byol.data.sources.open import Source
from byol.data.survey import Survey
from byol.errors import UserError
from byol.runtime.threads import single_threaded_pool

SHARE_OF_FREE = 0.25
"""Part of the free memory that decoded images may take."""
WHOLE_SIDE = 128
"""Longest side of images that are cropped as a batch on a CPU; larger ones are cropped one by one, antialiased."""


@dataclass(frozen=True)
class DecodedImages:
    """Decoded images and where they came from."""

    images: Tensor | list[Tensor]
    """One tensor (N, C, H, W) where all sizes agree, else N tensors (C, H, W); uint8, or float32 in [0, 1]."""
    source: Source
    """The images that could be read, in the same order."""
    bad: list[str]
    """A line for each image that could not: where it is, and why."""


def bytes_decoded(survey: Survey) -> int:
    """Memory that all images take once decoded, from the sizes seen in a survey."""
    values = survey.count * survey.channels * survey.height_median * survey.width_median
    return int(values) * (1 if survey.depth == "8-bit" else 4)


def fits(survey: Survey, free_bytes: int) -> tuple[bool, str]:
    """Whether a set is decoded into memory, and the reason in words."""
    need, may = bytes_decoded(survey), int(SHARE_OF_FREE * free_bytes)
    verb = "fits in" if need <= may else "exceeds"
    return need <= may, f"{human_bytes(need)} decoded {verb} a quarter of the free memory ({human_bytes(may)})"


def human_bytes(count: float) -> str:
    """A number of bytes as people write it."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def decode_all(
    source: Source, workers: int, shrink_to: int, progress: Callable[[int], None] = lambda done: None
) -> DecodedImages:
    """Decode a whole source, passing over images that cannot be read.

    Args:
        source: where the images are.
        workers: threads that decode.
        shrink_to: JPEGs may be decoded smaller while their shorter side stays at least so long.
        progress: told how many images are done.

    Raises:
        UserError: more than half of the images cannot be read.
    """

    def read(index: int) -> Tensor | str:
        try:
            return source.image(index, shrink_to=shrink_to)
        except BadImage as error:
            return f"{source.where(index)}\t{error}"

    images: list[Tensor] = []
    good: list[int] = []
    bad: list[str] = []
    with single_threaded_pool(workers, "decode") as pool:
        for index, result in enumerate(_map_in_order(pool, read, len(source))):
            if isinstance(result, str):
                bad.append(result)
            else:
                images.append(result)
                good.append(index)
            if index % 256 == 0:
                progress(index)
    progress(len(source))
    if len(bad) > len(source) / 2:
        raise UserError(
            f"{len(bad)} of {len(source)} images of {source.name} cannot be read, for example {bad[0]!r}; "
            "check the path and the files."
        )
    kept = source.subset(good) if bad else source
    one_kind = len({(image.shape, image.dtype) for image in images}) == 1
    return DecodedImages(torch.stack(images) if one_kind else images, kept, bad)


Result = TypeVar("Result")


def _map_in_order(pool: Executor, function: Callable[[int], Result], count: int) -> Iterator[Result]:
    """Like `pool.map`, with one task per 64 images: a task costs more than a small JPEG."""

    def part(start: int) -> list[Result]:
        return [function(i) for i in range(start, min(start + 64, count))]

    for results in pool.map(part, range(0, count, 64)):
        yield from results
