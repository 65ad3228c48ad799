"""What the axes of an array are whose file does not say so."""

from typing import Literal

__all__ = ["Axes"]

Axes = Literal["auto", "hwc", "chw", "dhw"]
"""Of three axes without names, in `.npy` files and pages of TIFF: hwc, the last one is channels; chw, the first one is;
dhw, the first one is depth or time, of which the first plane is read; auto decides by their sizes."""
