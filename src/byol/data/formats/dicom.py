"""DICOM, by pydicom: stored values to what a viewer shows, or to the same Hounsfield units in every image.

The steps are those of the standard (PS3.4, N.2): modality LUT, then a window, then the polarity. References to the
parts and sections of the standard are to its edition of 2024.
"""

import importlib.util
import io
import logging
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from byol.config.reading import ReadingConfig
from byol.data.formats.dicom_values import gray, palette
from byol.data.formats.extras import DICOM, silence
from byol.data.formats.header import Header, check_size
from byol.data.formats.intensity import Array
from byol.data.formats.several import Contents, Opened
from byol.errors import BadImage

__all__ = ["EXTRA", "SUFFIXES", "contents", "decode", "header", "marked", "open", "sniff"]

EXTRA = DICOM
SUFFIXES = DICOM.suffixes

MARK, MARK_AT = b"DICM", 128  # PS3.10, 7.1

NO_PICTURES = {"SEG": "segmentations", "RTDOSE": "doses", "SR": "reports", "PR": "presentation states"}
"""Modalities (PS3.3, C.7.3.1.1.1) whose pixels, if any, are no pictures of a patient."""

TAGS_KEPT = 64
"""Files whose tags are kept: parsing those of a scan of many frames takes as long as decoding one."""

SAMPLED_FRAMES = 8
"""Frames of a file whose values give the percentiles of all of them."""

# pydicom tells its users about odd files through warnings and this logger; a run lists what cannot be read.
logging.getLogger("pydicom").addHandler(logging.NullHandler())
logging.getLogger("pydicom").propagate = False


def sniff(head: bytes) -> bool:
    """By the mark after a preamble of 128 bytes."""
    return head[MARK_AT : MARK_AT + len(MARK)] == MARK


def marked(path: str) -> bool:
    """Whether a file has the mark, whatever it is called; False where it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return sniff(file.read(MARK_AT + len(MARK)))
    except OSError:
        return False


def header(data: bytes) -> Header:
    """The header of the first frame; see `Format`."""
    DICOM.need()
    return _header(_parsed(io.BytesIO(data)))


def decode(data: bytes, shrink_to: int | None) -> Tensor:
    """The first frame, by the usual reading; see `Format`."""
    DICOM.need()
    return _frame(_parsed(io.BytesIO(data)), io.BytesIO(data), 0, ReadingConfig())


def contents(path: str, reading: ReadingConfig) -> Contents:
    """The frames of a file; none where it holds no picture."""
    tags = _tags(path)
    modality = str(tags.get("Modality") or "")
    if "MediaStorageSOPClassUID" in tags.file_meta and tags.file_meta.MediaStorageSOPClassUID.endswith(".1.3.10"):
        return Contents(numbers=(), instead="directories of a disk")  # PS3.6, Table A-1: Media Storage Directory
    if modality in NO_PICTURES or not tags.get("Rows"):
        return Contents(numbers=(), instead=NO_PICTURES.get(modality, "no pixels"))
    frames = _frames(tags)
    said = {
        "hounsfield": f"Hounsfield units {reading.hounsfield[0]:g} to {reading.hounsfield[1]:g} become black to white",
        "file": "the window that each file names first",
        "percentiles": "percentiles 0.5 to 99.5 become black to white",
    }
    if reading.window == "auto":
        words = f"CT: {said['hounsfield']}; others: {said['file']}, else {said['percentiles']}"
    else:
        words = said[reading.window]
    return Contents(
        numbers=range(frames),
        word="frame" if frames > 1 else "",
        group=str(tags.get("PatientID") or ""),
        said=f"DICOM: {words} (--data.reading.window, --data.reading.hounsfield)",
    )


def open(path: str, reading: ReadingConfig) -> Opened:
    """A file of one or more frames."""
    return _Scan(path, reading)


class _Scan:
    def __init__(self, path: str, reading: ReadingConfig) -> None:
        self._path, self._reading = path, reading

    def header(self, number: int) -> Header:
        return _header(_tags(self._path))

    def image(self, number: int) -> Tensor:
        return _frame(_tags(self._path), self._path, number, self._reading)


@lru_cache(maxsize=TAGS_KEPT)
def _tags(path: str) -> Any:
    return _parsed(path)


def _parsed(file: Any) -> Any:
    """The data set of a file without its pixels."""
    import pydicom

    silence("pydicom")
    tags = pydicom.dcmread(file, stop_before_pixels=True, force=True)
    if not tags.get("SOPClassUID") and not tags.get("Rows") and not tags.file_meta:
        raise BadImage("no DICOM file, whatever its name says")
    return tags


def _frames(tags: Any) -> int:
    return max(1, int(tags.get("NumberOfFrames") or 1))


def _header(tags: Any) -> Header:
    if not tags.get("Rows"):
        raise BadImage("DICOM without pixels, such as a report")
    height, width = int(tags.Rows), int(tags.Columns)
    check_size(height, width)
    color = int(tags.get("SamplesPerPixel") or 1) == 3 or tags.PhotometricInterpretation == "PALETTE COLOR"
    plain = int(tags.BitsAllocated) == 8 and tags.PhotometricInterpretation != "PALETTE COLOR"
    return Header(height=height, width=width, channels=3 if color else 1, depth="8-bit" if plain else "16-bit")


def _frame(tags: Any, file: Any, number: int, reading: ReadingConfig) -> Tensor:
    """One frame as (C, H, W)."""
    found = _header(tags)
    stored = _stored(tags, file, number)
    if tags.PhotometricInterpretation == "PALETTE COLOR":
        return palette(stored, tags)
    if found.channels == 3:
        return _color(stored, int(tags.BitsStored))

    def all_values() -> list[Array]:
        """Of an even sample of frames, so that all frames of a file are read by one rule."""
        count = _frames(tags)
        if count == 1:
            return [stored]
        chosen = sorted({round(place) for place in np.linspace(0, count - 1, SAMPLED_FRAMES)})
        return [stored if frame == number else _stored(tags, file, frame) for frame in chosen]

    return gray(stored, tags, number, reading, all_values)


def _stored(tags: Any, file: Any, number: int) -> Array:
    """The stored values of one frame, (H, W) or (H, W, 3), in this machine's byte order; YBR is RGB already."""
    import pydicom
    from pydicom.pixels.utils import pixel_array

    try:
        values = pixel_array(file, index=number)
    except (RuntimeError, NotImplementedError) as error:
        syntax = tags.file_meta.get("TransferSyntaxUID")
        if syntax is None or not syntax.is_compressed:
            raise
        lacking = "" if importlib.util.find_spec("gdcm") else f"; {DICOM.command} reads more of them"
        raise BadImage(f"the compression {syntax.name} of this file is not read{lacking}") from error
    except (AttributeError, ValueError):  # deflated, or not as its meta information says: pydicom reads it only whole
        if hasattr(file, "seek"):
            file.seek(0)
        values = pixel_array(pydicom.dcmread(file, force=True), index=number)
    return np.asarray(values).astype(values.dtype.newbyteorder("="), copy=False)


def _color(stored: Array, bits: int) -> Tensor:
    """(H, W, 3) to (3, H, W)."""
    values = np.ascontiguousarray(stored.transpose(2, 0, 1))
    if stored.dtype == np.uint8:
        return torch.from_numpy(values)
    return torch.from_numpy((values / (2**bits - 1)).astype(np.float32)).clamp_(0, 1)
