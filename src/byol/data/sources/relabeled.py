"""Images with other labels than their storage has."""

from collections.abc import Sequence
from dataclasses import dataclass

from byol.data.sources.base import Source
from byol.data.sources.digest import digest, label_digest
from byol.data.sources.tensor import TensorSource
from byol.data.sources.wrapped import WrappedSource

__all__ = ["Labels", "relabeled"]


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Labels and groups of the images of a source; see `Source`."""

    labels: list[int] | None = None
    classes: list[str] | None = None
    labels_from: str = ""
    groups: list[int] | None = None
    groups_from: str = ""

    @classmethod
    def of(cls, source: Source) -> "Labels":
        """Those that a source has."""
        return cls(
            labels=source.labels,
            classes=source.classes,
            labels_from=source.labels_from,
            groups=source.groups,
            groups_from=source.groups_from,
        )


def relabeled(source: Source, labels: Labels) -> Source:
    """The same images with these labels and groups, and no others."""
    if isinstance(source, TensorSource):  # stays one: images in memory are trained on as they are
        return TensorSource(source.images, labels.labels, labels.classes, source.name, labels.groups)
    return _Relabeled(source, labels)


class _Relabeled(WrappedSource):
    def __init__(self, base: Source, labels: Labels) -> None:
        super().__init__(base)
        self.labels, self.classes, self.labels_from = labels.labels, labels.classes, labels.labels_from
        self.groups, self.groups_from = labels.groups, labels.groups_from

    def fingerprint(self) -> str:
        parts: Sequence[bytes] = [label_digest(self.labels, self.classes), label_digest(self.groups, None)]
        return digest([self._base.fingerprint(), *parts])
