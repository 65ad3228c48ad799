"""From whatever a user names as data to a `Source`.

A new kind of storage (tar shards, a hub) is one more subclass of `Source`, and one more branch in `open_source`.
"""

import glob
from collections.abc import Sequence
from pathlib import Path

from byol.data.formats.extras import OME_ZARR, suffix_of
from byol.data.formats.ome_zarr import is_store
from byol.data.formats.registry import container_of, file_suffixes, image_suffixes
from byol.data.sources.arrow import ArrowSource, arrow_files
from byol.data.sources.base import Source
from byol.data.sources.files import FileSource, FolderSource, file_source
from byol.data.sources.hub import PARTIAL, hub_files, is_on_hub
from byol.data.sources.members import with_members
from byol.data.sources.named import is_name, open_named, suggestion
from byol.data.sources.parquet import ParquetSource
from byol.data.sources.parts import SeveralParts, files_of_a_part
from byol.data.sources.remote import is_remote, remote_matches, remote_suffix
from byol.data.sources.stacks import is_stack, open_stack, stack_files, stack_part
from byol.data.sources.tar import TAR_SUFFIXES, TarSource, braces
from byol.data.sources.tensor import TensorSource
from byol.data.sources.text_list import ListSource
from byol.errors import UserError, nearest

__all__ = [
    "FileSource",
    "FolderSource",
    "ListSource",
    "ParquetSource",
    "Source",
    "TarSource",
    "TensorSource",
    "open_source",
    "open_training",
]


def open_source(data: str | Path | Source | Sequence[str | Path], channels: int | None = None) -> Source:
    """Open whatever a user names as data.

    Args:
        data: a folder of images, a text list, Parquet (one file, a folder of them, or a pattern such as
            `data/train-*.parquet`), tar archives in the same three ways or as `data/train-{0000..0009}.tar`, a sequence
            of Parquet, tar or image files, a stack of images (HDF5, `.npz`, `.npy`), a folder of `save_to_disk`, or a
            name: `photos` for the embedded photographs, `cifar10` and others through torchvision, `hf:user/name` for a
            data set on the Hugging Face hub. Tar archives may be URLs (`https://host/shard-{000..099}.tar`,
            `s3://bucket/shard-*.tar`). `:test` after a name or a stack is another part. Where both a path and a name
            fit, the path is taken. A source is returned as it is. Scans, volumes, videos and slides are read as
            `current_reading` says.
        channels: deliver images with so many channels; None decides by a sample: 1 where all are gray, the number of
            arrays and multi-channel TIFF, else 3.

    Raises:
        UserError: it does not exist, or has no images.
    """
    if isinstance(data, Source):
        return data
    if not isinstance(data, str | Path):
        if any(is_remote(item) for item in data):
            return _open_remote([str(item) for item in data], f"{len(data)} files", channels)
        return _open_files([Path(item) for item in data], f"{len(data)} files", channels)
    text = str(data)
    if is_remote(text):
        return _open_remote([text], text, channels)
    path = Path(text).expanduser()
    if is_store(path):
        if not OME_ZARR.there:
            raise UserError(f"{text!r} is OME-Zarr, which is read with an extra; run: {OME_ZARR.command}.")
        return with_members(file_source(text, [str(path)], channels=3), channels)
    if path.is_dir():
        stacks = stack_files(path)
        if stacks:
            return open_stack(stacks, text, channels)
        arrow = arrow_files(path)
        if arrow:
            return ArrowSource(text, arrow, channels)
        tables = files_of_a_part(path, ".parquet")
        if tables:
            return ParquetSource(text, tables, channels)
        archives = files_of_a_part(path, ".tar")
        if archives:
            return TarSource(text, archives, channels)
        return with_members(FolderSource(path, channels), channels)
    if path.is_file():
        return _open_files([path], text, channels)
    part = stack_part(text)
    if part is not None:
        return open_stack(part[0], text.rpartition(":")[0], channels, part[1])
    if is_on_hub(text):
        return _open_hub(text, channels)
    if is_name(text):
        return open_named(text, channels)
    if (shards := list(braces(text))) != [text]:
        return _open_files([Path(shard).expanduser() for shard in shards], text, channels)
    if any(sign in text for sign in "*?["):
        return _open_files(_matches(path), text, channels)
    raise UserError(
        f"{text!r} is not there; give a folder of images, a text list, Parquet files, or the name of a data set."
        f"{_sibling(path) or suggestion(text)}"
    )


def open_training(data: str | Path | Source | Sequence[str | Path], channels: int | None = None) -> Source:
    """Open data as `open_source` does; of a folder with several parts, such as train and test, the training part."""
    try:
        return open_source(data, channels)
    except SeveralParts as found:
        if found.training is None:
            raise
        return open_source(found.training, channels)


def is_fetched(data: str) -> bool:
    """Whether opening it may download it: it is a URL, or a name and no path of this name exists."""
    return is_remote(data) or ((is_name(data) or is_on_hub(data)) and not Path(data).expanduser().exists())


def _open_remote(urls: Sequence[str], name: str, channels: int | None) -> Source:
    """Tar archives by their URLs, each with a range of numbers in braces or a pattern, or without."""
    files = [file for url in urls for shard in braces(url) for file in remote_matches(shard)]
    if not files:
        raise UserError(f"{name!r} matches no file; check the address.")
    other = next((file for file in files if is_remote(file) and remote_suffix(file) != ".tar"), None)
    if other is not None:
        raise UserError(
            f"{other!r} is no tar archive, and nothing else is read from a server; give shards, such as "
            "https://host/shard-{000..099}.tar, or download it."
        )
    return TarSource(name, files, channels)


def _open_hub(text: str, channels: int | None) -> Source:
    """A data set on the Hugging Face hub."""
    files = hub_files(text)
    source = _open_files(files, text, channels)
    if any(folder.startswith(PARTIAL) for file in files for folder in file.parts):
        source.notes = (*source.notes, f"{text}: the hub's copy in Parquet holds the first part of the data set only")
    return source


def _open_files(files: list[Path], name: str, channels: int | None) -> Source:
    suffixes = {suffix_of(file.name) for file in files}
    if suffixes == {".arrow"}:
        return ArrowSource(name, files, channels)
    if suffixes == {".parquet"}:
        return ParquetSource(name, files, channels)
    if suffixes and suffixes <= TAR_SUFFIXES:
        return TarSource(name, files, channels)
    if not files:
        raise UserError(f"{name!r} matches no file; give a folder of images, a text list, or Parquet files.")
    if len(files) > 1 and suffixes <= file_suffixes():
        return with_members(file_source(name, [str(file) for file in files], channels=channels), channels)
    if len(files) > 1:
        kinds = ", ".join(sorted(suffix or "no suffix" for suffix in suffixes))
        raise UserError(f"{name} of several kinds were given ({kinds}); give only Parquet files, or only images.")
    if is_stack(files[0]):
        return open_stack(files, name, channels)
    if container_of(str(files[0])) is not None:
        return with_members(file_source(name, [str(files[0])], channels=channels), channels)
    if suffixes <= image_suffixes():
        raise UserError(f"{name!r} is a single image; give a folder of images, a text list, or Parquet files.")
    return with_members(ListSource(files[0], channels), channels)


def _matches(pattern: Path) -> list[Path]:
    """Files and stores of OME-Zarr that a pattern matches, sorted; `**` matches folders of any depth."""
    found = [Path(name) for name in glob.glob(str(pattern), recursive=True)]  # noqa: PTH207  (it may be absolute)
    stores = {path for path in found if path.is_dir() and is_store(path)}
    outside = [path for path in found if stores.isdisjoint(path.parents)]
    return sorted(path for path in outside if path in stores or path.is_file())


def _sibling(path: Path) -> str:
    """A suggestion of a path beside it with nearly the same name, for the message about a missing path."""
    try:
        names = [entry.name for entry in path.parent.iterdir() if not entry.name.startswith(".")]
    except OSError:
        return ""
    return nearest(path.name, names)
