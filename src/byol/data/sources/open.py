"""Whatever a user calls data, as a `Source`.

A new kind of store (tar shards, a hub) joins by one more subclass of `Source` and one more branch in `open_source`.
"""

import glob
from collections.abc import Sequence
from pathlib import Path

from byol.data.sources.base import Source, TensorSource
from byol.data.sources.files import IMAGE_SUFFIXES, FileSource, FolderSource, ListSource, file_source
from byol.data.sources.named import is_name, open_named, suggestion
from byol.data.sources.parquet import ParquetSource, parquet_files
from byol.errors import UserError, nearest

__all__ = ["FileSource", "FolderSource", "ListSource", "ParquetSource", "Source", "TensorSource", "open_source"]


def open_source(data: str | Path | Source | Sequence[str | Path], channels: int | None = None) -> Source:
    """Whatever a user calls data, as a `Source`.

    Args:
        data: a folder of images, a text list, Parquet (one file, a folder of them, or a pattern such as
            `data/train-*.parquet`), a sequence of Parquet or of image files, or a name: `photos` for the embedded
            photographs, `cifar10` and others through torchvision, with `:test` after it for another part. What lies
            on the disk goes before a name. A source is given back as it is.
        channels: deliver so many; None looks at a sample: 1 where all are gray, what arrays and
            multi-channel TIFF have, else 3.

    Raises:
        UserError: there is nothing of the sort, or nothing to read in it.
    """
    if isinstance(data, Source):
        return data
    if not isinstance(data, str | Path):
        return _open_files([Path(item) for item in data], f"{len(data)} files", channels)
    text = str(data)
    path = Path(text).expanduser()
    if path.is_dir():
        tables = parquet_files(path)
        return ParquetSource(text, tables, channels) if tables else FolderSource(path, channels)
    if path.is_file():
        return _open_files([path], text, channels)
    if is_name(text):
        return open_named(text, channels)
    if any(sign in text for sign in "*?["):
        return _open_files(_matches(path), text, channels)
    raise UserError(
        f"{text!r} is not there; give a folder of images, a text list, Parquet files, or the name of a data set."
        f"{_sibling(path) or suggestion(text)}"
    )


def is_fetched(data: str) -> bool:
    """Whether opening it may fetch it from the network: a name of which nothing lies on the disk."""
    return is_name(data) and not Path(data).expanduser().exists()


def _open_files(files: list[Path], name: str, channels: int | None) -> Source:
    suffixes = {file.suffix.lower() for file in files}
    if suffixes == {".parquet"}:
        return ParquetSource(name, files, channels)
    if not files:
        raise UserError(f"{name!r} matches no file; give a folder of images, a text list, or Parquet files.")
    if len(files) > 1 and suffixes <= IMAGE_SUFFIXES:
        return file_source(name, [str(file) for file in files], channels=channels)
    if len(files) > 1:
        kinds = ", ".join(sorted(suffix or "no suffix" for suffix in suffixes))
        raise UserError(f"{name} of several kinds were given ({kinds}); give only Parquet files, or only images.")
    if suffixes <= IMAGE_SUFFIXES:
        raise UserError(f"{name!r} is a single image; give a folder of images, a text list, or Parquet files.")
    return ListSource(files[0], channels)


def _matches(pattern: Path) -> list[Path]:
    """Files that a pattern matches, sorted; `**` stands for folders of any depth."""
    found = map(Path, glob.glob(str(pattern), recursive=True))  # noqa: PTH207  (the pattern may be absolute)
    return sorted(path for path in found if path.is_file())


def _sibling(path: Path) -> str:
    """A neighbor on the disk with nearly the same name, for the message about a path that is not there."""
    try:
        names = [entry.name for entry in path.parent.iterdir() if not entry.name.startswith(".")]
    except OSError:
        return ""
    return nearest(path.name, names)
