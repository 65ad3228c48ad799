"""FITS, by astropy: the first image of a file, its first row at the bottom, by percentiles and asinh."""

import io
from typing import Any

import numpy as np
import torch
from torch import Tensor

from byol.data.formats.extras import FITS, silence
from byol.data.formats.header import Header, check_size
from byol.errors import BadImage

__all__ = ["SUFFIXES", "decode", "header", "sniff"]

SUFFIXES = FITS.suffixes

MARK = b"SIMPLE  ="  # FITS Standard 4.0, Section 4.4.1

PERCENTILES = (0.5, 99.5)
"""Of the values that become black and white: sky and the brightest stars lie beyond."""
SOFTENING = 0.1
"""Where asinh turns from a straight line to a logarithm, as a share of the range (astropy's `AsinhStretch`)."""


def sniff(head: bytes) -> bool:
    """By the first keyword."""
    return head.startswith(MARK)


def header(data: bytes) -> Header:
    """The header of the first image; see `Format`."""
    FITS.need()
    with _opened(data) as units:
        height, width = _first(units).shape[-2:]
        check_size(height, width)
    return Header(height=height, width=width, channels=1, depth="float")


def decode(data: bytes, shrink_to: int | None) -> Tensor:
    """The first image, of a cube its first plane, as (1, H, W) float32; see `Format`.

    BSCALE and BZERO are applied; pixels that are BLANK or no number are black. Rows run upwards in FITS and downwards
    here (Standard 4.0, Section 8.1.2).
    """
    FITS.need()
    with _opened(data) as units:
        unit = _first(units)
        check_size(*unit.shape[-2:])
        values: Any = unit.data
        while values.ndim > 2:
            values = values[0]
        return torch.from_numpy(_stretched(np.asarray(values, dtype=np.float32))[None, ::-1].copy())


def _opened(data: bytes) -> Any:
    from astropy.io import fits

    silence("astropy")
    return fits.open(io.BytesIO(data), memmap=False, lazy_load_hdus=True)


def _first(units: Any) -> Any:
    """The first unit that is an image: the primary one of many files is empty."""
    for unit in units:
        if unit.is_image and len(unit.shape) >= 2 and all(unit.shape):
            return unit
    raise BadImage("holds no image, only tables")


def _stretched(values: Any) -> Any:
    known = np.isfinite(values)
    if not known.any():
        raise BadImage("holds no numbers")
    low, high = np.percentile(values[known], PERCENTILES)
    if high <= low:
        low, high = values[known].min(), values[known].max()
    if high <= low:
        return np.zeros(values.shape, dtype=np.float32)
    share = np.clip((values - low) / (high - low), 0, 1)
    return np.where(known, np.arcsinh(share / SOFTENING) / np.arcsinh(1 / SOFTENING), 0).astype(np.float32)
