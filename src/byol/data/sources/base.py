"""What every collection of images offers.

A source knows how many images there are, gives the bytes or the tensor of any of them by number, and says in words
where each is stored. Labels are kept for monitoring and evaluation; self-supervised training never reads them.
"""

import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence

from torch import Tensor

from byol.config.axes import Axes
from byol.data.formats.decode import decode, read_header
from byol.data.formats.header import Header
from byol.data.order import Shards
from byol.data.sample import evenly
from byol.errors import BadImage

__all__ = ["PIXELS", "Source"]

PIXELS = b"pixels\n"
"""What `read` gives in front of the pixels of an image that has no encoded file of its own."""

HEADERS_READ = 32
"""Images whose headers are read to find out whether all are gray. Where one image in ten is colored, all 32 are gray
with a probability of 0.03."""


class Source(ABC):
    """Images by number, from 0 to `len(source) - 1`. Safe to read from many threads."""

    name: str
    """What the user typed."""
    channels: int
    """The number of channels that every image is delivered with."""
    labels: list[int] | None
    """One per image, or None. With a labels file, -1 where an image has none."""
    classes: list[str] | None
    """The name of each label, or None where labels are bare numbers."""
    labels_from: str = ""
    """What the labels were read from, in words for messages; empty where that goes without saying."""
    groups: list[int] | None = None
    """The patient, plate or site that each image is from, or None; -1 where it is not known."""
    groups_from: str = ""
    """What the groups were read from, in words, where the data itself has them."""
    axes: Axes = "auto"
    """What the axes of arrays are whose file does not say so."""
    notes: tuple[str, ...] = ()
    """How the files are read where there is more than one way, in sentences that a run says."""
    shards: Shards | None = None
    """Where images are read fast only part by part (row groups of Parquet), these parts; None for random access."""
    remark: str = ""
    """What is unusual about the images as a whole, for messages about the data or about missing labels."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, index: int) -> bytes:
        """The encoded file of one image; `BadImage` where it cannot be read."""

    @abstractmethod
    def where(self, index: int) -> str:
        """Where an image is stored, in words for messages: a path, or `train.parquet row 7`."""

    @abstractmethod
    def fingerprint(self) -> str:
        """16 hexadecimal digits from the images' names, sizes and labels, the same wherever the data is stored."""

    def image(self, index: int, shrink_to: int | None = None) -> Tensor:
        """One image as (C, H, W) with `channels` channels; `BadImage` where it cannot be decoded. See `decode`."""
        return decode(self.read(index), self.channels, shrink_to, axes=self.axes)

    def header(self, index: int) -> Header:
        """Size, channels and depth of one image as stored, without decoding it; `BadImage` where it has none."""
        return read_header(self.read(index), axes=self.axes)

    def stored_bytes(self, index: int) -> int | None:
        """Bytes of one image's encoded file, or None where that takes reading it."""
        return None

    def state(self, index: int) -> str:
        """What is another text as soon as one image changes where it is stored: here a checksum of its bytes."""
        try:
            return str(zlib.crc32(self.read(index)))
        except BadImage:
            return ""

    def subset(self, indices: Sequence[int]) -> "Source":
        """A view of the images with these numbers, in this order."""
        from byol.data.sources.subset import Subset

        return Subset(self, indices)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {len(self)} images)"

    def _own_channels(self) -> int:
        """1 where a sample of images is all gray, else 3; arrays with another number of channels keep it."""
        seen: Counter[int] = Counter()
        for index in evenly(len(self), HEADERS_READ):
            try:
                seen[self.header(index).channels] += 1
            except BadImage:
                continue
        if set(seen) <= {1, 3}:
            return 1 if set(seen) == {1} else 3
        return seen.most_common(1)[0][0]
