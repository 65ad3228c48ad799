"""The labels of a stack of images: an array of numbers or names beside that of the images."""

import numpy as np

from byol.data.sources.class_names import named_labels
from byol.data.sources.label_column import Column, ColumnLabels, read_labels
from byol.data.sources.stack_arrays import StackArray
from byol.errors import UserError

__all__ = ["stack_labels"]


def stack_labels(array: StackArray | None, images: int) -> ColumnLabels:
    """What an array says of so many images: (N,), (N, 1, ...), or (N, L) with a single 1 in each row.

    Raises:
        UserError: it has another length.
    """
    if array is None:
        return ColumnLabels(None, None)
    if not array.shape or array.shape[0] != images:
        raise UserError(
            f"{array.where} has the shape {array.shape}, but there are {images} images; give a label for each."
        )
    values = array.whole()
    if values.ndim > 1 and values[0].size == 1:
        values = values.reshape(images)
    if values.ndim == 2 and values.dtype.kind in "biuf" and _is_one_hot(values):
        values = values.argmax(axis=1)
    if values.ndim != 1:
        return ColumnLabels(None, None, f"{array.key or array.file} has several labels for each image, so none is read")
    if values.dtype.kind in "OS":
        names = [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in values]
        return ColumnLabels(*named_labels([name or None for name in names]))
    return read_labels(array.key or array.file, [Column(array.file, values.tolist(), None)])


def _is_one_hot(values: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]") -> bool:
    ones = values == np.ones(1, dtype=values.dtype)
    zeros = values == np.zeros(1, dtype=values.dtype)
    return values.shape[1] > 1 and bool((ones | zeros).all() and (ones.sum(axis=1) == 1).all())
