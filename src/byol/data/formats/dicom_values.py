"""The values of DICOM: modality LUT, windows, polarity, palettes (PS3.3, C.7.6.3, C.11.1 and C.11.2)."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from byol.config.reading import ReadingConfig
from byol.data.formats.intensity import Array, limits_of
from byol.errors import BadImage

__all__ = ["gray", "palette"]

Floats = npt.NDArray[np.float32]

PERCENTILES = (0.5, 99.5)
"""Of the values of a file that become black and white where nothing says which."""


def gray(
    stored: Array, tags: Any, number: int, reading: ReadingConfig, all_values: Callable[[], Sequence[Array]]
) -> Tensor:
    """A frame of one sample per pixel as (1, H, W): uint8 if it has 8 bits, else float32 in [0, 1].

    Args:
        stored: (H, W), as stored.
        tags: of the file.
        number: of the frame.
        reading: which window is taken.
        all_values: stored values of the whole file, for percentiles.
    """
    to_units = _of_frame(tags, number, "PixelValueTransformationSequence")
    shown = _of_frame(tags, number, "FrameVOILUTSequence")
    window = _kind(tags, to_units, shown, reading)
    inverted = tags.PhotometricInterpretation == "MONOCHROME1"
    padding = _padding(stored, tags)
    eight = int(tags.BitsAllocated) == 8
    if window == "" and stored.dtype == np.uint8 and _is_identity(to_units):
        image = 255 - stored if inverted else stored.copy()
        image[padding] = 0
        return torch.from_numpy(image)[None]
    values = _units(stored, to_units)
    if window == "hounsfield":
        result = _between(values, *reading.hounsfield)
    elif window == "table":
        result = _by_table(values, shown)
    elif window == "file":
        result = _windowed(values, shown)
    else:
        result = _by_percentiles(values, [_units(part[~_padding(part, tags)], to_units) for part in all_values()])
    image = 1 - result if inverted else result
    image[padding] = 0
    return torch.from_numpy((image * 255).round().astype(np.uint8) if eight else image)[None]


def palette(stored: Array, tags: Any) -> Tensor:
    """Indices (H, W) into a palette as (3, H, W): uint8, or float32 in [0, 1] where the palette has 16 bits."""
    from pydicom.pixels.processing import apply_color_lut

    colors = apply_color_lut(stored, tags)[..., :3]
    colors = np.ascontiguousarray(colors.transpose(2, 0, 1))
    if colors.dtype == np.uint8:
        return torch.from_numpy(colors)
    bits = int(tags.RedPaletteColorLookupTableDescriptor[2])
    return torch.from_numpy((colors / (2**bits - 1)).astype(np.float32))


def _of_frame(tags: Any, number: int, sequence: str) -> Any:
    """Where a frame's attributes stand: in the functional groups of an enhanced scan (C.7.6.16), or in the file."""
    groups = tags.get("PerFrameFunctionalGroupsSequence") or []
    shared = tags.get("SharedFunctionalGroupsSequence") or []
    for group in [*groups[number : number + 1], *shared[:1]]:
        if group.get(sequence):
            return group[sequence][0]
    return tags


def _kind(tags: Any, to_units: Any, shown: Any, reading: ReadingConfig) -> str:
    """hounsfield, table, file or percentiles; empty where the values need no window."""
    if reading.window in ("auto", "hounsfield") and _are_hounsfield(tags, to_units):
        return "hounsfield"
    if reading.window == "hounsfield":
        raise BadImage("holds no Hounsfield units; leave --data.reading.window at auto")
    if reading.window in ("auto", "file"):
        if shown.get("VOILUTSequence"):
            return "table"
        width = _first(shown.get("WindowWidth"))
        if width is not None and width >= 1 and _first(shown.get("WindowCenter")) is not None:
            return "file"
        if int(tags.BitsAllocated) == 8:
            return ""
    return "percentiles"


def _are_hounsfield(tags: Any, to_units: Any) -> bool:
    stated = to_units.get("RescaleIntercept") is not None and to_units.get("RescaleSlope") is not None
    return tags.get("Modality") == "CT" and stated and str(to_units.get("RescaleType") or "HU") == "HU"


def _is_identity(to_units: Any) -> bool:
    slope, intercept = _first(to_units.get("RescaleSlope")), _first(to_units.get("RescaleIntercept"))
    return not to_units.get("ModalityLUTSequence") and slope in (None, 1) and intercept in (None, 0)


def _units(stored: Array, to_units: Any) -> Floats:
    """The values after the modality LUT (C.11.1)."""
    if to_units.get("ModalityLUTSequence"):
        from pydicom.pixels.processing import apply_modality_lut

        return np.asarray(apply_modality_lut(stored, to_units), dtype=np.float32)
    slope, intercept = _first(to_units.get("RescaleSlope")), _first(to_units.get("RescaleIntercept"))
    values = stored.astype(np.float64)
    return np.asarray(values * (1 if slope is None else slope) + (intercept or 0), dtype=np.float32)


def _between(values: Floats, low: float, high: float) -> Floats:
    return np.asarray(np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1), dtype=np.float32)


def _windowed(values: Floats, shown: Any) -> Floats:
    """The first window of a file, by its function (C.11.2.1.2 and C.11.2.1.3)."""
    center, width = _first(shown.WindowCenter), _first(shown.WindowWidth)
    assert center is not None and width is not None  # noqa: PT018  (one fact: the file has a window)
    function = str(shown.get("VOILUTFunction") or "LINEAR")
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(-4 * (values - center) / width)), dtype=np.float32)
    if function == "LINEAR_EXACT":
        return _between(values, center - width / 2, center + width / 2)
    if width == 1:  # a step at the center
        return (values > center - 0.5).astype(np.float32)
    return _between(values, center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2)


def _by_table(values: Floats, shown: Any) -> Floats:
    """The first VOI LUT of a file (C.11.2.1.1)."""
    from pydicom.pixels.processing import apply_voi

    bits = int(shown.VOILUTSequence[0].LUTDescriptor[2])
    return np.asarray(apply_voi(values.astype(np.int64), shown) / (2**bits - 1), dtype=np.float32).clip(0, 1)


def _by_percentiles(values: Floats, parts: Sequence[Floats]) -> Floats:
    everything = np.concatenate([part.ravel() for part in parts])
    everything = everything[np.isfinite(everything)]
    low, high = limits_of(everything, PERCENTILES)
    return _between(values, low, high) if high > low else np.zeros_like(values)


def _padding(stored: Any, tags: Any) -> npt.NDArray[np.bool_]:
    """Where pixels were added around a picture (C.7.5.1.1.2)."""
    value, limit = tags.get("PixelPaddingValue"), tags.get("PixelPaddingRangeLimit")
    if value is None:
        return np.zeros(stored.shape, dtype=bool)
    low, high = sorted((int(value), int(value if limit is None else limit)))
    return np.asarray((stored >= low) & (stored <= high))


def _first(value: Any) -> float | None:
    """The first of one or more numbers; None where there is none."""
    if value is None or value == "":
        return None
    if isinstance(value, str | int | float):
        return float(value)
    try:
        return float(value)
    except TypeError:  # several
        return float(value[0]) if len(value) else None
