"""Where the images of a tar archive lie in it: found once by its headers, and kept for the next time."""

import json
import os
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from byol.data.formats.registry import image_suffixes
from byol.data.sources.digest import digest
from byol.data.sources.named import data_home
from byol.data.sources.remote import RemoteFile, is_remote
from byol.errors import UserError

__all__ = ["LABEL_MEMBERS", "Samples", "index_of"]

LABEL_MEMBERS = ("cls", "json", "txt")
"""Suffixes of what lies beside an image and may hold its label, in the order in which they are tried."""
VERSION = "3"
"""Of what is kept: another one is made anew."""
LABEL_KEYS = ("class", "class_name", "label_name", "label", "cls", "target")
"""Keys of a JSON member that hold the label, a name before a number."""
LARGEST_LABEL = 1 << 16
"""Bytes of a member that may hold a label."""
COMPRESSED = ((b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"))
"""How compressed archives begin."""
LABEL = "label."
"""Before the suffix of the members that labels are from, in the names of columns of a kept index."""
KEY = re.compile(r"((?:.*/)?[^/.]+)\.([^/]+)")
"""A member's name up to the first dot of its last part, and what follows, as WebDataset takes them apart."""


@dataclass(frozen=True)
class Samples:
    """The images of one archive, in its order."""

    names: pa.Array
    """(N,) of the members, bytes."""
    places: NDArray[np.int64]
    """(N, 2): offset and size in bytes."""
    labels: dict[str, pa.Array]
    """(N,) text, or null: the labels that members of each suffix hold, or captions; only suffixes that occur."""
    groups: NDArray[np.int64] | None
    """(N,) the groups that `byol pack` noted, -1 where it knew none; None where there are none."""
    several: int
    """Images that are not read, because their sample has another one before them."""


@dataclass(frozen=True)
class _Archive:
    """An archive on the disk or elsewhere."""

    name: str
    """Its absolute path, or its URL."""
    size: int
    """In bytes."""
    mark: str
    """Another text as soon as the file changes."""

    def open(self) -> BinaryIO:
        return RemoteFile(self.name).open(self.size) if is_remote(self.name) else Path(self.name).open("rb")


def index_of(file: str | Path) -> Samples:
    """The images of an archive, from what was kept of it or from its headers.

    Args:
        file: a path, or a URL.

    Raises:
        UserError: it is no tar archive, is compressed or cut short, or cannot be read.
    """
    archive = _archive(file)
    key = digest([VERSION, archive.name, str(archive.size), archive.mark, *sorted(image_suffixes())])
    kept = data_home() / "tar" / f"{key}.arrow"
    try:
        return _from_table(pa.ipc.open_file(pa.memory_map(str(kept))).read_all())
    except (OSError, pa.ArrowInvalid, KeyError):
        pass
    samples = _read(archive)
    _keep(samples, kept)
    return samples


def _archive(file: str | Path) -> _Archive:
    if is_remote(file):
        return _Archive(str(file), *RemoteFile(str(file)).about())
    path = os.path.abspath(file)  # noqa: PTH100  (one key however it was named)
    try:
        about = os.stat(path)  # noqa: PTH116
    except OSError as error:
        raise UserError(f"The archive {path!r} cannot be read ({error.strerror}); check the path.") from error
    return _Archive(path, about.st_size, str(about.st_mtime_ns))


def _read(file: _Archive) -> Samples:
    names: list[str] = []
    places: list[tuple[int, int]] = []
    owners: list[int] = []
    """The sample of each image."""
    beside: dict[str, dict[int, str]] = {}
    suffixes = image_suffixes()
    sample, last = -1, ""
    with file.open() as archive:
        for member in _members(file, archive):
            found = KEY.fullmatch(member.name)
            key, suffix = (found[1], found[2].lower()) if found else (member.name, "")
            if key != last:
                sample, last = sample + 1, key
            if "." + suffix.rpartition(".")[2] in suffixes:
                names.append(member.name)
                places.append((member.offset_data, member.size))
                owners.append(sample)
            elif suffix in LABEL_MEMBERS and member.size <= LARGEST_LABEL:
                back = archive.tell()
                archive.seek(member.offset_data)
                beside.setdefault(suffix, {})[sample] = archive.read(member.size).decode("utf-8", "replace")
                archive.seek(back)
    chosen = list(range(len(names)))
    with_images = set(owners)
    beside = {suffix: texts for suffix, texts in beside.items() if texts.keys() & with_images}
    if beside:  # WebDataset's samples, one image each; where no label goes with an image each image counts
        chosen = [i for i in chosen if i == 0 or owners[i] != owners[i - 1]]
    samples = [owners[i] for i in chosen]
    return Samples(
        pa.array([names[i].encode("utf-8", "surrogateescape") for i in chosen], pa.large_binary()),
        np.array([places[i] for i in chosen], dtype=np.int64).reshape(-1, 2),
        {suffix: _labels(suffix, texts, samples) for suffix, texts in beside.items()},
        _groups(beside.get("json", {}), samples),
        len(names) - len(chosen),
    )


def _labels(suffix: str, texts: Mapping[int, str], samples: list[int]) -> pa.Array:
    """The labels that the members of a suffix hold, one for each image; their texts are kept in no index."""
    if suffix != "json":
        return pa.array([texts.get(sample) for sample in samples], pa.large_string())
    return pa.array([_label_in(_json(texts.get(sample))) for sample in samples], pa.large_string())


def _groups(texts: Mapping[int, str], samples: list[int]) -> NDArray[np.int64] | None:
    """The groups that `byol pack` noted beside images."""
    if not any('"group"' in text for text in texts.values()):
        return None
    groups = np.array([_group_in(_json(texts.get(sample))) for sample in samples], dtype=np.int64)
    return groups if groups.max(initial=-1) >= 0 else None


def _json(text: str | None) -> dict[str, Any]:
    """What a JSON member says; empty where it is broken or no object."""
    try:
        said = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _label_in(said: dict[str, Any]) -> str | None:
    values = (said.get(key) for key in LABEL_KEYS)
    found = next((v for v in values if isinstance(v, str | int) and not isinstance(v, bool)), None)
    return None if found is None else str(found).encode("utf-8", "replace").decode()


def _group_in(said: dict[str, Any]) -> int:
    group = said.get("group") if "name" in said else None
    return group if isinstance(group, int) and not isinstance(group, bool) and 0 <= group < 2**63 else -1


def _members(file: _Archive, archive: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """The plain files of an archive."""
    head = archive.read(512)
    for begin, kind in COMPRESSED:
        if head.startswith(begin):
            raise UserError(
                f"{file.name!r} is compressed ({kind}), so no image in it can be found without unpacking those before "
                "it; unpack it, or pack it anew without compression (images are compressed already)."
            )
    archive.seek(0)
    try:
        members: Any  # whose list of what it has read has no type
        with tarfile.open(fileobj=archive, mode="r:") as members:
            while (member := members.next()) is not None:
                members.members.clear()  # millions of them would fill the memory
                if member.isreg() and not member.issparse():
                    if member.offset_data + member.size > file.size:
                        raise UserError(f"{file.name!r} is cut short; copy or download it again.")
                    yield member
            archive.seek(members.offset)  # `next` passes over a damaged header as over the end
            end = archive.read(tarfile.BLOCKSIZE)
            if len(end) < tarfile.BLOCKSIZE or any(end):
                raise UserError(f"{file.name!r} is cut short or damaged; copy or download it again.")
    except tarfile.ReadError as error:
        raise UserError(f"{file.name!r} is no tar archive, or is cut short ({error}); check the file.") from error


def _keep(samples: Samples, path: Path) -> None:
    """Put an index away; where that is not possible it is made again next time."""
    columns: dict[str, pa.Array] = {
        "name": samples.names,
        "offset": pa.array(samples.places[:, 0]),
        "size": pa.array(samples.places[:, 1]),
        **{f"{LABEL}{suffix}": labels for suffix, labels in samples.labels.items()},
        **({} if samples.groups is None else {"group": pa.array(samples.groups)}),
    }
    table = pa.table(columns).replace_schema_metadata({"several": str(samples.several)})
    temporary = path.with_suffix(f".{os.getpid()}.tmp")  # several processes of a run may do it at once
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)


def _from_table(table: pa.Table) -> Samples:
    columns = {name: _one(table[name]) for name in table.column_names}
    return Samples(
        _copied(columns["name"]),  # what is kept in memory, while the file need not be
        np.stack([columns["offset"].to_numpy(), columns["size"].to_numpy()], axis=1),
        {name.removeprefix(LABEL): column for name, column in columns.items() if name.startswith(LABEL)},
        columns["group"].to_numpy() if "group" in columns else None,
        int(table.schema.metadata[b"several"]),
    )


def _copied(names: pa.Array) -> pa.Array:
    buffers = [None if buffer is None else pa.py_buffer(buffer.to_pybytes()) for buffer in names.buffers()]
    return pa.Array.from_buffers(names.type, len(names), buffers, offset=names.offset)


def _one(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece, as it was written."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
