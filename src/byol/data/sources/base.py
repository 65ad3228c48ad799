"""What every collection of images offers, and the collection that lies in memory.

A source knows how many images there are, gives the bytes or the tensor of any of them by number, and says in words
where each lies. Labels are kept for monitoring and evaluation; training never reads them.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from byol.data.formats.decode import decode, read_header
from byol.data.formats.header import Depth, Header
from byol.errors import BadImage, UserError

__all__ = ["PARTS", "Source", "TensorSource", "digest", "evenly", "label_digest", "named_labels", "several_parts"]

# Images whose headers are read to find out whether all are gray. Where one in ten is colored, none of 32 is with a
# probability of 0.03.
HEADERS_READ = 32

# Names, or beginnings of names, of the parts of a data set, of which pretraining should see one.
PARTS = ("train", "test", "validation", "valid", "val", "dev", "unsupervised", "unlabeled", "extra")


class Source(ABC):
    """Images by number, from 0 to `len(source) - 1`. Safe to read from many threads."""

    name: str
    """What the user typed."""
    channels: int
    """Every image is delivered with so many."""
    labels: list[int] | None
    """One per image, or None."""
    classes: list[str] | None
    """The name of each label, or None where labels are bare numbers."""
    remark: str = ""
    """What is odd about the images as a whole, for whoever looks at them or asks for labels."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, index: int) -> bytes:
        """The encoded file of one image; `BadImage` where it cannot be read."""

    @abstractmethod
    def where(self, index: int) -> str:
        """Where an image lies, in words for messages: a path, or `train.parquet row 7`."""

    @abstractmethod
    def fingerprint(self) -> str:
        """16 hexadecimal digits from the images' names, sizes and labels, the same wherever the data lies."""

    def image(self, index: int, shrink_to: int | None = None) -> Tensor:
        """One image as (C, H, W), `channels` of them; `BadImage` where it cannot be had. See `decode`."""
        return decode(self.read(index), self.channels, shrink_to)

    def header(self, index: int) -> Header:
        """Size, channels and depth of one image as stored, without decoding it; `BadImage` where it has none."""
        return read_header(self.read(index))

    def subset(self, indices: Sequence[int]) -> "Source":
        """A view of the images with these numbers, in this order."""
        return _Subset(self, indices)

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


def several_parts(folder: object, parts: Iterable[str], example: object) -> UserError:
    """What is said of a folder with more than one part of a data set."""
    return UserError(
        f"the folder {str(folder)!r} holds several parts ({', '.join(parts)}); give one of them, for example "
        f"{str(example)!r}."
    )


def evenly(count: int, sample: int) -> list[int]:
    """At most `sample` numbers below `count`, evenly spread, the first and the last among them."""
    if count <= sample:
        return list(range(count))
    return [round(step * (count - 1) / max(sample - 1, 1)) for step in range(sample)]


class _Subset(Source):
    """Some images of another source."""

    def __init__(self, base: Source, indices: Sequence[int]) -> None:
        self._base = base
        self._indices = _checked(indices, len(base))
        self.name = base.name
        self.channels = base.channels
        self.classes = base.classes
        self.labels = None if base.labels is None else [base.labels[index] for index in self._indices]

    def __len__(self) -> int:
        return len(self._indices)

    def read(self, index: int) -> bytes:
        return self._base.read(self._indices[index])

    def where(self, index: int) -> str:
        return self._base.where(self._indices[index])

    def image(self, index: int, shrink_to: int | None = None) -> Tensor:
        return self._base.image(self._indices[index], shrink_to)

    def header(self, index: int) -> Header:
        return self._base.header(self._indices[index])

    def subset(self, indices: Sequence[int]) -> Source:
        return _Subset(self._base, [self._indices[index] for index in _checked(indices, len(self))])

    def fingerprint(self) -> str:
        return digest([self._base.fingerprint(), np.array(self._indices, dtype=np.int64).tobytes()])


def _checked(indices: Sequence[int], count: int) -> list[int]:
    chosen = [int(index) for index in indices]
    assert all(0 <= index < count for index in chosen), f"image numbers must lie in [0, {count})"
    return chosen


def digest(parts: Iterable[str | bytes]) -> str:
    """16 hexadecimal digits of a sequence of strings; each counts with its length, so that none runs into the next."""
    state = hashlib.blake2b(digest_size=8)
    for part in parts:
        data = part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.hexdigest()


def label_digest(labels: list[int] | None, classes: list[str] | None) -> bytes:
    """What a fingerprint takes from the labels."""
    numbers = b"" if labels is None else np.array(labels, dtype=np.int64).tobytes()
    return json.dumps(classes).encode() + numbers


class TensorSource(Source):
    """Images that lie in memory already, all of one size.

    Args:
        images: (N, C, H, W), uint8, or floating point in [0, 1], which is kept as float32.
        labels: one per image, or None.
        classes: the name of each label, or None.
        name: for messages.

    Raises:
        UserError: another shape or range, or another number of labels than images.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Sequence[int] | None = None,
        classes: list[str] | None = None,
        name: str = "tensor",
    ) -> None:
        if images.ndim != 4 or images.numel() == 0:
            raise UserError(f"images of shape {tuple(images.shape)} were given; give (N, C, H, W), none of them 0.")
        if images.is_floating_point():
            low, high = (float(edge) for edge in images.aminmax())
            if not (low >= 0 and high <= 1):  # false for NaN too
                raise UserError(f"images with values from {low:g} to {high:g} were given; scale them to [0, 1].")
        elif images.dtype != torch.uint8:
            raise UserError(f"images of {images.dtype} were given; give torch.uint8, or floats in [0, 1].")
        if labels is not None and len(labels) != len(images):
            raise UserError(f"{len(labels)} labels were given for {len(images)} images; give one per image.")
        self.name = name
        self.images = images.float() if images.is_floating_point() else images
        self.channels = images.shape[1]
        self.labels = None if labels is None else [int(label) for label in labels]
        self.classes = classes

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: int) -> bytes:
        raise AssertionError("images in memory have no encoded file; use image()")

    def where(self, index: int) -> str:
        return f"{self.name} image {index}"

    def image(self, index: int, shrink_to: int | None = None) -> Tensor:
        return self.images[index]

    def header(self, index: int) -> Header:
        _, channels, height, width = self.images.shape
        depth: Depth = "8-bit" if self.images.dtype == torch.uint8 else "float"
        return Header(height=height, width=width, channels=channels, depth=depth)

    def subset(self, indices: Sequence[int]) -> "TensorSource":
        """These images: a view where `indices` is a range with step 1, else a copy."""
        chosen = _checked(indices, len(self))
        if isinstance(indices, range) and indices.step == 1:
            images = self.images[indices.start : indices.stop]
        else:
            images = self.images[torch.tensor(chosen, dtype=torch.long, device=self.images.device)]
        labels = None if self.labels is None else [self.labels[index] for index in chosen]
        return TensorSource(images, labels, self.classes, self.name)

    def fingerprint(self) -> str:
        # No names and no file sizes here, so the pixels themselves count.
        pixels = self.images.detach().cpu().contiguous().numpy().tobytes()
        kind = f"{tuple(self.images.shape)} {self.images.dtype}"
        return digest([kind, pixels, label_digest(self.labels, self.classes)])


def named_labels(names: Sequence[str | None]) -> tuple[list[int], list[str]]:
    """Numbers for named labels: classes in order of their names, as numbers where all of them are numbers."""
    present = {str(name) for name in names}
    classes = sorted(present, key=int) if all(name.isdecimal() for name in present) else sorted(present)
    numbers = {name: number for number, name in enumerate(classes)}
    return [numbers[str(name)] for name in names], classes
