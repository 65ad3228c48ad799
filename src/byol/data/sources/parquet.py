"""Images in Parquet files, as Hugging Face writes them or as a plain column of encoded bytes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from byol.data.axes import current_axes
from byol.data.sources.base import Source
from byol.data.sources.digest import digest, label_digest
from byol.data.sources.files import read_file
from byol.data.sources.held_images import HeldImages
from byol.data.sources.image_column import features_of, image_column, is_list
from byol.data.sources.label_column import Column, label_columns, may_be_fractions, read_labels, stored_values
from byol.data.sources.row_groups import DAMAGED, RowGroups, bytes_of_images, unreadable
from byol.errors import BadImage, UnreachableImage, UserError

__all__ = ["ParquetSource"]

STREAMED_FROM = 2**30
"""Bytes of encoded images from which on they stay on the disk. The order of a run depends on it, so it is a fact of
the files and not of what is free on a machine: a resumed run, and every process, find the same order."""


class ParquetSource(Source):
    """One or more Parquet files with a column of images, and perhaps a column of labels.

    The image column is a struct of `bytes` and `path` (the layout of Hugging Face), plain binary, a string with paths
    relative to the file, or a list of these, each of which is an image with the label of its row. Where `bytes` is
    empty, the path is read. Labels are whole numbers, with names where the file's metadata has them, or strings; files
    with different names are joined by name (`label_column.py`).

    Up to `STREAMED_FROM` bytes of encoded images are kept in memory. Larger sets stay on the disk and are read by row
    group (`row_groups.py`); `shards` then says in which order they should be asked for.

    Raises:
        UserError: a file is not Parquet, has no rows or no images, or its row groups are too large for the memory.
    """

    def __init__(self, name: str, files: Sequence[str | Path], channels: int | None = None) -> None:
        self.name, self.axes = name, current_axes()
        self._files = [Path(file) for file in files]
        schemas = [self._schema(file) for file in self._files]
        for file, schema in zip(self._files, schemas, strict=True):
            if schema.names != schemas[0].names:
                raise UserError(
                    f"{str(file)!r} has other columns ({', '.join(schema.names)}) than {str(self._files[0])!r} "
                    f"({', '.join(schemas[0].names)}); give files of one data set."
                )
        features = features_of(schemas[0])
        image = image_column(self._files[0], schemas[0], features)
        declared = [name for name, feature in features.items() if feature.kind == "ClassLabel"]
        label = self._label_column(schemas[0], label_columns(schemas[0], declared, image))
        self._images = self._stored_images(image)
        self._starts = np.cumsum([0] + [len(rows) for rows in self._images.rows])
        if self._starts[-1] == 0:
            raise UserError(f"{name!r} has no rows; give files with images.")
        self.shards = self._images.shards
        if is_list(schemas[0].field(image).type):
            self.notes = (f"Parquet: each image of the lists in the column {image!r} is read by itself",)
        self.labels, self.classes = None, None
        if label is not None:
            self._read_labels(label, schemas)
        self.channels = self._own_channels() if channels is None else channels

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, index: int) -> bytes:
        blob, path = self._images.stored(index)
        if blob is not None:
            return bytes(blob)
        if path is None:
            raise BadImage("the row is empty")
        place = self._place(index)[0].parent / path
        try:
            return read_file(place)
        except UnreachableImage as error:
            raise UnreachableImage(f"{place} {error}; paths in Parquet are relative to its folder") from error

    def where(self, index: int) -> str:
        file, row = self._place(index)
        return f"{file} row {row}"

    def stored_bytes(self, index: int) -> int | None:
        return self._images.size(index)

    def state(self, index: int) -> str:
        return self._images.state(index, self._place(index)[0])

    def fingerprint(self) -> str:
        return digest([*self._images.described(), label_digest(self.labels, self.classes)])

    def _read_labels(self, label: str, schemas: Sequence[pa.Schema]) -> None:
        """Take the labels in a column; each counts for all images of its row."""
        names = [features_of(schema)[label].names if label in features_of(schema) else None for schema in schemas]
        columns = [
            Column(str(file), stored_values(self._table(file, [label]).column(label)), known)
            for file, known in zip(self._files, names, strict=True)
        ]
        found = read_labels(label, columns)
        self.labels, self.classes, self.remark = found.labels, found.classes, found.remark
        self.labels_from = f"the column {label!r}" if self.labels else ""
        if self.labels is not None:
            first = np.cumsum([0] + [len(column.values) for column in columns])
            row = np.concatenate([rows + start for rows, start in zip(self._images.rows, first[:-1], strict=True)])
            self.labels = [self.labels[number] for number in row.tolist()]

    def _label_column(self, schema: pa.Schema, candidates: list[str]) -> str | None:
        """The first of some columns whose values are labels; if none is, the first, so that it can be said why."""
        for name in candidates:
            if not may_be_fractions(schema.field(name).type):
                return name
            values = [
                Column(str(file), stored_values(self._table(file, [name]).column(name)), None) for file in self._files
            ]
            if read_labels(name, values).labels is not None:
                return name
        return candidates[0] if candidates else None

    def _schema(self, file: Path) -> pa.Schema:
        return _schema(file)

    def _table(self, file: Path, columns: list[str]) -> pa.Table:
        return _read(file, columns)

    def _stored_images(self, image: str) -> HeldImages | RowGroups:
        """The column of images: in memory, or where there are more, by row group."""
        if bytes_of_images(self._files, image) > STREAMED_FROM:
            return RowGroups(self.name, self._files, image)
        return HeldImages([self._table(file, [image]).column(image) for file in self._files])

    def _place(self, index: int) -> tuple[Path, int]:
        """The file that holds an image, and its row there."""
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self._files[number], int(self._images.rows[number][index - int(self._starts[number])])


def _schema(file: Path) -> pa.Schema:
    try:
        return pq.read_schema(file)
    except DAMAGED as error:
        raise unreadable(file, error) from error


def _read(file: Path, columns: list[str]) -> pa.Table:
    try:
        return pq.read_table(file, columns=columns, partitioning=None)
    except DAMAGED as error:
        raise unreadable(file, error) from error
