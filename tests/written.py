"""Image files in memory, as the usual libraries write them."""

import io
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

Pixels = npt.NDArray[np.generic]


def npy(values: Pixels) -> bytes:
    """As `numpy.save` writes it."""
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def tiff(values: Pixels, **options: Any) -> bytes:
    """As `tifffile.imwrite` writes it."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of what later versions take three or four planes for
        tifffile.imwrite(buffer, values, **options)
    return buffer.getvalue()


def noise(*shape: int, dtype: str = "u1", most: int | None = None) -> Pixels:
    """Random values over all of a type's range, or up to `most`; floats in [0, 1]."""
    rng = np.random.default_rng(0)
    if np.dtype(dtype).kind == "f":
        return rng.random(shape).astype(dtype)
    return rng.integers(0, (most or np.iinfo(dtype).max) + 1, shape).astype(dtype)
