"""Formats that take a package of their own: which suffix needs which, and how it is installed."""

import importlib.util
import re
import warnings
from dataclasses import dataclass
from functools import cache

from byol.errors import BadImage

__all__ = [
    "DICOM",
    "DOUBLE",
    "EXTRAS",
    "FITS",
    "HDF5",
    "HEIF",
    "JXL",
    "NIFTI",
    "OME_ZARR",
    "SLIDES",
    "VIDEO",
    "Extra",
    "extra_for",
    "silence",
    "suffix_of",
]


@dataclass(frozen=True)
class Extra:
    """A kind of file, and the packages that read it."""

    kind: str
    """What such files are called, in messages."""
    name: str
    """The extra: `pip install 'byol[name]'`."""
    modules: tuple[str, ...]
    """What is imported."""
    suffixes: tuple[str, ...]
    """In lower case with the dot."""

    @property
    def command(self) -> str:
        """What installs it."""
        return f"pip install 'byol[{self.name}]'"

    @property
    def there(self) -> bool:
        """Whether the packages are installed."""
        return _installed(self.modules)

    def need(self) -> None:
        """Raise `BadImage`, which names the extra, where a package is missing."""
        if not self.there:
            raise BadImage(f"{self.kind} is read with an extra: {self.command}")


DICOM = Extra("DICOM", "dicom", ("pydicom",), (".dcm", ".dicom", ".ima"))
NIFTI = Extra("NIfTI", "nifti", ("nibabel",), (".nii", ".nii.gz"))
HDF5 = Extra("HDF5", "hdf5", ("h5py",), (".h5", ".hdf5"))
HEIF = Extra("HEIC", "heif", ("pi_heif",), (".heic", ".heif", ".hif"))
JXL = Extra("JPEG XL", "jxl", ("imagecodecs",), (".jxl",))
FITS = Extra("FITS", "fits", ("astropy",), (".fits", ".fit", ".fts", ".fz"))
VIDEO = Extra("video", "video", ("av",), (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v"))
SLIDES = Extra("whole-slide image", "slides", ("openslide",), (".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".bif"))
TIFF = Extra("this kind of TIFF", "tiff", ("imagecodecs",), ())

OME_ZARR = Extra("OME-Zarr", "zarr", ("zarr",), (".zarr",))

EXTRAS = (DICOM, NIFTI, HDF5, HEIF, JXL, FITS, VIDEO, SLIDES, TIFF, OME_ZARR)
"""Every one of them."""

DOUBLE = frozenset(suffix for extra in EXTRAS for suffix in extra.suffixes if suffix.count(".") == 2)
"""Suffixes of two parts."""


def extra_for(suffix: str) -> Extra | None:
    """The extra that files of a suffix take, or None."""
    return next((extra for extra in EXTRAS if suffix.lower() in extra.suffixes), None)


def suffix_of(name: str) -> str:
    """The suffix of a file's name in lower case, with its dot; of `scan.nii.gz` it is `.nii.gz`."""
    last = name.rsplit("/", 1)[-1].lower()
    stem, dot, end = last.rpartition(".")
    if not stem:
        return ""
    before, inner, middle = stem.rpartition(".")
    double = f".{middle}.{end}"
    return double if before and inner and double in DOUBLE else dot + end


def silence(package: str) -> None:
    """Ignore the warnings that a package gives about odd files: a run counts and lists what cannot be read.

    `catch_warnings` is not safe among threads, so the filter stays installed.
    """
    rule = ("ignore", None, Warning, re.compile(rf"{package}\."), 0)
    if rule not in warnings.filters:
        warnings.filterwarnings("ignore", module=rf"{package}\.")


@cache
def _installed(modules: tuple[str, ...]) -> bool:
    return all(importlib.util.find_spec(module) is not None for module in modules)
