"""Files of which some hold several images: frames of a scan or video, slices of a volume, tiles of a slide."""

import zlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from threading import Lock
from typing import TypeVar

import numpy as np
from torch import Tensor

from byol.config.reading import ReadingConfig
from byol.config.values import to_json
from byol.data.formats.channels import to_channels
from byol.data.formats.decode import guarded
from byol.data.formats.header import Header
from byol.data.formats.registry import container_of, single_image_ends
from byol.data.formats.several import Container, Contents, Opened
from byol.data.reading import current_reading
from byol.data.sources.base import PIXELS, Source
from byol.data.sources.digest import digest
from byol.data.sources.files import FileSource, file_state
from byol.errors import BadImage, UnreachableImage, UserError

__all__ = ["MemberSource", "with_members"]

T = TypeVar("T")

LOOKERS = 8
"""Threads that look into files: most of the time goes into waiting for the disk, or decompressing."""
KEPT_OPEN = 4
"""Files that are kept open, the last ones asked for: a compressed volume is in memory while it is open."""


def with_members(files: FileSource, channels: int | None = None) -> FileSource:
    """The images in these files: the files themselves where none of them is a scan, a volume, a video or a slide.

    Args:
        files: what to look into; its channels are asked for anew.
        channels: deliver images with so many channels; None decides by a sample.

    Raises:
        UserError: none of the files holds an image.
    """
    ends = single_image_ends()
    kinds = [
        None if path[path.rfind(".") :] in ends else container_of(files.file(index))
        for index, path in enumerate(files.paths)
    ]
    if not any(kinds):
        return files
    reading = current_reading()
    paths = [files.file(index) for index in range(len(files))]
    with ThreadPoolExecutor(LOOKERS, "look") as pool:
        found = list(pool.map(_contents, kinds, paths, repeat(reading)))
    if not any(each.numbers for each in found):
        raise UserError(
            f"{files.name!r} holds no images: {_instead(found)}; give a folder with scans that have pixels."
        )
    return MemberSource(files, kinds, found, channels)


def _contents(kind: Container | None, path: str, reading: ReadingConfig) -> Contents:
    """What a file holds; one image where it is broken, so that it is counted and listed when it is read."""
    if kind is None:
        return Contents()
    try:
        return guarded(lambda: kind.contents(path, reading))
    except BadImage:
        return Contents()


def _delivered(work: Callable[[], T]) -> T:
    """Do some work on a file; `UnreachableImage` where the system does not deliver it."""
    try:
        return guarded(work)
    except BadImage as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno is not None:
            raise UnreachableImage(f"cannot be read: {error.__cause__.strerror}") from error
        raise


def _instead(found: Sequence[Contents]) -> str:
    counts = Counter(each.instead for each in found if not each.numbers)
    return ", ".join(f"{count} with {what}" for what, count in counts.most_common())


LATER = {"planes": "all", "pyramid_side": 512}
"""Settings of reading that came later, and what they are unless given: as such they leave a fingerprint as it was."""


def _said(reading: ReadingConfig) -> dict[str, object]:
    return {name: value for name, value in to_json(reading).items() if (name, value) not in LATER.items()}


class MemberSource(FileSource):
    """Every image in some files, in the order of the files.

    `groups` are the patients where files name them, else the files, if images share them.

    Args:
        files: the files, with their labels.
        kinds: the format of each that may hold several images, else None.
        found: what each holds.
        channels: deliver images with so many channels; None decides by a sample.
    """

    def __init__(
        self,
        files: FileSource,
        kinds: Sequence[Container | None],
        found: Sequence[Contents],
        channels: int | None,
    ) -> None:
        self._files, self._kinds, self._found = files, kinds, found
        self._reading = current_reading()
        counts = [len(each.numbers) for each in found]
        self._file_of = np.repeat(np.arange(len(found)), counts)
        self._starts = np.cumsum([0, *counts])
        self._open: OrderedDict[int, tuple[Lock, list[Opened]]] = OrderedDict()
        self._opening = Lock()
        labels = None if files.labels is None else [files.labels[file] for file in self._file_of]
        if labels is not None and len(set(labels)) < 2:  # the other folders hold masks, or reports
            labels = None
        paths = files.paths.take(self._file_of)
        super().__init__(files.name, Path(files.root), paths, labels, files.classes if labels else None, channels)
        self.labels_from, self.remark = files.labels_from if labels else "", files.remark
        if not all(counts):
            empty = f"{counts.count(0)} of {len(counts)} files hold no image ({_instead(found)})"
            self.remark = "; ".join(filter(None, (self.remark, empty)))
        self.notes = (*files.notes, *dict.fromkeys(each.said for each in found if each.said))
        self._group()

    def _group(self) -> None:
        names = [each.group or self._files.file(file) for file, each in enumerate(self._found)]
        numbers = [zlib.crc32(name.encode("utf-8", "surrogateescape")) for name in names]
        groups = [numbers[file] for file in self._file_of]
        if 1 < len(set(groups)) < len(groups):
            self.groups = groups
            patients = any(each.group for each in self._found)
            self.groups_from = "patients that the files name" if patients else "files of several images"

    def read(self, index: int) -> bytes:
        """The file's bytes where it is an image, else the pixels of the image, which no format takes for its own."""
        kind, _, _ = self._place(index)
        return super().read(index) if kind is None else PIXELS + self.image(index).contiguous().numpy().tobytes()

    def where(self, index: int) -> str:
        _, file, number = self._place(index)
        word = self._found[file].word
        return f"{self.file(index)} {word} {number}" if word else self.file(index)

    def image(self, index: int, shrink_to: int | None = None) -> Tensor:
        kind, file, number = self._place(index)
        if kind is None:
            return super().image(index, shrink_to)
        return to_channels(_delivered(lambda: self._opened(file, kind).image(number)), self.channels)

    def header(self, index: int) -> Header:
        kind, file, number = self._place(index)
        if kind is None:
            return super().header(index)
        return _delivered(lambda: self._opened(file, kind).header(number))

    def stored_bytes(self, index: int) -> int | None:
        found = self._found[int(self._file_of[index])]
        if found.size is not None:
            return found.size
        size = super().stored_bytes(index)
        return None if size is None else size // len(found.numbers)

    def state(self, index: int) -> str:
        kind, file, number = self._place(index)
        if kind is not None and self._found[file].size is not None:  # a folder's own times do not tell
            return Source.state(self, index)
        return f"{file_state(self.file(index))} {number}"

    def fingerprint(self) -> str:
        numbers = np.concatenate([np.asarray(each.numbers, dtype=np.int64) for each in self._found])
        return digest([super().fingerprint(), numbers.tobytes(), str(_said(self._reading))])

    def _place(self, index: int) -> tuple[Container | None, int, int]:
        """The format of the file that holds an image, the file's number, and the image's number in it."""
        file = int(self._file_of[index])
        return self._kinds[file], file, int(self._found[file].numbers[index - int(self._starts[file])])

    def _opened(self, file: int, kind: Container) -> Opened:
        """A file, opened once for all threads while it is among the last ones that were asked for."""
        with self._opening:
            lock, opened = self._open.setdefault(file, (Lock(), []))
            self._open.move_to_end(file)
            while len(self._open) > KEPT_OPEN:
                self._open.popitem(last=False)
        with lock:
            if not opened:
                opened.append(kind.open(self._files.file(file), self._reading))
            return opened[0]
