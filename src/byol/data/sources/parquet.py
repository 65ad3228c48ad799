"""Images in Parquet files, as Hugging Face writes them or as a plain column of encoded bytes."""

import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from byol.data.axes import current_axes
from byol.data.sources.base import Source
from byol.data.sources.digest import digest, label_digest
from byol.data.sources.files import file_state, read_file
from byol.data.sources.label_column import Column, label_columns, may_be_fractions, read_labels, stored_values
from byol.errors import BadImage, UnreachableImage, UserError

__all__ = ["ParquetSource", "free_memory"]

# Common names of these columns. The first one that is found is taken.
IMAGE_NAMES = ("image", "img", "images", "jpg", "jpeg", "png", "webp", "picture", "photo", "image_bytes", "bytes")
PATH_NAMES = ("image_path", "path", "file", "filename", "file_name", "filepath", "file_path", "image_file")


class _Feature(NamedTuple):
    """Hugging Face's description of a column."""

    kind: str
    names: list[str] | None


class ParquetSource(Source):
    """One or more Parquet files with a column of images, and perhaps a column of labels.

    The image column is a struct of `bytes` and `path` (the layout of Hugging Face), plain binary, a string with paths
    relative to the file, or a list of these, each of which is an image with the label of its row. Where `bytes` is
    empty, the path is read. Labels are whole numbers, with names where the file's metadata has them, or strings; files
    with different names are joined by name (`label_column.py`).

    Arrow keeps the encoded bytes in memory.

    Raises:
        UserError: a file is not Parquet, has no rows or no images, or all files together do not fit in memory.
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
        features = _features(schemas[0])
        image = _image_column(self._files[0], schemas[0], features)
        declared = [name for name, feature in features.items() if feature.kind == "ClassLabel"]
        label = self._label_column(schemas[0], label_columns(schemas[0], declared, image))
        self._check_memory(image)
        tables = [self._table(file, [image] if label is None else [image, label]) for file in self._files]
        self._rows = [_rows_of_images(table.column(image)) for table in tables]
        self._starts = np.cumsum([0] + [len(rows) for rows in self._rows])
        if self._starts[-1] == 0:
            raise UserError(f"{name!r} has no rows; give files with images.")
        # Columns of one type are concatenated without a copy.
        if _is_list(tables[0].column(image).type):
            self.notes = (f"Parquet: each image of the lists in the column {image!r} is read by itself",)
        images = [_each_image(table.column(image)) for table in tables]
        columns = [chunk for column in images for chunk in column.chunks]
        self._bytes, self._paths = _bytes_and_paths(pa.chunked_array(columns, type=images[0].type))
        self.labels, self.classes = None, None
        if label is not None:
            names = [_features(schema)[label].names if label in _features(schema) else None for schema in schemas]
            found = read_labels(
                label,
                [
                    Column(str(file), stored_values(table.column(label)), known)
                    for file, table, known in zip(self._files, tables, names, strict=True)
                ],
            )
            self.labels, self.classes, self.remark = found.labels, found.classes, found.remark
            self.labels_from = f"the column {label!r}" if self.labels else ""
            if self.labels is not None:
                first = np.cumsum([0] + [len(table) for table in tables])
                row = np.concatenate([rows + start for rows, start in zip(self._rows, first[:-1], strict=True)])
                self.labels = [self.labels[number] for number in row.tolist()]
        self.channels = self._own_channels() if channels is None else channels

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, index: int) -> bytes:
        blob: bytes | None = None if self._bytes is None else self._bytes[index].as_py()
        if blob is not None:
            return blob
        path: str | None = None if self._paths is None else self._paths[index].as_py()
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
        blob = None if self._bytes is None else self._bytes[index].as_buffer()
        return None if blob is None else int(blob.size)

    def state(self, index: int) -> str:
        if self._bytes is not None and self._bytes[index].is_valid:
            return str(zlib.crc32(self._bytes[index].as_buffer()))
        path: str | None = None if self._paths is None else self._paths[index].as_py()
        return "" if path is None else file_state(self._place(index)[0].parent / path)

    def fingerprint(self) -> str:
        parts: list[str | bytes] = []
        if self._bytes is not None:
            lengths = pc.fill_null(pc.binary_length(self._bytes), -1)
            parts.append(lengths.to_numpy().astype(np.int64).tobytes())
        if self._paths is not None:
            parts += [str(path) for path in self._paths.to_pylist()]
        return digest([*parts, label_digest(self.labels, self.classes)])

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

    def _check_memory(self, image: str) -> None:
        _check_memory(self.name, self._files, image)

    def _place(self, index: int) -> tuple[Path, int]:
        """The file that holds an image, and its row there."""
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self._files[number], int(self._rows[number][index - int(self._starts[number])])


def _schema(file: Path) -> pa.Schema:
    try:
        return pq.read_schema(file)
    except (pa.ArrowException, OSError) as error:
        raise UserError(_unreadable(file, error)) from error


def _read(file: Path, columns: list[str]) -> pa.Table:
    try:
        return pq.read_table(file, columns=columns, partitioning=None)
    except (pa.ArrowException, OSError) as error:
        raise UserError(_unreadable(file, error)) from error


def _unreadable(file: Path, error: Exception) -> str:
    reason = " ".join(str(error).split())[:120]
    return f"{str(file)!r} cannot be read as Parquet ({reason}); it may be cut short: fetch or write it again."


def _features(schema: pa.Schema) -> dict[str, _Feature]:
    """Hugging Face's description of the columns, from the schema's metadata; empty where there is none."""
    try:
        described = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {
            name: _Feature(str(feature.get("_type")), feature.get("names"))
            for name, feature in described.items()
            if isinstance(feature, dict)
        }
    except (KeyError, TypeError, ValueError, AttributeError):  # written by another program: the types alone decide
        return {}


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_string(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_image(kind: pa.DataType) -> bool:
    kind = kind.value_type if _is_list(kind) else kind
    if pa.types.is_struct(kind):
        return any(_is_image(kind.field(name).type) for name in ("bytes", "path") if kind.get_field_index(name) >= 0)
    return _is_binary(kind) or _is_string(kind)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _rows_of_images(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """The row that each image is in: a row may hold a list of images."""
    if not _is_list(column.type):
        return np.arange(len(column))
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    return np.repeat(np.arange(len(column)), lengths)


def _each_image(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The images of all rows, one after the other."""
    return pc.list_flatten(column) if _is_list(column.type) else column


def _image_column(file: Path, schema: pa.Schema, features: dict[str, _Feature]) -> str:
    """The column that Hugging Face describes as images, else one chosen by its type and name."""
    kinds: dict[str, pa.DataType] = {field.name: field.type for field in schema}
    declared = [
        name for name in kinds if name in features and features[name].kind == "Image" and _is_image(kinds[name])
    ]
    inner = {name: kind.value_type if _is_list(kind) else kind for name, kind in kinds.items()}
    stored = [name for name in kinds if _is_binary(inner[name]) or pa.types.is_struct(inner[name])]
    stored = [name for name in stored if _is_image(kinds[name])]
    paths = [name for name in kinds if _is_string(kinds[name]) and name.lower() in IMAGE_NAMES + PATH_NAMES]
    for candidates in (declared, stored, paths):
        if candidates:
            preferred = [name for known in IMAGE_NAMES for name in candidates if name.lower() == known]
            return (preferred or candidates)[0]
    raise UserError(
        f"{str(file)!r} has no column of images (columns: {', '.join(schema.names)}); "
        "store encoded images as binary, or as Hugging Face does, in a column 'image'."
    )


def _bytes_and_paths(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray | None, pa.ChunkedArray | None]:
    """The encoded bytes, and the paths where some row has no bytes."""
    kind = column.type
    if _is_string(kind):
        return None, column
    if not pa.types.is_struct(kind):
        return column, None
    names = [name for name in ("bytes", "path") if kind.get_field_index(name) >= 0]
    fields = {name: pc.struct_field(column, name) for name in names}
    blobs, paths = fields.get("bytes"), fields.get("path")
    if blobs is None or blobs.null_count == len(blobs):
        return None, paths
    return blobs, paths if blobs.null_count else None


def _check_memory(name: str, files: list[Path], image: str) -> None:
    """Refuse files whose images do not fit in memory, before reading them."""
    needed = 0
    for file in files:
        metadata = pq.read_metadata(file)
        for group in range(metadata.num_row_groups):
            columns = (metadata.row_group(group).column(number) for number in range(metadata.num_columns))
            needed += sum(
                part.total_uncompressed_size for part in columns if part.path_in_schema.split(".")[0] == image
            )
    free = free_memory()
    if free is not None and needed > free:
        raise UserError(
            f"{name!r} holds {needed / 2**30:.1f} GiB of images where {free / 2**30:.1f} GiB of memory are free; "
            "give fewer files, or unpack the images into a folder."
        )


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
