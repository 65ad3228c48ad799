"""Another source's images, of which a subclass changes something."""

from torch import Tensor

from byol.data.formats.header import Header
from byol.data.sources.base import Source

__all__ = ["WrappedSource"]


class WrappedSource(Source):
    """A source that has everything of another one; a subclass changes what it is for."""

    def __init__(self, base: Source) -> None:
        self._base = base
        self.name, self.channels, self.remark = base.name, base.channels, base.remark
        self.shards = base.shards
        self.labels, self.classes, self.labels_from = base.labels, base.classes, base.labels_from
        self.groups, self.groups_from, self.axes, self.notes = base.groups, base.groups_from, base.axes, base.notes

    def __len__(self) -> int:
        return len(self._base)

    def read(self, index: int) -> bytes:
        return self._base.read(index)

    def where(self, index: int) -> str:
        return self._base.where(index)

    def image(self, index: int, shrink_to: int | None = None) -> Tensor:
        return self._base.image(index, shrink_to)

    def header(self, index: int) -> Header:
        return self._base.header(index)

    def stored_bytes(self, index: int) -> int | None:
        return self._base.stored_bytes(index)

    def state(self, index: int) -> str:
        return self._base.state(index)

    def fingerprint(self) -> str:
        return self._base.fingerprint()
