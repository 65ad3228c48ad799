"""The axes of arrays that are in force where data is opened: those of a run, or those of a trained encoder.

A setting of a run holds for all images that it opens (training, monitor, parts), and an encoder is judged on images
that are read as those it was trained on were. A source keeps the axes that it was opened with.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from byol.config.axes import Axes

__all__ = ["axes_as", "current_axes"]

_AXES: ContextVar[Axes] = ContextVar("axes", default="auto")


def current_axes() -> Axes:
    """The axes of sources that are opened now."""
    return _AXES.get()


@contextmanager
def axes_as(axes: Axes) -> Iterator[None]:
    """Open sources with these axes, for the time of a `with`."""
    token = _AXES.set(axes)
    try:
        yield
    finally:
        _AXES.reset(token)
