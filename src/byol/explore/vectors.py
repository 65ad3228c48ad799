"""Files of vectors: Parquet, `.npy` with a CSV file of names beside it, or CSV. Each is written whole or not at all."""

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from byol.errors import UserError, nearest
from byol.explore.listing import Rows

Vectors = NDArray[np.float32]

SUFFIXES = (".parquet", ".npy", ".csv")
METADATA = b"byol"
"""Key of the Parquet metadata that holds, as JSON, which encoder and which data a file is of."""
HEAD = ("index", "path", "label")
"""Columns beside the vectors."""


@dataclass(frozen=True)
class Block:
    """Some images: what is known of them, and their vectors."""

    rows: Rows
    values: Vectors
    """(n, D)."""


@dataclass(frozen=True)
class Shape:
    """The size of all blocks together."""

    rows: int
    features: int


def check_suffix(path: Path) -> None:
    """See that a file's name says how it is to be written.

    Raises:
        UserError: it does not.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(
            f"{str(path)!r} ends in {path.suffix or 'no suffix'!r}, but vectors are written as "
            f"{', '.join(SUFFIXES)}; give one of these.{nearest(path.suffix, SUFFIXES)}"
        )


def names_beside(path: Path) -> Path:
    """The CSV file of names that goes with an `.npy` file; `features.csv` may be a file of labels."""
    return path.with_suffix(".names.csv")


def write_vectors(path: Path, blocks: Iterable[Block], shape: Shape, origin: Mapping[str, object]) -> None:
    """Write blocks of rows, one after the other, so that only one of them need be in memory.

    Args:
        path: ends in one of `SUFFIXES`.
        blocks: in the order in which they are to be written.
        shape: of all of them together.
        origin: encoder and data, kept in the metadata of Parquet.

    Raises:
        UserError: the disk is full or not writable.
    """
    check_suffix(path)
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        _write_parquet(path, blocks, origin)
    elif suffix == ".csv":
        _write_csv(path, blocks, shape)
    else:
        _write_npy(path, blocks, shape)


def _write_parquet(path: Path, blocks: Iterable[Block], origin: Mapping[str, object]) -> None:
    fields = [
        ("index", pa.int64()),
        ("path", pa.string()),
        ("label", pa.string()),
        ("embedding", pa.list_(pa.float32())),
    ]
    schema = pa.schema(fields, metadata={METADATA: json.dumps(origin)})
    with replacing(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for block in blocks:
            rows, vectors = block.rows, column_of(block.values)
            writer.write_table(pa.table([rows.indices, rows.paths, rows.labels, vectors], schema=schema))


def _write_csv(path: Path, blocks: Iterable[Block], shape: Shape) -> None:
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*HEAD, *feature_names(shape.features)])
        for block in blocks:
            for start, row in zip(_named(block.rows), block.values, strict=True):
                writer.writerow([*start, *map(str, row)])  # numpy's text of a float32 reads back as the same


def _write_npy(path: Path, blocks: Iterable[Block], shape: Shape) -> None:
    with (
        replacing(path) as temporary,
        replacing(names_beside(path)) as names,
        names.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(HEAD)

        def values() -> Iterator[Vectors]:
            for block in blocks:
                writer.writerows(_named(block.rows))
                yield block.values

        write_array(temporary, (shape.rows, shape.features), values())


def column_of(vectors: Vectors) -> pa.ListArray:
    """(N, D) as a column of lists."""
    count, width = vectors.shape
    starts = pa.array(np.arange(0, (count + 1) * width, width, dtype=np.int32))
    return pa.ListArray.from_arrays(starts, pa.array(vectors.ravel()))


def feature_names(count: int) -> Iterator[str]:
    """The columns of so many features, `f0` and on."""
    return (f"f{number}" for number in range(count))


def write_array(path: Path, shape: tuple[int, ...], parts: Iterable[NDArray[np.float32]]) -> None:
    """Write a `.npy` file of a shape from parts along its first axis, one after the other."""
    stored = np.lib.format.open_memmap(path, "w+", np.float32, shape)
    start = 0
    for part in parts:
        stored[start : start + len(part)] = part
        start += len(part)
    stored.flush()


def _named(rows: Rows) -> Iterator[tuple[int, str, str]]:
    for index, path, label in zip(rows.indices, rows.paths, rows.labels, strict=True):
        yield index, path, label or ""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write that takes the place of `path` when all went well.

    Raises:
        UserError: the disk is full or not writable.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        yield temporary
        os.replace(temporary, path)  # noqa: PTH105
    except OSError as error:
        raise UserError(
            f"Cannot write {path}: {error.strerror or error}; free the disk or give another --out."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
