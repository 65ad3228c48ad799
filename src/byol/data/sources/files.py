"""Image files by path, and all those below a folder."""

import os
import stat
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from byol.data.axes import current_axes
from byol.data.formats.extras import extra_for
from byol.data.sources.base import Source
from byol.data.sources.class_names import class_order
from byol.data.sources.digest import digest, label_digest
from byol.data.sources.listing import list_images
from byol.data.sources.parts import SeveralParts, find_parts, part_of, parts_within
from byol.data.sources.passed_over import passed_over
from byol.data.sources.paths import Paths
from byol.errors import BadImage, UnreachableImage, UserError

__all__ = [
    "FOLDER_NAMES",
    "FileSource",
    "FolderSource",
    "file_source",
    "file_state",
    "folder_labels",
    "read_file",
]


FOLDER_NAMES = "folder names"
"""`Source.labels_from` where each sub-folder is a class."""


class FileSource(Source):
    """Image files by path.

    Args:
        name: what the user typed.
        root: the folder that the paths are relative to.
        paths: one relative (or absolute) path per image.
        labels, classes: as in `Source`.
        channels: deliver images with so many channels; None decides by a sample of the files.
    """

    def __init__(
        self,
        name: str,
        root: Path,
        paths: Sequence[str] | Paths,
        labels: list[int] | None = None,
        classes: list[str] | None = None,
        channels: int | None = None,
    ) -> None:
        assert len(paths), "a source has images"
        assert labels is None or len(labels) == len(paths), "one label per image"
        self.name, self.axes = name, current_axes()
        self.labels = labels
        self.classes = classes
        self._root = os.path.abspath(root)  # noqa: PTH100  (a run that is resumed elsewhere must find the same names)
        self.paths = paths if isinstance(paths, Paths) else Paths.of(paths)
        """Of the images, relative to `root`."""
        self.channels = self._own_channels() if channels is None else channels

    @property
    def root(self) -> str:
        """The folder that the images' paths are relative to."""
        return self._root

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> bytes:
        return read_file(self.file(index))

    def file(self, index: int) -> str:
        """The path of the file that holds an image."""
        return os.path.join(self._root, self.paths[index])  # noqa: PTH118  (five times as fast as pathlib)

    def path(self, index: int) -> str:
        """The same, relative to `root`."""
        return self.paths[index]

    def where(self, index: int) -> str:
        return self.file(index)

    def stored_bytes(self, index: int) -> int | None:
        size = _file_size(self.file(index))
        return size if size >= 0 else None

    def state(self, index: int) -> str:
        return file_state(self.file(index))

    def fingerprint(self) -> str:
        root = self._root
        sizes = (f"{path}\t{_file_size(os.path.join(root, path))}" for path in self.paths)  # noqa: PTH118
        return digest(chain(sizes, [label_digest(self.labels, self.classes)]))


def file_source(
    name: str,
    files: list[str],
    labels: list[int] | None = None,
    classes: list[str] | None = None,
    channels: int | None = None,
) -> FileSource:
    """A source of these files, whose names are their paths below the folder that they share."""
    root = os.path.commonpath([os.path.dirname(file) for file in files])  # noqa: PTH120
    paths = [os.path.relpath(file, root or ".") for file in files]
    return FileSource(name, Path(root), paths, labels, classes, channels)


def read_file(path: str | Path) -> bytes:
    """A file's bytes; `UnreachableImage` with the system's reason where it cannot be read, `BadImage` for a device."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116  (a pipe or a device would never end)
            raise BadImage("is no plain file")
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  (half the time of a Path's)
            return file.readall()
    except OSError as error:
        raise UnreachableImage(f"cannot be read: {error.strerror or error}") from error


def file_state(path: str | Path) -> str:
    """What is another text as soon as a file's content changes: its size and its times, which need no reading."""
    try:
        found = os.stat(path)  # noqa: PTH116  (a Path for each of a million files takes seconds)
    except OSError:
        return ""
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"


def _file_size(path: str) -> int:
    try:
        found = os.stat(path)  # noqa: PTH116  (a Path for each of a million files takes seconds)
    except OSError:
        return -1
    return 0 if stat.S_ISDIR(found.st_mode) else found.st_size  # of folders each file system has sizes of its own


class FolderSource(FileSource):
    """Every image below a folder, at any depth, in the order of their paths.

    Images are recognized by their suffix (`file_suffixes`). Hidden files and folders (a leading dot) are skipped, and
    so are folders that systems make (`listing.NOT_THE_USERS`). The first level that has two folders or more, with all
    images in them, has the classes.

    Raises:
        UserError: the folder has no images, or cannot be read.
    """

    def __init__(self, folder: str | Path, channels: int | None = None) -> None:
        root = Path(folder)
        found = list_images(root)
        paths, others = found.paths, found.others
        if not len(paths):
            raise UserError(_no_images(folder, others))
        _check_parts(root, paths)
        labels, classes = folder_labels(paths)
        super().__init__(str(folder), root, paths, labels, classes, channels)
        self.remark = "" if labels else _strays(paths)
        self.labels_from = FOLDER_NAMES if labels else ""
        self.notes = passed_over(len(paths), others)


def _no_images(folder: str | Path, others: Counter[str]) -> str:
    allowed = "jpg, png, webp, gif, bmp, tif, ppm, npy, ..."
    if not others:
        return f"the folder {str(folder)!r} is empty; give a folder with images ({allowed})."
    kinds = ", ".join(suffix or "no suffix" for suffix, _ in others.most_common(3))
    hint = ""
    extra = next((extra for suffix, _ in others.most_common() if (extra := extra_for(suffix)) is not None), None)
    if extra is not None and not extra.there:
        hint = f" {extra.kind} files are read with an extra: {extra.command}."
    elif ".parquet" in others:
        hint = " Its Parquet files lie deeper: give the folder that holds them."
    return (
        f"the folder {str(folder)!r} holds no images, only {others.total()} other files ({kinds}); "
        f"give a folder with images ({allowed}).{hint}"
    )


def _check_parts(root: Path, paths: Paths) -> None:
    """Refuse a folder that holds training and test images alike."""
    found = find_parts(paths.folders)
    if found is not None:
        raise SeveralParts(root, [(part, str(root / found.above / name)) for name, part in found.parts.items()])
    within = parts_within(paths.folders)
    if within is not None:
        training = next(name for name in within.names if part_of(name) == "train")
        pattern = root / ("*" if within.depth == 1 else "**") / training / "**" / ("*" + Path(paths[0]).suffix)
        raise UserError(
            f"{within.folders} of {str(root)!r} holds several parts ({', '.join(within.names)}); give the images of "
            f"one of them by a pattern in quotes, such as {str(pattern)!r}, or by a text list."
        )


def folder_labels(paths: Paths) -> tuple[list[int] | None, list[str] | None]:
    """Classes by the folders of the first level that has several, if every image is in one of them."""
    above = ""
    while True:
        below = [folder[len(above) :] for folder in paths.folders]
        if not all(below):
            return None, None
        owners = [folder.split("/", 1)[0] for folder in below]
        if any(owner != owners[0] for owner in owners):
            break
        above += owners[0] + "/"  # one folder around all images, as archives have it
    classes = class_order(owners)
    numbers = {name: number for number, name in enumerate(classes)}
    of_folder = [numbers[owner] for owner in owners]
    return [of_folder[folder] for folder in paths.folder_of.data], classes


FEW_STRAYS = 0.1
"""Share of the images that may lie outside the folders of classes and still count as misplaced."""


def _strays(paths: Paths) -> str:
    """A remark about a few images beside folders that look like classes, or an empty string."""
    outside = [number for number, folder in enumerate(paths.folders) if not folder]
    folders = {folder.split("/", 1)[0] for folder in paths.folders if folder}
    if not outside or len(folders) < 2:
        return ""
    strays = np.flatnonzero(paths.folder_of == outside[0])
    if len(strays) > FEW_STRAYS * len(paths):
        return ""
    lie = "lies" if len(strays) == 1 else "lie"
    return (
        f"{len(strays)} of {len(paths)} images {lie} outside its {len(folders)} folders, such as "
        f"{paths[int(strays[0])]!r}, so these are not taken for classes"
    )
