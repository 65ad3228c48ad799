"""Stored values to intensities: which value of a dtype is white, and which values have no known meaning."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from byol.data.formats.header import Depth
from byol.errors import BadImage

__all__ = ["Array", "check_dtype", "depth_of", "intensities", "limits_of", "shown", "unit_floats"]

Array = npt.NDArray[np.generic]

ROUNDING = 1e-3
"""How far floats may lie outside [0, 1] and are clipped: resizing and color conversion overshoot by rounding."""


def check_dtype(dtype: np.dtype[np.generic]) -> None:
    """Raise `BadImage` for values of which nobody knows which is white: signed, or of more than 16 bits."""
    if dtype.kind not in "bf" and not (dtype.kind == "u" and dtype.itemsize <= 2):
        signed = "signed or 32-bit whole numbers: " if dtype.kind in "iu" else ""
        raise BadImage(f"{signed}{dtype.name} pixels have no known range; store uint8, uint16, or floats in [0, 1]")


def intensities(values: Array, bits: int | None = None) -> Tensor:
    """Pixels of any shape: uint8 stays uint8, bool becomes 0 and 255, uint16 and floats become float32 in [0, 1].

    Args:
        values: as stored.
        bits: of each value, where they are fewer than its type has; the largest value of so many bits is white.

    Raises:
        BadImage: another dtype, or floats outside [0, 1].
    """
    check_dtype(values.dtype)
    if values.dtype.kind == "f":
        return unit_floats(values)
    if values.dtype == np.bool_:
        values, bits = values.astype(np.uint8), 1
    white = 2 ** (bits or 8 * values.dtype.itemsize) - 1
    if values.dtype == np.uint8:
        stored = torch.from_numpy(np.ascontiguousarray(values))
        return stored if white == 255 else (stored.int() * 255 // white).to(torch.uint8)
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32) / white)


def unit_floats(values: Array) -> Tensor:
    """Floating-point pixels as float32 in [0, 1]; what lies outside by rounding (`ROUNDING`) is clipped.

    Raises:
        BadImage: a value is not finite, or outside [0, 1] so that white is unknown.
    """
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        missing, infinite = int(np.isnan(values).sum()), int(np.isinf(values).sum())
        what = (
            f"{missing} of {values.size} are nan (no data)" if missing else f"{infinite} of {values.size} are infinite"
        )
        raise BadImage(f"floating-point pixels, of which {what}; only [0, 1] has a known meaning")
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise BadImage(f"floating-point pixels from {low:.9g} to {high:.9g}; only [0, 1] has a known meaning")
    floats = np.ascontiguousarray(values, dtype=np.float32)
    return torch.from_numpy(floats if low >= 0 and high <= 1 else floats.clip(0, 1))


def limits_of(sample: Any, percentiles: tuple[float, float]) -> tuple[float, float]:
    """The values at two percentiles of a sample (N,), or its extremes where few values differ; zeros without values."""
    if not len(sample):
        return 0.0, 0.0
    low, high = np.percentile(sample, percentiles)
    return (float(low), float(high)) if high > low else (float(sample.min()), float(sample.max()))


def shown(values: Any, limits: tuple[float, float]) -> Any:
    """Values to [0, 1], as float32: the lower limit and what is no number become black, the upper one white."""
    low, high = limits
    if high <= low:
        return np.zeros(values.shape, dtype=np.float32)
    return np.nan_to_num(np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1), nan=0.0)


def depth_of(dtype: np.dtype[np.generic]) -> Depth:
    """The depth that a header states for values of this dtype."""
    return "float" if dtype.kind == "f" else "8-bit" if dtype.itemsize == 1 else "16-bit"
