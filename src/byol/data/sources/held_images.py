"""Encoded images of tables in memory, or mapped into it: any of them is there at once."""

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from byol.data.sources.files import file_state
from byol.data.sources.image_column import bytes_and_paths, each_image, rows_of_images

__all__ = ["HeldImages"]


class HeldImages:
    """The images in a column of some tables, in their order.

    Args:
        columns: the column of each table, all of one type; see `image_column.py` for the types.
    """

    shards = None

    def __init__(self, columns: Sequence[pa.ChunkedArray]) -> None:
        self.rows = [rows_of_images(column) for column in columns]
        """Of each table, the row that each of its images is in."""
        images = [each_image(column) for column in columns]
        chunks = [chunk for column in images for chunk in column.chunks]
        # Columns of one type are concatenated without a copy.
        self._bytes, self._paths = bytes_and_paths(pa.chunked_array(chunks, type=images[0].type))

    def stored(self, index: int) -> tuple[pa.Buffer | None, str | None]:
        """An image's encoded bytes, or else its path; neither where the row is empty."""
        blob = None if self._bytes is None else self._bytes[index].as_buffer()
        path: str | None = self._paths[index].as_py() if blob is None and self._paths is not None else None
        return blob, path

    def size(self, index: int) -> int | None:
        """Bytes of an image, or None where they are in a file of their own."""
        blob = None if self._bytes is None else self._bytes[index].as_buffer()
        return None if blob is None else int(blob.size)

    def state(self, index: int, file: Path) -> str:
        """What is another text as soon as an image of a table's file changes."""
        blob, path = self.stored(index)
        if blob is not None:
            return str(zlib.crc32(blob))
        return "" if path is None else file_state(file.parent / path)

    def described(self) -> list[str | bytes]:
        """What goes into a fingerprint: the sizes of all images, and the paths of those that lie elsewhere."""
        parts: list[str | bytes] = []
        if self._bytes is not None:
            lengths = pc.fill_null(pc.binary_length(self._bytes), -1)
            parts.append(lengths.to_numpy().astype(np.int64).tobytes())
        if self._paths is not None:
            parts += [str(path) for path in self._paths.to_pylist()]
        return parts
