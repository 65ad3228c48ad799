"""Stored values to intensities: which value of a dtype is white, and which values have no known meaning."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from byol.data.formats.header import Depth
from byol.errors import BadImage

__all__ = ["Array", "depth_of", "intensities", "unit_floats"]

Array = npt.NDArray[np.generic]


def intensities(values: Array) -> Tensor:
    """Pixels of any shape: uint8 stays uint8, bool becomes 0 and 255, uint16 and floats become float32 in [0, 1].

    Raises:
        BadImage: another dtype, or floats outside [0, 1].
    """
    if values.dtype == np.uint8:
        return torch.from_numpy(np.ascontiguousarray(values))
    if values.dtype == np.bool_:
        return torch.from_numpy(np.ascontiguousarray(values).astype(np.uint8) * 255)
    if values.dtype == np.uint16:
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32) / 65535)
    if values.dtype.kind == "f":
        return unit_floats(values)
    raise BadImage(f"{values.dtype} pixels have no known range; store uint8, uint16, or floats in [0, 1]")


def unit_floats(values: Array) -> Tensor:
    """Floating-point pixels as float32.

    Raises:
        BadImage: a value is not finite, or outside [0, 1] so that white is unknown.
    """
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):  # false for NaN too
        raise BadImage(f"floating-point pixels from {low:g} to {high:g}; only [0, 1] has a known meaning")
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def depth_of(dtype: np.dtype[np.generic]) -> Depth:
    """The depth that a header states for values of this dtype."""
    return "float" if dtype.kind == "f" else "8-bit" if dtype.itemsize == 1 else "16-bit"
