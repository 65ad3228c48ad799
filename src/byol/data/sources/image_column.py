"""The column of images of a table: which one it is, and the encoded bytes and paths in it."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from byol.errors import UserError

__all__ = ["Feature", "bytes_and_paths", "each_image", "features_of", "image_column", "is_list", "rows_of_images"]

# Common names of these columns. The first one that is found is taken.
IMAGE_NAMES = ("image", "img", "images", "jpg", "jpeg", "png", "webp", "picture", "photo", "image_bytes", "bytes")
PATH_NAMES = ("image_path", "path", "file", "filename", "file_name", "filepath", "file_path", "image_file")


class Feature(NamedTuple):
    """Hugging Face's description of a column."""

    kind: str
    names: list[str] | None


def features_of(schema: pa.Schema) -> dict[str, Feature]:
    """Hugging Face's description of the columns, from the schema's metadata; empty where there is none."""
    try:
        described = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {
            name: Feature(str(feature.get("_type")), feature.get("names"))
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
    kind = kind.value_type if is_list(kind) else kind
    if pa.types.is_struct(kind):
        return any(_is_image(kind.field(name).type) for name in ("bytes", "path") if kind.get_field_index(name) >= 0)
    return _is_binary(kind) or _is_string(kind)


def is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def rows_of_images(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """The row that each image is in: a row may hold a list of images."""
    if not is_list(column.type):
        return np.arange(len(column))
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    return np.repeat(np.arange(len(column)), lengths)


def each_image(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The images of all rows, one after the other."""
    return pc.list_flatten(column) if is_list(column.type) else column


def image_column(file: Path, schema: pa.Schema, features: dict[str, Feature]) -> str:
    """The column that Hugging Face describes as images, else one chosen by its type and name."""
    kinds: dict[str, pa.DataType] = {field.name: field.type for field in schema}
    declared = [
        name for name in kinds if name in features and features[name].kind == "Image" and _is_image(kinds[name])
    ]
    inner = {name: kind.value_type if is_list(kind) else kind for name, kind in kinds.items()}
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


def bytes_and_paths(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray | None, pa.ChunkedArray | None]:
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
