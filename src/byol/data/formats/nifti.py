"""NIfTI, by nibabel: the slices of a volume, upright, with one rule of intensity for the whole volume."""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Semaphore
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from byol.config.reading import ReadingConfig
from byol.data.formats.extras import NIFTI, silence
from byol.data.formats.header import Header, check_size
from byol.data.formats.intensity import Array, limits_of, shown
from byol.data.formats.several import Contents, Opened
from byol.errors import BadImage

__all__ = ["EXTRA", "contents", "open"]

EXTRA = NIFTI

PERCENTILES = (1.0, 99.0)
"""Of the values of a volume that become black and white: 0 and 100 are single voxels, of vessels and of artifacts."""
VALUES_SEEN = 10**6
"""Values of a volume that give them, evenly spread."""

ALIKE = 1.05
"""The coarsest axis is coarser than the others by this factor at least, or slices are axial."""
AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
"""Axes of a volume whose voxels run to the right, to the front and to the head (nibabel's RAS+)."""

DARK, LEAST_SHOWN = 0.1, 0.01
"""A slice is empty where a smaller share of its pixels than `LEAST_SHOWN` is brighter than `DARK`."""
MASK_VALUES = 32
"""Volumes of whole numbers with so many different ones at most are masks, not pictures."""

ONE_BY_ONE = Semaphore(2)
"""Volumes that are looked through at a time: each may take a gigabyte."""
LOOKS_KEPT = 2**16

SUBJECT = re.compile(r"sub-[A-Za-z0-9]+")
"""Of a file or a folder in the layout of BIDS (bids-specification, Entities)."""


class _Look(NamedTuple):
    """What must be known of a volume before one of its slices is read."""

    numbers: tuple[int, ...]
    limits: tuple[tuple[float, float], ...]
    """The values that become black and white, for each time that is read."""
    mask: bool = False


def contents(path: str, reading: ReadingConfig) -> Contents:
    """The slices of a volume; of one with a fourth axis at all times that are read."""
    look = _look(path, reading)
    if look.mask:
        return Contents(numbers=(), instead=f"masks (at most {MASK_VALUES} whole numbers)")
    where = "coarsest axis" if reading.slices == "auto" else f"{reading.slices} axis"
    range_ = (
        f"Hounsfield units {reading.hounsfield[0]:g} to {reading.hounsfield[1]:g}"
        if reading.window == "hounsfield"
        else f"percentiles {PERCENTILES[0]:g} to {PERCENTILES[1]:g} of each volume"
    )
    times = {"first": "the first volume of several", "all": "all volumes", "channels": "volumes as channels"}
    empty = "empty slices too" if reading.empty_slices else "empty slices left out"
    subject = SUBJECT.findall(path.rsplit("/", 1)[-1]) or SUBJECT.findall(path)
    return Contents(
        numbers=look.numbers,
        word="slice",
        group=subject[0] if subject else "",
        said=f"NIfTI: slices along the {where}, {empty}, {times[reading.times]}; {range_} become black to white "
        "(--data.reading.slices, --data.reading.window)",
    )


def open(path: str, reading: ReadingConfig) -> Opened:
    """A volume; a compressed one is in memory while it is open."""
    return _Slices(_volume(path, reading), _look(path, reading).limits)


@dataclass(frozen=True)
class _Volume:
    """Values as stored, (X, Y, Z, times) to the right, the front and the head, or with a last axis of RGB."""

    stored: Array
    axis: int
    """Along which slices are taken."""
    slope: float
    intercept: float
    rgb: bool
    together: bool
    """Whether the times are channels of one image."""

    @property
    def count(self) -> int:
        """How many slices there are, over all times that are images of their own."""
        return int(self.stored.shape[self.axis]) * (1 if self.together else self.times)

    @property
    def times(self) -> int:
        return 1 if self.rgb else int(self.stored.shape[3])

    def slice(self, number: int) -> Any:
        """(C, H, W) as stored, front or head up, the patient's left on the left."""
        time, place = divmod(number, int(self.stored.shape[self.axis]))
        planes = np.take(self.stored, place, axis=self.axis) if self.together or self.rgb else None
        if planes is None:
            planes = np.take(self.stored[..., time : time + 1], place, axis=self.axis)
        return planes.transpose(2, 1, 0)[:, ::-1]

    def units(self, values: Array) -> Any:
        """The values that the file means, float32."""
        scaled = values.astype(np.float64) * self.slope + self.intercept
        return scaled.astype(np.float32)


class _Slices:
    def __init__(self, volume: _Volume, limits: tuple[tuple[float, float], ...]) -> None:
        self._volume, self._limits = volume, limits

    def header(self, number: int) -> Header:
        sizes = [size for axis, size in enumerate(self._volume.stored.shape[:3]) if axis != self._volume.axis]
        check_size(sizes[1], sizes[0])
        channels = 3 if self._volume.rgb else self._volume.times if self._volume.together else 1
        depth = "8-bit" if self._volume.rgb else "float" if self._volume.stored.dtype.kind == "f" else "16-bit"
        return Header(height=sizes[1], width=sizes[0], channels=channels, depth=depth)  # type: ignore[arg-type]

    def image(self, number: int) -> Tensor:
        self.header(number)
        stored = self._volume.slice(number)
        if self._volume.rgb:
            return torch.from_numpy(np.ascontiguousarray(stored))
        time = 0 if self._volume.together else number // int(self._volume.stored.shape[self._volume.axis])
        limits = self._limits if self._volume.together else self._limits[time : time + 1]
        planes = [shown(self._volume.units(plane), span) for plane, span in zip(stored, limits, strict=True)]
        return torch.from_numpy(np.stack(planes))


@lru_cache(maxsize=LOOKS_KEPT)
def _look(path: str, reading: ReadingConfig) -> _Look:
    with ONE_BY_ONE:
        volume = _volume(path, reading)
        everything = tuple(range(volume.count))
        if volume.rgb:
            return _Look(everything, ())
        samples = [volume.units(_some(volume.stored[..., time])) for time in range(volume.times)]
        samples = [sample[np.isfinite(sample)] for sample in samples]
        if not any(map(len, samples)):
            raise BadImage("holds no numbers")
        if not reading.masks and all(map(_is_mask, samples)):
            return _Look((), (), mask=True)
        if reading.window == "hounsfield":
            limits = (reading.hounsfield,) * volume.times
        else:
            limits = tuple(limits_of(sample, PERCENTILES) for sample in samples)
        if reading.empty_slices:
            return _Look(everything, limits)
        slices = _Slices(volume, limits)
        shown = (number for number in everything if not _is_empty(slices.image(number)))
        return _Look(tuple(shown), limits)


def _some(values: Array) -> Array:
    step = max(1, round((values.size / VALUES_SEEN) ** (1 / 3)))
    return values[::step, ::step, ::step].ravel()


def _is_mask(sample: Any) -> bool:
    few = len(np.unique(sample[:: max(1, len(sample) // 10_000)])) <= MASK_VALUES
    return few and len(np.unique(sample)) <= MASK_VALUES and bool((sample == np.round(sample)).all())


def _is_empty(image: Tensor) -> bool:
    return bool((image > DARK).float().mean() < LEAST_SHOWN)


def _volume(path: str, reading: ReadingConfig) -> _Volume:
    """A file, turned; an uncompressed one stays on the disk until its values are asked for."""
    import nibabel

    library: Any = nibabel
    silence("nibabel")
    if not Path(path).stat().st_size:
        raise BadImage("empty file")
    file: Any = library.load(path)
    stored, slope, intercept = _stored(file)
    rgb = stored.dtype.names is not None
    if rgb:
        if set(stored.dtype.names) - set("RGBA"):
            raise BadImage(f"voxels of {', '.join(stored.dtype.names)} are not read; only numbers and RGB are")
        if stored.ndim != 3:
            raise BadImage(f"a volume of RGB with the shape {stored.shape} is not read")
        stored = np.stack([stored[name] for name in "RGB"], axis=-1)
    elif stored.dtype.kind not in "iuf":
        raise BadImage(f"voxels of {stored.dtype} are not read; only numbers and RGB are")
    else:
        stored = _four_axes(stored)
    if 0 in stored.shape:
        raise BadImage(f"has no voxels (shape {stored.shape})")
    turns = library.io_orientation(file.affine)
    if not np.isfinite(turns).all():
        raise BadImage("its affine leaves out an axis")
    zooms = np.ones(3)
    given = np.asarray(file.header.get_zooms()[:3], dtype=float)
    zooms[turns[: len(given), 0].astype(int)] = given
    turned = library.apply_orientation(stored, turns)
    if not rgb and reading.times == "first":
        turned = turned[..., :1]
    together = not rgb and reading.times == "channels"
    return _Volume(turned, _axis(turned.shape[:3], zooms, reading), slope, intercept, rgb, together)


def _stored(file: Any) -> tuple[Any, float, float]:
    """The values without the slope and the intercept of the file, and these."""
    stored = np.asanyarray(file.dataobj.get_unscaled())
    return stored, float(file.dataobj.slope), float(file.dataobj.inter)


def _four_axes(stored: Array) -> Array:
    """(X, Y, Z, times); further axes may have length 1 only, or there is one beside a single time."""
    shape = [*stored.shape, 1, 1, 1][: max(4, stored.ndim)]
    rest = [size for size in shape[3:] if size != 1]
    if len(rest) > 1:
        raise BadImage(f"a volume of the shape {stored.shape} is not read; only three axes and times are")
    return stored.reshape([*shape[:3], rest[0] if rest else 1])


def _axis(shape: tuple[int, ...], zooms: Any, reading: ReadingConfig) -> int:
    """The axis along which slices are taken."""
    if reading.slices != "auto":
        return AXES[reading.slices]
    flat = [axis for axis in range(3) if shape[axis] == 1]
    if len(flat) == 1:  # an image with a third axis
        return flat[0]
    coarsest = int(np.argmax(zooms))
    others = [zooms[axis] for axis in range(3) if axis != coarsest]
    return coarsest if zooms[coarsest] >= ALIKE * max(others) else AXES["axial"]
