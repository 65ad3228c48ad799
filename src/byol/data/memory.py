"""Small data sets are decoded once and kept in memory."""

import math
from dataclasses import dataclass
from itertools import chain
from threading import Lock

import torch
from torch import Tensor

from byol.data.prefetch import prefetch_map
from byol.data.sources.base import Source
from byol.data.survey import Survey
from byol.errors import BadImage, UserError
from byol.runtime.threads import single_threaded_pool

SHARE_OF_FREE = 0.25
"""Share of the free memory that decoded images may take, as far as a survey can tell."""
STOP_AT_SHARE = 0.5
"""Share of the free memory at which decoding stops, where images turn out to take more than the survey could tell."""
WHOLE_SIDE = 128
"""Longest side of images that are cropped as a batch on a CPU; larger ones are cropped one by one, antialiased."""
TASK_IMAGES = 64
"""Images that one task decodes: a task costs more than a small JPEG."""


@dataclass(frozen=True)
class DecodedImages:
    """All images of a source that can be read, decoded."""

    images: Tensor | list[Tensor]
    """One tensor (N, C, H, W) where all sizes agree, else N tensors (C, H, W); uint8, or float32 in [0, 1]."""
    source: Source
    """The images that could be read, in the same order."""
    bad: list[str]
    """A line for each image that could not be read: where it is, a tab, and why."""


def bytes_decoded(survey: Survey) -> int:
    """Bytes of all images once decoded, as a survey estimates them."""
    return round(survey.count * survey.image_bytes)


def fits(survey: Survey, free_bytes: int) -> tuple[bool, str]:
    """Whether the decoded images may be kept in memory, and the reason in words."""
    need, may = bytes_decoded(survey), int(SHARE_OF_FREE * free_bytes)
    verb = "fits in" if need <= may else "exceeds"
    return need <= may, f"{human_bytes(need)} decoded {verb} a quarter of the free memory ({human_bytes(may)})"


def human_bytes(count: float) -> str:
    """A number of bytes with a unit, such as `1.5 MB` (10^6 bytes)."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


class TooManyBytes(Exception):  # noqa: N818  (it says what there is, and is no error of anyone)
    """Decoded images take more memory than they may; the message says how much, in words."""


def decode_all(source: Source, workers: int, shrink_to: int, most_bytes: float = math.inf) -> DecodedImages:
    """Decode a whole source; images that cannot be read are left out.

    Args:
        source: where the images are.
        workers: threads that decode.
        shrink_to: JPEGs may be decoded smaller while their shorter side stays at least so many pixels.
        most_bytes: decoding stops where the images take more.

    Raises:
        TooManyBytes: they do.
        UserError: more than half of the images cannot be read.
    """

    held, counting = 0, Lock()

    def read(index: int) -> Tensor | str:
        nonlocal held
        try:
            image = source.image(index, shrink_to=shrink_to)
        except BadImage as error:
            return f"{source.where(index)}\t{error}"
        with counting:
            held += image.nbytes
            if held > most_bytes:
                raise TooManyBytes(f"decoded images exceed {human_bytes(most_bytes)}, more than a sample could tell")
        return image

    def read_task(start: int) -> list[Tensor | str]:
        return [read(index) for index in range(start, min(start + TASK_IMAGES, len(source)))]

    images: list[Tensor] = []
    good: list[int] = []
    bad: list[str] = []
    with single_threaded_pool(workers, "decode") as pool:
        starts = range(0, len(source), TASK_IMAGES)
        tasks = prefetch_map(pool, read_task, starts, ahead=len(starts))
        for index, result in enumerate(chain.from_iterable(tasks)):
            if isinstance(result, str):
                bad.append(result)
            else:
                images.append(result)
                good.append(index)
    if len(bad) > len(source) / 2:
        raise UserError(
            f"{len(bad)} of {len(source)} images of {source.name} cannot be read, for example {bad[0]!r}; "
            "check the path and the files."
        )
    readable = source.subset(good) if bad else source
    stackable = len({(image.shape, image.dtype) for image in images}) == 1
    return DecodedImages(torch.stack(images) if stackable else images, readable, bad)
