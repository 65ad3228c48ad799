"""Small text files that describe something, such as settings and cards: how much of one is read at most."""

from pathlib import Path

LARGEST = 1 << 24
"""Bytes of the largest that is read, 16 MiB: those that are written hold a few thousand."""


def read_document(path: Path) -> str:
    """The text of such a file, which is UTF-8.

    Raises:
        OSError: it cannot be read.
        ValueError: it is larger than `LARGEST`, or no text.
    """
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"it is larger than {LARGEST >> 20} MiB")
    return content.decode()
