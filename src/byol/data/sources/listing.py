"""What lies below a folder: the images, in the order of their paths, and which other files there are."""

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from byol.data.formats import dicom
from byol.data.formats.extras import OME_ZARR, suffix_of
from byol.data.formats.ome_zarr import is_store
from byol.data.formats.registry import file_suffixes, told_by_their_end
from byol.data.sources.paths import ERRORS, Paths
from byol.errors import UserError

__all__ = ["Listing", "list_images"]

NOT_THE_USERS = frozenset({"$RECYCLE.BIN", "System Volume Information", "@eaDir", "#recycle", "__MACOSX", "lost+found"})
"""Folders that systems make beside a person's own: bins, thumbnails of network disks, leftovers of archives."""
BETWEEN = "\0"
"""What no name of a file has in it."""


@dataclass(frozen=True)
class Listing:
    """The files below a folder."""

    paths: Paths
    """Of the images, relative to the folder, in their order."""
    others: Counter[str]
    """How many other files there are, by suffix."""


def list_images(root: Path) -> Listing:
    """Look for images below a folder, at any depth; see `FolderSource` for what is passed over.

    Raises:
        UserError: a folder cannot be read.
    """
    others: Counter[str] = Counter()
    parts: list[tuple[str, str, bytes]] = []
    """The first path of each, the folder, and names of files there between which no folder comes."""
    for folder, names, below in _walk(root, others):
        start = 0
        for border in [*sorted(f"{name}/" for name in below), None]:
            stop = len(names) if border is None else bisect_left(names, border)
            if stop > start:
                together = BETWEEN.join(names[start:stop]).encode("utf-8", ERRORS)
                parts.append((folder + names[start], folder, together))
            start = stop
    parts.sort()
    separator = BETWEEN.encode()
    return Listing(Paths.of_folders((folder, names.split(separator)) for _, folder, names in parts), others)


def _walk(root: Path, others: Counter[str]) -> Iterator[tuple[str, list[str], list[str]]]:
    """Each folder with its last `/`, the sorted names of the images in it, and those of its folders."""
    suffixes, plain = file_suffixes(), told_by_their_end(file_suffixes())
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
        images = []
        for store in [name for name in folders if is_store(f"{folder}/{name}")]:
            folders.remove(store)  # an image in a thousand files
            if OME_ZARR.there:
                images.append(store)
            else:
                others[".zarr"] += 1
        for file in files:
            if file.startswith("."):
                continue
            if file[file.rfind(".") :] in plain:
                images.append(file)
                continue
            suffix = suffix_of(file)
            if suffix in suffixes or ((suffix[1:].isdecimal() or not suffix) and _is_scan(f"{folder}/{file}")):
                images.append(file)
            else:
                others[suffix] += 1
        below = Path(folder).relative_to(root).as_posix()
        yield "" if below == "." else below + "/", sorted(images), folders


def _is_scan(path: str) -> bool:
    """Whether a file without a suffix, or with a number for one, is DICOM: archives of hospitals name them so."""
    return (
        dicom.EXTRA.there
        and Path(path).is_file()
        and not path.rsplit("/", 1)[1].startswith("DICOMDIR")
        and dicom.marked(path)
    )
