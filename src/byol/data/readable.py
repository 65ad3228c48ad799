"""Images that can be read: one that cannot is replaced by the next one that can."""

import time
from collections.abc import Callable
from itertools import chain

from torch import Tensor

from byol.data.sources.base import Source
from byol.errors import BadImage, UnreachableImage, UserError

__all__ = ["ReadableImages"]

RETRY_SECONDS = (0.1, 0.5, 2.0)
"""Pauses before an image that the system does not deliver is asked for again."""
UNREACHABLE_IN_A_ROW = 8
"""Images that the system does not deliver, one after the other, that mean the disk is gone and not a file."""


class ReadableImages:
    """The images of a source, each by its number or the next one up that can be read. Safe to use from many threads.

    The replacement depends on the source alone, so every thread and every process finds the same. An image that cannot
    be decoded is left out for good. One that the system does not deliver is asked for again next time.

    Args:
        source: where the images are.
        on_bad: called with a line for each image that cannot be read: where it is, a tab, and why. Once per image,
            or once per thread where several find it at the same time.
    """

    def __init__(self, source: Source, on_bad: Callable[[str], None] = lambda line: None) -> None:
        self._source, self._on_bad = source, on_bad
        self._bad: set[int] = set()

    def image(self, index: int, shrink_to: int | None = None) -> tuple[int, Tensor]:
        """The number of the image that is taken, and the image as (C, H, W); see `Source.image`.

        Raises:
            UserError: no image of the source can be read, or the system does not deliver many in a row.
        """
        count = len(self._source)
        unreachable: list[str] = []
        for candidate in chain(range(index, count), range(index)):
            if candidate in self._bad:
                continue
            try:
                image = self._patiently(candidate, shrink_to, RETRY_SECONDS if not unreachable else ())
            except UnreachableImage as error:
                unreachable.append(f"{self._source.where(candidate)}\t{error}")
                if len(unreachable) >= UNREACHABLE_IN_A_ROW:
                    raise UserError(
                        f"{len(unreachable)} images of {self._source.name} in a row {error}; see whether their disk is "
                        "still there."
                    ) from error
                continue
            except BadImage as error:
                self._bad.add(candidate)
                self._on_bad(f"{self._source.where(candidate)}\t{error}")
                continue
            for line in unreachable:  # a file that is gone, not its disk
                self._on_bad(line)
            return candidate, image
        raise UserError(f"No image of {self._source.name} can be read; check the path and the files.")

    def _patiently(self, index: int, shrink_to: int | None, pauses: tuple[float, ...]) -> Tensor:
        """An image, asked for again after each pause if the system does not deliver it."""
        for pause in pauses:
            try:
                return self._source.image(index, shrink_to=shrink_to)
            except UnreachableImage:
                time.sleep(pause)
        return self._source.image(index, shrink_to=shrink_to)
