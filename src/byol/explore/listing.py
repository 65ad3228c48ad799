"""What is known of images besides their features: number, place and label, as text that any file can hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from byol.data.sources.open import Source


@dataclass(frozen=True)
class Rows:
    """A row for each image, in the order of the features."""

    indices: list[int]
    """The image's number in its source."""
    paths: list[str]
    """Where it is stored: a path, or `train.parquet row 7`."""
    labels: list[str | None]
    """The name of its class; None where it has no label."""

    @classmethod
    def of(cls, source: Source, indices: Sequence[int]) -> Self:
        """The rows of some images of a source, in this order."""
        paths = [printable(source.where(index)) for index in indices]
        return cls(list(indices), paths, [label_name(source, index) for index in indices])

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def labeled(self) -> bool:
        """Whether any image has a label."""
        return any(label is not None for label in self.labels)


def label_name(source: Source, index: int) -> str | None:
    """The name of an image's class; its number where classes have no names; None without a label."""
    label = -1 if source.labels is None else source.labels[index]
    if label == -1:
        return None
    return str(label) if source.classes is None else printable(source.classes[label])


def printable(text: str) -> str:
    """Text that UTF-8 can hold: bytes of a file's name that are none stand as `\\xff`."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
