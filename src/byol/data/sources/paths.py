"""Paths of a million files in few bytes: each folder once, and all names in one block."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, repeat

import numpy as np
from numpy.typing import NDArray

__all__ = ["Paths"]

ERRORS = "surrogatepass"
"""Names of any bytes are strings with surrogates in Python, which must come back as they were."""
AT_ONCE = 4096
"""Paths whose places are turned into numbers of Python at once."""


class Paths:
    """Paths with `/` between folders, in an order of their own.

    A path takes 16 bytes beside its name; a list of strings takes 60 and the folder's name besides.

    Args:
        folders: each with its last `/`; the empty string for paths without a folder.
        folder_of: (N,) the number of each path's folder.
        names: all names, one after the other, in UTF-8.
        starts, sizes: (N,) where the name of each path is in them, in bytes.
    """

    def __init__(
        self,
        folders: list[str],
        folder_of: NDArray[np.int32],
        names: bytes | bytearray,
        starts: NDArray[np.int64],
        sizes: NDArray[np.int32],
    ) -> None:
        self.folders, self.folder_of = folders, folder_of
        self._names, self._starts, self._sizes = names, starts, sizes

    @classmethod
    def of(cls, paths: Iterable[str]) -> "Paths":
        """Paths as they are written, in their order."""
        together = groupby(paths, key=lambda path: path[: path.rfind("/") + 1])
        return cls.of_folders(
            (folder, [path[len(folder) :].encode("utf-8", ERRORS) for path in some]) for folder, some in together
        )

    @classmethod
    def of_folders(cls, parts: Iterable[tuple[str, Sequence[bytes]]]) -> "Paths":
        """Some names at a time, with the folder that they are in; a folder may come again.

        Args:
            parts: the folder with its last `/`, and the names in UTF-8.
        """
        numbers: dict[str, int] = {}
        folder_of, sizes, names = array("i"), array("i"), bytearray()
        for folder, some in parts:
            number = numbers.setdefault(folder, len(numbers))
            folder_of.extend(repeat(number, len(some)))
            sizes.extend(map(len, some))
            names += b"".join(some)
        lengths = np.frombuffer(sizes, dtype=np.int32) if sizes else np.empty(0, np.int32)
        starts = np.zeros(len(lengths), dtype=np.int64)
        np.cumsum(lengths[:-1], out=starts[1:])
        owners = np.frombuffer(folder_of, dtype=np.int32) if folder_of else np.empty(0, np.int32)
        return cls(list(numbers), owners, names, starts, lengths)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> str:
        start = int(self._starts[index])
        name = self._names[start : start + int(self._sizes[index])]
        return self.folders[int(self.folder_of[index])] + name.decode("utf-8", ERRORS)

    def __iter__(self) -> Iterator[str]:
        names, folders = self._names, self.folders
        for first in range(0, len(self), AT_ONCE):
            some = slice(first, first + AT_ONCE)
            starts, ends = self._starts[some], self._starts[some] + self._sizes[some]
            places = zip(self.folder_of[some].tolist(), starts.tolist(), ends.tolist(), strict=True)
            for folder, start, end in places:
                yield folders[folder] + names[start:end].decode("utf-8", ERRORS)

    def take(self, indices: NDArray[np.int64]) -> "Paths":
        """The paths with these numbers, in this order; no name is copied."""
        return Paths(self.folders, self.folder_of[indices], self._names, self._starts[indices], self._sizes[indices])
