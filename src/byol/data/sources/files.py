"""Image files: below a folder, or named in a text list."""

import os
from collections import Counter
from pathlib import Path

from byol.data.formats import dicom
from byol.data.formats.extras import extra_for, suffix_of
from byol.data.formats.registry import file_suffixes
from byol.data.sample import evenly
from byol.data.sources.base import Source
from byol.data.sources.class_names import class_order, named_labels
from byol.data.sources.digest import digest, label_digest
from byol.data.sources.parts import SeveralParts, find_parts, part_of, parts_within_classes
from byol.errors import UnreachableImage, UserError

__all__ = [
    "FOLDER_NAMES",
    "FileSource",
    "FolderSource",
    "ListSource",
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
        self.name = name
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
    """A file's bytes; `UnreachableImage` with the system's reason where it cannot be read."""
    try:
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


class FolderSource(FileSource):
    """Every image below a folder, at any depth, in the order of their paths.

    Images are recognized by their suffix (`file_suffixes`). Hidden files and folders (a leading dot) are skipped.
    Where every image is in a sub-folder, and the first level has at least two of them, these are the classes.

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
        folders[:] = sorted(name for name in folders if not name.startswith("."))
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
    return dicom.EXTRA.there and not path.rsplit("/", 1)[1].startswith("DICOMDIR") and dicom.marked(path)


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
    within = parts_within_classes(paths)
    if within:
        training = next(name for name in within if part_of(name) == "train")
        pattern = root / "*" / training / "**" / ("*" + Path(paths[0]).suffix)
        raise UserError(
            f"each folder of {str(root)!r} holds several parts ({', '.join(within)}); give the images of one of them "
            f"by a pattern in quotes, such as {str(pattern)!r}, or by a text list."
        )


def folder_labels(paths: list[str]) -> tuple[list[int] | None, list[str] | None]:
    """Labels and classes by the folders of the first level; None where images lie outside them, or in one alone."""
    if not all("/" in path for path in paths):
        return None, None
    owners = [path.split("/", 1)[0] for path in paths]
    classes = class_order(owners)
    if len(classes) < 2:
        return None, None
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


class ListSource(FileSource):
    """A text file that names one image per line, relative to the file's own folder.

    A label may follow after a tab: on every line, or on none. Blank lines are skipped, and lines that begin with `#`
    unless they name a file.

    Raises:
        UserError: the file is no UTF-8 text, names nothing, or most of a sample of its paths do not exist.
    """

    def __init__(self, file: str | Path, channels: int | None = None) -> None:
        root = Path(file).parent
        lines = _list_lines(Path(file))
        paths = [path for path, _ in lines]
        sample = [paths[index] for index in evenly(len(paths), 64)]
        missing = [path for path in sample if not (root / path).is_file()]
        if len(missing) * 2 > len(sample):
            raise UserError(
                f"the list {str(file)!r} names {missing[0][:60]!r}, which is not there "
                f"({len(missing)} of {len(sample)} looked at are not); "
                f"give a text file with one image path per line, relative to {str(root)!r}."
            )
        labels, classes = named_labels([label for _, label in lines]) if lines[0][1] is not None else (None, None)
        super().__init__(str(file), root, paths, labels, classes, channels)
        self.labels_from = "the list" if labels else ""


def _list_lines(file: Path) -> list[tuple[str, str | None]]:
    """(path, label or None) of every line that names an image."""
    wanted = "give a folder, Parquet files, or a text list with one image path per line"
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{str(file)!r} is neither an image list nor Parquet; {wanted}.") from None
    except OSError as error:
        raise UserError(f"{str(file)!r} cannot be read ({error.strerror}); {wanted}.") from error
    found: list[tuple[str, str | None]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        path, tab, label = line.partition("\t")
        if not line.strip() or (line.lstrip().startswith("#") and not (file.parent / path.strip()).is_file()):
            continue
        found.append((path.strip(), label.strip() if tab else None))
        if (found[-1][1] is None) != (found[0][1] is None):
            raise UserError(
                f"line {number} of {str(file)!r} has {'a' if tab else 'no'} label, unlike the lines before; "
                "put a tab and a label on every line, or on none."
            )
    if not found:
        raise UserError(f"the list {str(file)!r} names no image; write one path per line.")
    return found
