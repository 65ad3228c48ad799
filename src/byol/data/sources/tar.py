"""Images in tar archives: shards in WebDataset's layout, or any archive of images.

In an uncompressed archive any member can be read by its place: a run shuffles all images as it does those of a folder,
and resumes exactly. The places are found once and kept in `$BYOL_HOME/tar` (`tar_index.py`).
"""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from byol.data.sources.base import Source
from byol.data.sources.class_names import named_labels
from byol.data.sources.digest import digest, label_digest
from byol.data.sources.files import FOLDER_NAMES, file_state, folder_labels
from byol.data.sources.paths import Paths
from byol.data.sources.remote import RemoteFile, is_remote
from byol.data.sources.table_text import is_no_label
from byol.data.sources.tar_index import LABEL_MEMBERS, Samples, index_of
from byol.errors import BadImage, UnreachableImage, UserError

__all__ = ["TAR_SUFFIXES", "TarSource", "braces"]

TAR_SUFFIXES = frozenset({".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst"})
"""Of archives; the compressed ones are refused with what to do."""
LOOKERS = 8
"""Archives elsewhere whose headers are looked at at the same time."""
MOST_CLASSES = 0.5
"""Share of the images above which texts are captions and no labels: as many as that would be classes of their own."""


class TarSource(Source):
    """One or more uncompressed tar archives, each member an image or what goes with one.

    Where labels lie beside the images, members of one name up to the first dot of its last part are one sample, as in
    WebDataset, and its first image counts; in an archive of nothing but images every image counts. A label is the
    sample's `.cls`, what its `.json` has under `class` or `label`, or its `.txt` where few differ; or the folder, where
    all images lie in folders. Links, devices and everything else that is no plain file are passed over, and no name in
    an archive is ever used as a path. Archives given by their URLs are read in ranges (`remote.py`).

    Raises:
        UserError: a file is no tar archive, is compressed or cut short, or holds no image.
    """

    def __init__(self, name: str, files: Sequence[str | Path], channels: int | None = None) -> None:
        self.name, self._states = name, dict[str, str]()
        # absolute, so that a resumed run finds them again
        self._files = [str(file) if is_remote(file) else os.path.abspath(file) for file in files]  # noqa: PTH100
        shards = _indices(self._files)
        counts = [len(shard.names) for shard in shards]
        if not sum(counts):
            raise UserError(f"{name!r} holds no images; give tar archives of image files.")
        self._starts = np.cumsum([0, *counts])
        self._names = [shard.names for shard in shards]
        self._places = [shard.places for shard in shards]
        self.labels, self.classes = self._labels(shards)
        pa.default_memory_pool().release_unused()
        self.groups = _groups_in(shards)
        self.groups_from = "" if self.groups is None else "the members .json"
        if several := sum(shard.several for shard in shards):
            self.remark = f"{several} images are not read, because their samples have another one before them"
        self.channels = self._own_channels() if channels is None else channels

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, index: int) -> bytes:
        shard = self._shard(index)
        file, (offset, size) = self._files[shard], self._place(shard, index)
        if is_remote(file):
            return _whole(RemoteFile(file).read(offset, size), size)
        try:
            with open(file, "rb") as archive:  # noqa: PTH123  (a third of the time of a Path's)
                archive.seek(offset)
                data = archive.read(size)
        except OSError as error:
            raise UnreachableImage(f"cannot be read: {error.strerror or error}") from error
        return _whole(data, size)

    def where(self, index: int) -> str:
        shard = self._shard(index)
        name = self._names[shard][index - int(self._starts[shard])].as_py().decode("utf-8", "surrogateescape")
        return f"{self._files[shard]} member {name}"

    def stored_bytes(self, index: int) -> int | None:
        return self._place(self._shard(index), index)[1]

    def state(self, index: int) -> str:
        shard = self._shard(index)
        file, place = self._files[shard], self._place(shard, index)
        return f"{self._state_of(file) if is_remote(file) else file_state(file)} {place}"

    def fingerprint(self) -> str:
        sizes = np.concatenate([places[:, 1] for places in self._places]).tobytes()
        names = chain.from_iterable(names.to_pylist() for names in self._names)
        return digest(chain(names, [sizes, label_digest(self.labels, self.classes)]))

    def _state_of(self, url: str) -> str:
        """The state of a file elsewhere, asked for once."""
        if url not in self._states:
            self._states[url] = " ".join(map(str, RemoteFile(url).about()))
        return self._states[url]

    def _place(self, shard: int, index: int) -> list[int]:
        """Offset and size in bytes of an image in its shard."""
        place: list[int] = self._places[shard][index - int(self._starts[shard])].tolist()
        return place

    def _shard(self, index: int) -> int:
        return int(np.searchsorted(self._starts, index, side="right")) - 1

    def _labels(self, shards: Sequence[Samples]) -> tuple[list[int] | None, list[str] | None]:
        for suffix in LABEL_MEMBERS:
            found = _labels_in(suffix, [shard.labels.get(suffix, _none(shard)) for shard in shards])
            if found is not None:
                self.labels_from = f"the members .{suffix}"
                return found
        labels, classes = _folder_labels(self._names)
        self.labels_from = FOLDER_NAMES if labels else ""
        return labels, classes


def _indices(files: Sequence[str]) -> list[Samples]:
    """The images of each archive; several servers' answers are waited for at once."""
    if not any(map(is_remote, files)):
        return [index_of(file) for file in files]
    with ThreadPoolExecutor(LOOKERS, "index") as pool:
        return list(pool.map(index_of, files))


def _whole(data: bytes, size: int) -> bytes:
    if len(data) < size:
        raise BadImage("the archive is cut short")
    return data


def _none(shard: Samples) -> pa.Array:
    """No label for any image of a shard."""
    return pa.nulls(len(shard.names), pa.large_string())


def _labels_in(suffix: str, said: Sequence[pa.Array]) -> tuple[list[int], list[str] | None] | None:
    """The labels that members of a kind hold, one for each image; None where they hold none."""
    different = pa.chunked_array(said).dictionary_encode().unify_dictionaries().combine_chunks()
    values = [None if is_no_label(text) else text.strip() for text in different.dictionary.to_pylist()]
    known = set(values) - {None}
    if not known or (suffix == "txt" and len(known) > max(2, MOST_CLASSES * len(different))):
        return None
    labels, classes = named_labels(values)
    bare = all(name.isdecimal() for name in classes)  # bare numbers, as WebDataset's .cls has them
    of_value = [int(classes[label]) if bare and label >= 0 else label for label in labels]
    of_value.append(-1)  # at place -1: of images without such a member
    found = different.indices.fill_null(-1).to_numpy()
    return [of_value[value] for value in found.data], None if bare else classes


def _folder_labels(names: Sequence[pa.Array]) -> tuple[list[int] | None, list[str] | None]:
    if not any(pc.any(pc.match_substring(some, "/")).as_py() for some in names):
        return None, None  # a million names need no look at each
    texts = (name.decode("utf-8", "surrogateescape") for some in names for name in some.to_pylist())
    return folder_labels(Paths.of(texts))


def _groups_in(shards: Sequence[Samples]) -> list[int] | None:
    """The groups that `byol pack` noted beside images, -1 where it knew none; None where there are none."""
    if all(shard.groups is None for shard in shards):
        return None
    known = (np.full(len(shard.names), -1) if shard.groups is None else shard.groups for shard in shards)
    groups: list[int] = np.concatenate([*known]).tolist()
    return groups


def braces(text: str) -> Iterable[str]:
    """A text with a range of numbers in braces, as WebDataset's users write shards: `train-{0000..0009}.tar`."""
    before, opened, rest = text.partition("{")
    inner, closed, after = rest.partition("}")
    first, dots, last = inner.partition("..")
    if not (opened and closed and dots and first.isdecimal() and last.isdecimal()):
        return [text]
    return [f"{before}{number:0{len(first)}d}{after}" for number in range(int(first), int(last) + 1)]
