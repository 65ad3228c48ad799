"""Images that can be read: one that cannot is replaced by the next one that can."""

from collections.abc import Callable
from itertools import chain

from torch import Tensor

from byol.data.sources.base import Source
from byol.errors import BadImage, UserError

__all__ = ["ReadableImages"]


class ReadableImages:
    """The images of a source, each by its number or the next one up that can be read. Safe to use from many threads.

    The replacement depends on the source alone, so every thread and every process finds the same.

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
            UserError: no image of the source can be read.
        """
        count = len(self._source)
        for candidate in chain(range(index, count), range(index)):
            if candidate in self._bad:
                continue
            try:
                return candidate, self._source.image(candidate, shrink_to=shrink_to)
            except BadImage as error:
                self._bad.add(candidate)
                self._on_bad(f"{self._source.where(candidate)}\t{error}")
        raise UserError(f"No image of {self._source.name} can be read; check the path and the files.")
