"""Encoded images of Parquet files that stay on the disk: read by row group, the smallest part that Parquet reads.

In the order of `shards`, each row group is read once an epoch, and few of them are held at a time.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from byol.data.order import Shards
from byol.data.sources.files import file_state
from byol.data.sources.held_images import HeldImages
from byol.data.sources.image_column import is_list, rows_of_images
from byol.errors import BadImage, UnreachableImage, UserError
from byol.runtime.device import free_memory

__all__ = ["DAMAGED", "RowGroups", "bytes_of_images", "unreadable"]

WINDOW_BYTES = 256 * 2**20
"""Encoded images among which a run shuffles, beside the order of the row groups, which is random."""

DAMAGED = (pa.ArrowException, OSError, UnicodeDecodeError)
"""What reading a damaged file raises: the names of its columns may be no text."""


@dataclass(frozen=True)
class _Group:
    """One row group of a file."""

    file: Path
    number: int
    first_row: int
    rows: int
    size: int
    """Bytes of its images."""


class RowGroups:
    """The images in a column of some Parquet files.

    Row groups that were asked for last are kept. An image that the order of `shards` brings comes less than a window
    from where it is stored, so the groups that it goes through at a time hold two windows at most and one group more
    at either end; so many bytes are kept.

    Args:
        name: what the user typed, for messages.
        files: the files.
        image: name of the column; see `image_column.py` for its types.

    Raises:
        UserError: so many bytes are not free.
    """

    def __init__(self, name: str, files: Sequence[Path], image: str) -> None:
        self._image = image
        self._metadata = {file: _metadata(file) for file in files}
        self._groups = [group for file in files for group in _groups_of(file, self._metadata[file], image)]
        largest = max((group.size for group in self._groups), default=0)
        self._keeps = 2 * (max(WINDOW_BYTES, largest) + largest)
        free = free_memory(torch.device("cpu"))
        if self._keeps > free:
            raise UserError(
                f"{name!r} has row groups of up to {largest / 2**30:.1f} GiB, of which some are held at a time, where "
                f"{free / 2**30:.1f} GiB of memory are free; write it again with smaller ones, such as "
                "pyarrow.parquet.write_table(..., row_group_size=100)."
            )
        rows = [self._rows_of(group) for group in self._groups]
        self._starts = np.cumsum([0] + [len(each) for each in rows])
        of_file: dict[Path, list[npt.NDArray[np.int64]]] = {file: [np.arange(0)] for file in files}
        for group, each in zip(self._groups, rows, strict=True):
            of_file[group.file].append(each)
        self.rows = [np.concatenate(parts) for parts in of_file.values()]
        """Of each file, the row that each of its images is in."""
        sizes = [len(each) for each in rows]
        mean = sum(group.size for group in self._groups) / max(1, sum(sizes))
        window = max(1, *sizes, int(WINDOW_BYTES / max(1, mean)))
        self.shards = Shards(sizes, window) if sizes else None
        self._kept: OrderedDict[int, tuple[Lock, list[HeldImages]]] = OrderedDict()
        self._kept_bytes, self._keeping = 0, Lock()

    def stored(self, index: int) -> tuple[pa.Buffer | None, str | None]:
        """An image's encoded bytes, or else its path; neither where the row is empty.

        Raises:
            BadImage: its row group cannot be read.
        """
        number = self._group(index)
        return self._held(number).stored(index - int(self._starts[number]))

    def size(self, index: int) -> int | None:
        """The mean bytes of the images in an image's row group: its own would take reading the group."""
        number = self._group(index)
        return self._groups[number].size // max(1, int(self._starts[number + 1] - self._starts[number]))

    def state(self, index: int, file: Path) -> str:
        """What is another text as soon as a file is written anew."""
        return f"{file_state(file)} {index - int(self._starts[self._group(index)])}"

    def described(self) -> list[str | bytes]:
        """What goes into a fingerprint: images and bytes of all row groups."""
        counts = np.diff(self._starts).astype(np.int64)
        return [counts.tobytes(), np.array([group.size for group in self._groups], dtype=np.int64).tobytes()]

    def _group(self, index: int) -> int:
        return int(np.searchsorted(self._starts, index, side="right")) - 1

    def _rows_of(self, group: _Group) -> npt.NDArray[np.int64]:
        """The row that each image of a group is in; a group of lists is read for that."""
        kind = self._metadata[group.file].schema.to_arrow_schema().field(self._image).type
        if not is_list(kind):
            return np.arange(group.first_row, group.first_row + group.rows)
        try:
            return group.first_row + rows_of_images(self._read(group))
        except BadImage as error:
            raise UserError(f"{str(group.file)!r}: {error}; fetch or write it again.") from error

    def _held(self, number: int) -> HeldImages:
        """The images of a group, read by one thread while others that want it wait."""
        with self._keeping:
            if number not in self._kept:
                self._kept[number] = (Lock(), [])
                self._kept_bytes += self._groups[number].size
            lock, held = self._kept[number]
            self._kept.move_to_end(number)
            while len(self._kept) > 1 and self._kept_bytes > self._keeps:
                oldest, _ = self._kept.popitem(last=False)
                self._kept_bytes -= self._groups[oldest].size
        with lock:
            if not held:
                held.append(HeldImages([self._read(self._groups[number])]))
            return held[0]

    def _read(self, group: _Group) -> pa.ChunkedArray:
        try:
            with pq.ParquetFile(group.file, metadata=self._metadata[group.file]) as file:
                table = file.read_row_group(group.number, columns=[self._image], use_threads=False)
                return table.column(self._image)
        except DAMAGED as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise UnreachableImage(f"cannot be read: {error.strerror}") from error
            reason = " ".join(str(error).split())[:120]
            raise BadImage(f"its row group {group.number} cannot be read ({reason})") from error


def bytes_of_images(files: Sequence[Path], image: str) -> int:
    """Bytes that the column of images takes in memory, as the files state it.

    Raises:
        UserError: a file is damaged.
    """
    return sum(group.size for file in files for group in _groups_of(file, _metadata(file), image))


def unreadable(file: Path, error: Exception) -> UserError:
    """What to say of a file that is no Parquet, or damaged."""
    reason = " ".join(str(error).split())[:120]
    return UserError(
        f"{str(file)!r} cannot be read as Parquet ({reason}); it may be cut short: fetch or write it again."
    )


def _metadata(file: Path) -> pq.FileMetaData:
    try:
        return pq.read_metadata(file)
    except DAMAGED as error:
        raise unreadable(file, error) from error


def _groups_of(file: Path, metadata: pq.FileMetaData, image: str) -> list[_Group]:
    found, first = [], 0
    try:
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            columns = (group.column(column) for column in range(group.num_columns))
            size = sum(part.total_uncompressed_size for part in columns if part.path_in_schema.split(".")[0] == image)
            found.append(_Group(file, number, first, group.num_rows, size))
            first += group.num_rows
    except DAMAGED as error:
        raise unreadable(file, error) from error
    return found
