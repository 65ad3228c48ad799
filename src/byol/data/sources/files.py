"""Image files by path, and all those below a folder."""

import os
import stat
from collections import Counter
from pathlib import Path

from byol.data.axes import current_axes
from byol.data.formats import dicom
from byol.data.formats.extras import extra_for, suffix_of
from byol.data.formats.registry import file_suffixes
from byol.data.sources.base import Source
from byol.data.sources.class_names import class_order
from byol.data.sources.digest import digest, label_digest
from byol.data.sources.parts import SeveralParts, find_parts, part_of, parts_within
from byol.data.sources.passed_over import passed_over
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
        paths: list[str],
        labels: list[int] | None = None,
        classes: list[str] | None = None,
        channels: int | None = None,
    ) -> None:
        assert paths, "a source has images"
        assert labels is None or len(labels) == len(paths), "one label per image"
        self.name, self.axes = name, current_axes()
        self.labels = labels
        self.classes = classes
        self._root = os.path.abspath(root)  # noqa: PTH100  (a run that is resumed elsewhere must find the same names)
        self._paths = paths
        self.channels = self._own_channels() if channels is None else channels

    @property
    def root(self) -> str:
        """The folder that the images' paths are relative to."""
        return self._root

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, index: int) -> bytes:
        return read_file(self.file(index))

    def file(self, index: int) -> str:
        """The path of the file that holds an image."""
        return os.path.join(self._root, self._paths[index])  # noqa: PTH118  (five times as fast as pathlib)

    def path(self, index: int) -> str:
        """The same, relative to `root`."""
        return self._paths[index]

    def where(self, index: int) -> str:
        return self.file(index)

    def stored_bytes(self, index: int) -> int | None:
        size = _file_size(self.file(index))
        return size if size >= 0 else None

    def state(self, index: int) -> str:
        return file_state(self.file(index))

    def fingerprint(self) -> str:
        sizes = (str(_file_size(self.file(index))) for index in range(len(self)))
        lines = (f"{path}\t{size}" for path, size in zip(self._paths, sizes, strict=True))
        return digest([*lines, label_digest(self.labels, self.classes)])


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
        return Path(path).read_bytes()
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
        return Path(path).stat().st_size
    except OSError:
        return -1


NOT_THE_USERS = frozenset({"$RECYCLE.BIN", "System Volume Information", "@eaDir", "#recycle", "__MACOSX", "lost+found"})
"""Folders that systems make beside a person's own: bins, thumbnails of network disks, leftovers of archives."""


class FolderSource(FileSource):
    """Every image below a folder, at any depth, in the order of their paths.

    Images are recognized by their suffix (`file_suffixes`). Hidden files and folders (a leading dot) are skipped, and
    so are folders that systems make (`NOT_THE_USERS`). The first level that has two folders or more, with all images in
    them, has the classes.

    Raises:
        UserError: the folder has no images, or cannot be read.
    """

    def __init__(self, folder: str | Path, channels: int | None = None) -> None:
        root = Path(folder)
        paths, others = _walk(root)
        if not paths:
            raise UserError(_no_images(folder, others))
        _check_parts(root, paths)
        labels, classes = folder_labels(paths)
        super().__init__(str(folder), root, paths, labels, classes, channels)
        self.remark = "" if labels else _strays(paths)
        self.labels_from = FOLDER_NAMES if labels else ""
        self.notes = passed_over(len(paths), others)


def _walk(root: Path) -> tuple[list[str], Counter[str]]:
    """Sorted relative paths of all images, with `/` between folders, and counts of the other files' suffixes."""
    paths: list[str] = []
    others: Counter[str] = Counter()
    suffixes = file_suffixes()
    visited: set[tuple[int, int]] = set()  # symbolic links may form a cycle

    def fail(error: OSError) -> None:
        raise UserError(f"the folder {error.filename!r} cannot be read ({error.strerror}); check its permissions.")

    for folder, folders, files in os.walk(root, onerror=fail, followlinks=True):
        status = os.stat(folder)  # noqa: PTH116  (os.walk gives strings)
        if (status.st_dev, status.st_ino) in visited:
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in NOT_THE_USERS)
        below = Path(folder).relative_to(root).as_posix()
        prefix = "" if below == "." else below + "/"
        for file in files:
            suffix = suffix_of(file)
            if file.startswith("."):
                continue
            if suffix in suffixes or ((suffix[1:].isdecimal() or not suffix) and _is_scan(f"{folder}/{file}")):
                paths.append(prefix + file)
            else:
                others[suffix] += 1
    paths.sort()
    return paths, others


def _is_scan(path: str) -> bool:
    """Whether a file without a suffix, or with a number for one, is DICOM: archives of hospitals name them so."""
    return (
        dicom.EXTRA.there
        and Path(path).is_file()
        and not path.rsplit("/", 1)[1].startswith("DICOMDIR")
        and dicom.marked(path)
    )


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


def _check_parts(root: Path, paths: list[str]) -> None:
    """Refuse a folder that holds training and test images alike."""
    found = find_parts(paths)
    if found is not None:
        raise SeveralParts(root, [(part, str(root / found.above / name)) for name, part in found.parts.items()])
    within = parts_within(paths)
    if within is not None:
        training = next(name for name in within.names if part_of(name) == "train")
        pattern = root / ("*" if within.depth == 1 else "**") / training / "**" / ("*" + Path(paths[0]).suffix)
        raise UserError(
            f"{within.folders} of {str(root)!r} holds several parts ({', '.join(within.names)}); give the images of "
            f"one of them by a pattern in quotes, such as {str(pattern)!r}, or by a text list."
        )


def folder_labels(paths: list[str]) -> tuple[list[int] | None, list[str] | None]:
    """Classes by the folders of the first level that has several, if every image is in one of them."""
    above = ""
    while True:
        if not all("/" in path[len(above) :] for path in paths):
            return None, None
        owners = [path[len(above) :].split("/", 1)[0] for path in paths]
        if any(owner != owners[0] for owner in owners):
            break
        above += owners[0] + "/"  # one folder around all images, as archives have it
    classes = class_order(owners)
    numbers = {name: number for number, name in enumerate(classes)}
    return [numbers[owner] for owner in owners], classes


FEW_STRAYS = 0.1
"""Share of the images that may lie outside the folders of classes and still count as misplaced."""


def _strays(paths: list[str]) -> str:
    """A remark about a few images beside folders that look like classes, or an empty string."""
    strays = [path for path in paths if "/" not in path]
    folders = {path.split("/", 1)[0] for path in paths if "/" in path}
    if not strays or len(folders) < 2 or len(strays) > FEW_STRAYS * len(paths):
        return ""
    lie = "lies" if len(strays) == 1 else "lie"
    return (
        f"{len(strays)} of {len(paths)} images {lie} outside its {len(folders)} folders, such as {strays[0]!r}, so "
        "these are not taken for classes"
    )
