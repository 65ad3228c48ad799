"""The arrays in HDF5, `.npz` and `.npy` files: shapes without reading, images without pickles."""

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from byol.data.formats.extras import HDF5, suffix_of
from byol.errors import UserError

__all__ = ["StackArray", "arrays_of", "free_memory"]

BLOCK_BYTES = 64 * 2**20
"""About so many bytes are read at a time."""


@dataclass(frozen=True)
class StackArray:
    """One array of a file."""

    file: str
    key: str
    """Its name in the file; empty in `.npy`."""
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    random_access: bool
    """Whether reading one image costs little more than its bytes."""
    why: str = ""
    """Why not, in words."""
    remedy: str = "convert it to .npy"
    chunk: int = 1
    """Images that are stored, and read, together."""
    held: Any = field(default=None, repr=False, compare=False)
    """What is indexed; None in `.npz`, which is read whole."""

    @property
    def where(self) -> str:
        """The file and the name, for messages."""
        return f"{self.file} {self.key}".rstrip()

    def read(self, start: int, stop: int) -> Any:
        """Some images, in this machine's byte order."""
        return _native(self.held[start:stop])

    def blocks(self) -> Iterator[tuple[int, Any]]:
        """(number of the first image, images): all of them, in blocks of whole chunks.

        Raises:
            UserError: the file is damaged.
        """
        if self.held is None:
            yield 0, self.whole()
            return
        per_image = max(1, int(np.prod(self.shape[1:])) * self.dtype.itemsize)
        step = self.chunk * max(1, BLOCK_BYTES // (per_image * self.chunk))
        for start in range(0, self.shape[0], step):
            with _in_a_sentence(self.file):
                block = self.read(start, start + step)
            yield start, block

    def whole(self) -> Any:
        """All values, in this machine's byte order.

        Raises:
            UserError: the file is damaged.
        """
        with _in_a_sentence(self.file):
            if self.held is not None:
                return _native(self.held[()])
            with np.load(self.file, allow_pickle=False) as archive:
                return _native(archive[self.key])


def arrays_of(file: Path) -> list[StackArray]:
    """Every array of a file, at any depth.

    Raises:
        UserError: the file is broken, or not what its suffix says.
    """
    with _in_a_sentence(file):
        if suffix_of(file.name) in HDF5.suffixes:
            return _hdf5(file)
        return _npz(file) if suffix_of(file.name) == ".npz" else _npy(file)


@contextmanager
def _in_a_sentence(file: str | Path) -> Iterator[None]:
    """Turn what damaged files raise, of a dozen types, into a `UserError`."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(
            f"{str(file)!r} cannot be read ({reason}); it may be cut short or damaged: fetch it again."
        ) from error


def _hdf5(file: Path) -> list[StackArray]:
    import h5py

    opened = h5py.File(file, "r", locking="best-effort")
    found: list[StackArray] = []

    def look(key: str, entry: Any) -> None:
        if not isinstance(entry, h5py.Dataset) or entry.shape is None or not entry.shape:
            return
        chunks = entry.chunks
        whole = chunks is None or tuple(chunks[1:]) == tuple(entry.shape[1:])
        one = "x".join(map(str, (1, *entry.shape[1:])))
        found.append(
            StackArray(
                str(file),
                key,
                tuple(entry.shape),
                entry.dtype,
                random_access=whole and (chunks is None or chunks[0] == 1),
                why=f"its chunks {chunks} hold parts of many images" if not whole else f"its chunks hold {chunks} each",
                remedy=f"rewrite it with an image in each chunk: h5repack -l {key}:CHUNK={one} {file.name} new.h5",
                chunk=1 if chunks is None else chunks[0],
                held=entry,
            )
        )

    opened.visititems(look)
    return found


def _npz(file: Path) -> list[StackArray]:
    found: list[StackArray] = []
    with zipfile.ZipFile(file) as archive:
        for member in archive.namelist():
            if member.endswith(".npy"):
                with archive.open(member) as stream:
                    shape, _, dtype = _npy_header(stream)
                _check_plain(file, dtype)
                why = "an archive is not read in parts"
                found.append(StackArray(str(file), member[:-4], shape, dtype, random_access=False, why=why))
    return found


def _npy(file: Path) -> list[StackArray]:
    with file.open("rb") as stream:
        shape, _, dtype = _npy_header(stream)
    _check_plain(file, dtype)
    return [StackArray(str(file), "", shape, dtype, random_access=True, held=np.load(file, mmap_mode="r"))]


def _check_plain(file: Path, dtype: np.dtype[Any]) -> None:
    """Refuse arrays of Python objects: reading them could run anything."""
    if dtype.hasobject:
        raise UserError(f"{str(file)!r} holds Python objects, which are not read; store arrays of numbers or text.")


def _npy_header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    return shape, fortran, dtype


def _native(values: Any) -> Any:
    values = np.asarray(values)
    return values.astype(values.dtype.newbyteorder("="), copy=not values.flags.writeable)


def free_memory() -> int | None:
    """Bytes of memory that are available without swapping, or None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        names = os.sysconf_names if hasattr(os, "sysconf_names") else {}
        if "SC_PHYS_PAGES" not in names:
            return None
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(fields["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in fields else None
