"""Stacks of images in one array: HDF5, `.npz` and `.npy`, such as PatchCamelyon, MedMNIST and Keras's MNIST."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from byol.data.formats.channels import to_channels
from byol.data.formats.decode import guarded
from byol.data.formats.extras import HDF5, suffix_of
from byol.data.formats.header import Header, check_size
from byol.data.formats.intensity import depth_of, intensities
from byol.data.sources.base import PIXELS, Source
from byol.data.sources.digest import digest, label_digest
from byol.data.sources.parts import SeveralParts, part_of
from byol.data.sources.stack_arrays import StackArray, arrays_of, free_memory
from byol.data.sources.stack_labels import stack_labels
from byol.data.sources.tensor import TensorSource
from byol.errors import BadImage, UserError

__all__ = ["StackSource", "is_stack", "open_stack", "stack_files", "stack_part"]

SUFFIXES = (*HDF5.suffixes, ".npz")

IMAGE_WORDS = frozenset(("x", "image", "images", "img", "imgs", "data", "arr", "pixels"))
LABEL_WORDS = frozenset(("y", "label", "labels", "target", "targets", "class", "classes"))
"""Words in the names of arrays, or of files, that say what they hold."""

MOST_CHANNELS = 16
"""The longest axis that is taken for channels."""
SHARE_OF_FREE = 0.5
"""Of the free memory, that an array may take which is read whole."""


@dataclass(frozen=True)
class _Pair:
    """An array of images, and one of their labels."""

    images: StackArray
    labels: StackArray | None


def is_stack(file: Path) -> bool:
    """Whether a file is one of arrays, by its suffix; an `.npy` if it has an axis more than an image."""
    if suffix_of(file.name) != ".npy":
        return suffix_of(file.name) in SUFFIXES
    shapes = [array.shape for array in arrays_of(file)]
    flat = (
        len(shapes[0]) == 3 and shapes[0][2] > MOST_CHANNELS
    )  # of gray images, if its name says that they are several
    return len(shapes[0]) == 4 or (flat and bool(IMAGE_WORDS & {*_words(file.stem)}))


def stack_files(folder: Path) -> list[Path]:
    """The stacks in a folder that has nothing else but text, sorted; none where it has folders or images too."""
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    stacks = sorted(entry for entry in entries if entry.is_file() and suffix_of(entry.name) in SUFFIXES)
    alone = all(entry in stacks or suffix_of(entry.name) in (".txt", ".md", ".csv") for entry in entries)
    return stacks if alone else []


def stack_part(text: str) -> tuple[list[Path], str] | None:
    """The files and the part that a text such as `pathmnist.npz:train` names, or None."""
    place, colon, part = text.rpartition(":")
    path = Path(place).expanduser()
    if not colon or part_of(part) is None:
        return None
    if path.is_dir():
        files = stack_files(path)
        return (files, part) if files else None
    return ([path], part) if path.is_file() and suffix_of(path.name) in SUFFIXES else None


def open_stack(files: Sequence[Path], name: str, channels: int | None = None, part: str | None = None) -> Source:
    """The images in arrays, with their labels.

    Arrays are told by their names, or those of their files: images by `x`, `images`, `data` and the like, labels by
    `y`, `labels` and the like, parts by `train`, `test` and the like. Images are (N, H, W), (N, H, W, C) or
    (N, C, H, W).

    Args:
        files: HDF5, `.npz` or `.npy`.
        name: what the user typed, without the part.
        channels: deliver images with so many channels; None leaves them their own.
        part: the part that is meant, where there are several.

    Raises:
        UserError: there are no images, several parts or several stacks, or they can only be read whole and do not fit
            in memory.
    """
    if not HDF5.there and any(suffix_of(file.name) in HDF5.suffixes for file in files):
        raise UserError(f"{name!r} is HDF5, which is read with an extra; run: {HDF5.command}.")
    parts = _pairs(files, name)
    if part is None and len(parts) > 1:
        raise SeveralParts(name, [(known, f"{name}:{known}") for known in parts if known])
    if part is not None and part_of(part) not in parts:
        raise UserError(f"{name!r} has no part {part!r}; give {' or '.join(f'{name}:{known}' for known in parts)}.")
    pair = parts[str(part_of(part)) if part is not None else next(iter(parts))]
    return _source(pair, name if part is None else f"{name}:{part}", channels)


def _pairs(files: Sequence[Path], name: str) -> dict[str, _Pair]:
    """Images and labels of each part; of data without parts under an empty name."""
    images: dict[str, list[StackArray]] = {}
    labels: dict[str, list[StackArray]] = {}
    seen: list[str] = []
    for file in _with_sibling(files):
        for array in arrays_of(file):
            words = _words(array.key or file.stem)
            seen.append(f"{array.key} {array.shape}")
            of_file = _words(file.stem)
            part = next((known for word in (*words, *of_file) if (known := part_of(word)) is not None), "")
            if LABEL_WORDS & {*words}:
                labels.setdefault(part, []).append(array)
            elif len(array.shape) >= 3 and (IMAGE_WORDS & {*words} or not array.key):
                images.setdefault(part, []).append(array)
    if not images:
        raise UserError(
            f"{name!r} has no array of images ({', '.join(seen[:6]) or 'no arrays'}); name one x, images or data, of "
            "the shape (N, H, W) or (N, H, W, C)."
        )
    several = next((found for found in images.values() if len(found) > 1), None)
    if several is not None:
        raise UserError(
            f"{name!r} has several arrays of images ({several[0].where}, {several[1].where}); give a file with one."
        )
    return {
        part: _Pair(found[0], next(iter(labels.get(part, [])), None))
        for part, found in sorted(images.items(), key=lambda item: item[0])
    }


def _with_sibling(files: Sequence[Path]) -> Iterator[Path]:
    """The files, and the file of labels beside a single file of images: `..._y.h5` beside `..._x.h5`."""
    yield from files
    if len(files) != 1:
        return
    for image, label in (("x", "y"), ("images", "labels")):
        stem, count = re.subn(rf"(?<![A-Za-z]){image}$", label, files[0].stem)
        beside = files[0].with_name(stem + files[0].suffix)
        if count and beside.is_file():
            yield beside


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[^a-z]+", name.lower()) if word]


def _channels_axis(shape: Sequence[int]) -> int | None:
    """Where the channels of (H, W, C) or (C, H, W) are: 2, 0, or None where neither can be; 0 where there are none."""
    if len(shape) == 2:
        return 0
    if shape[2] <= MOST_CHANNELS:
        return 2
    return 0 if shape[0] <= MOST_CHANNELS else None


def _source(pair: _Pair, name: str, channels: int | None) -> Source:
    images = pair.images
    shape = images.shape
    axis = _channels_axis(shape[1:]) if len(shape) in (3, 4) else None
    if axis is None or (len(shape) == 3 and shape[2] <= 4):
        raise UserError(
            f"{images.where} has the shape {shape}, which is no stack of images; give (N, H, W), (N, H, W, C) or "
            f"(N, C, H, W) with up to {MOST_CHANNELS} channels."
        )
    if 0 in shape:
        raise UserError(f"{images.where} has the shape {shape}, which has no images.")
    labels = stack_labels(pair.labels, shape[0])
    layout = ("N", "H", "W") if len(shape) == 3 else ("N", "H", "W", "C") if axis == 2 else ("N", "C", "H", "W")
    told = f"{' x '.join(map(str, shape))} is read as {' x '.join(layout)}"
    note = f"stack: {images.where}, {told}; labels: {pair.labels.where if pair.labels and labels.labels else 'none'}"
    stack = StackSource(images, name, axis, channels)
    stack.labels, stack.classes, stack.remark = labels.labels, labels.classes, labels.remark
    if not images.random_access:
        source: Source = _in_memory(stack, images, channels)
    else:
        source = stack
    source.remark, source.notes = labels.remark, (note,)
    source.labels_from = pair.labels.where if pair.labels and labels.labels else ""
    return source


def _in_memory(stack: "StackSource", images: StackArray, channels: int | None) -> TensorSource:
    """All images, read chunk by chunk, each chunk once."""
    free, per_value = free_memory(), 1 if images.dtype.itemsize == 1 else 4
    needed = int(np.prod(images.shape)) * per_value
    if free is not None and needed > SHARE_OF_FREE * free:
        raise UserError(
            f"{images.where} takes {needed / 2**30:.1f} GiB where {free / 2**30:.1f} GiB of memory are free, and can "
            f"only be read whole ({images.why}); {images.remedy}."
        )
    parts: Tensor | None = None
    for start, block in images.blocks():
        try:
            pixels = to_channels(stack.pixels(block), channels)
        except BadImage as error:
            raise UserError(f"{images.where} cannot be trained on: {error}.") from error
        if parts is None:
            parts = torch.empty((images.shape[0], *pixels.shape[1:]), dtype=pixels.dtype)
        parts[start : start + len(pixels)] = pixels
    assert parts is not None, "a stack has images"
    return TensorSource(parts, stack.labels, stack.classes, stack.name)


class StackSource(Source):
    """The images of an array that any image can be read from by itself.

    Args:
        array: (N, ...).
        name: what the user typed.
        axis: of the channels in one image, see `_channels_axis`.
        channels: deliver images with so many channels; None leaves them their own.
    """

    def __init__(self, array: StackArray, name: str, axis: int, channels: int | None) -> None:
        self.name, self.labels, self.classes = name, None, None
        self._array, self._axis = array, axis
        self._own = 1 if len(array.shape) == 3 else array.shape[1 + axis]
        self.channels = self._own if channels is None else channels

    def __len__(self) -> int:
        return self._array.shape[0]

    def pixels(self, stored: Any) -> Tensor:
        """Some images as stored to (N, C, H, W)."""
        if len(self._array.shape) == 3:
            return intensities(stored[:, None])
        return intensities(stored.transpose(0, 3, 1, 2) if self._axis == 2 else stored)

    def read(self, index: int) -> bytes:
        return PIXELS + np.ascontiguousarray(self._stored(index)).tobytes()

    def where(self, index: int) -> str:
        return f"{self._array.where} image {index}"

    def image(self, index: int, shrink_to: int | None = None) -> Tensor:
        return to_channels(self.pixels(self._stored(index)), self.channels)[0]

    def header(self, index: int) -> Header:
        sizes = [*self._array.shape[1:]]
        if len(sizes) == 3:
            sizes.pop(self._axis)
        check_size(sizes[0], sizes[1])
        return Header(height=sizes[0], width=sizes[1], channels=self._own, depth=depth_of(self._array.dtype))

    def stored_bytes(self, index: int) -> int | None:
        return int(np.prod(self._array.shape[1:])) * self._array.dtype.itemsize

    def fingerprint(self) -> str:
        kind = f"{Path(self._array.file).name} {self._array.key} {self._array.shape} {self._array.dtype}"
        return digest([kind, label_digest(self.labels, self.classes)])

    def _stored(self, index: int) -> Any:
        """One image as stored, (1, ...); `BadImage` where its chunk is damaged."""
        return guarded(lambda: self._array.read(index, index + 1))
