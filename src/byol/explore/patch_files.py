"""Files of patch features, beside those of the vectors: a row for each patch of each image, or an array of grids."""

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from byol.encoders.patches import PatchShape
from byol.explore.listing import Rows
from byol.explore.vectors import METADATA, column_of, feature_names, replacing, write_array

HEAD = ("index", "path", "row", "column")
"""Columns beside the features of a patch."""


@dataclass(frozen=True)
class PatchBlock:
    """Some images and the features of their patches."""

    rows: Rows
    values: NDArray[np.float32]
    """(n, h, w, E)."""

    def places(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Image, row and column of each patch, image by image and row by row, each (n * h * w,)."""
        count, height, width = self.values.shape[:3]
        image, row, column = np.indices((count, height, width)).reshape(3, -1)
        return image, row, column


def patches_beside(path: Path) -> Path:
    """The file of patch features that goes with a file of vectors: `features.patches.parquet`."""
    return path.with_suffix(f".patches{path.suffix}")


def write_patches(
    path: Path, blocks: Iterable[PatchBlock], images: int, shape: PatchShape, origin: Mapping[str, object]
) -> None:
    """Write the patches of blocks of images, one after the other, so that only one block need be in memory.

    Args:
        path: ends in `.parquet`, `.csv` (a row for each patch) or `.npy` (an array (images, h, w, E)).
        blocks: in the order in which they are to be written.
        images: of all blocks together.
        shape: of each image.
        origin: encoder and data, kept in the metadata of Parquet with the number of rows and columns.

    Raises:
        UserError: the disk is full or not writable.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        grid = {"rows": shape.rows, "columns": shape.columns, "channels": shape.channels}
        _write_parquet(path, blocks, {**origin, "patches": grid})
    elif suffix == ".csv":
        _write_csv(path, blocks, shape)
    else:
        _write_npy(path, blocks, images, shape)


def _write_parquet(path: Path, blocks: Iterable[PatchBlock], origin: Mapping[str, object]) -> None:
    fields = [
        ("index", pa.int64()),
        ("path", pa.string()),
        ("row", pa.int32()),
        ("column", pa.int32()),
        ("embedding", pa.list_(pa.float32())),
    ]
    schema = pa.schema(fields, metadata={METADATA: json.dumps(origin)})
    with replacing(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for block in blocks:
            image, row, column = block.places()
            vectors = column_of(block.values.reshape(len(image), -1))
            index = np.asarray(block.rows.indices)[image]
            paths = pa.DictionaryArray.from_arrays(pa.array(image, pa.int32()), pa.array(block.rows.paths, pa.string()))
            columns = [pa.array(index), paths.cast(pa.string()), row.astype(np.int32), column.astype(np.int32), vectors]
            writer.write_table(pa.table(columns, schema=schema))


def _write_csv(path: Path, blocks: Iterable[PatchBlock], shape: PatchShape) -> None:
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*HEAD, *feature_names(shape.channels)])
        for block in blocks:
            for image, row, column in zip(*block.places(), strict=True):
                start = block.rows.indices[image], block.rows.paths[image], row, column
                writer.writerow([*start, *map(str, block.values[image, row, column])])


def _write_npy(path: Path, blocks: Iterable[PatchBlock], images: int, shape: PatchShape) -> None:
    with replacing(path) as temporary:
        size = (images, shape.rows, shape.columns, shape.channels)
        write_array(temporary, size, (block.values for block in blocks))
