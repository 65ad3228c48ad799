"""Labeled sources, the checks that make an evaluation on them meaningful, and random draws of labels."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from byol.data.sample import evenly
from byol.data.sources.open import Source
from byol.errors import BadImage, UserError


@dataclass(frozen=True)
class LabeledSource:
    """Images that have a label each."""

    images: Source
    labels: list[int]
    """One per image."""

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: Sequence[int]) -> "LabeledSource":
        """The images with these numbers, in this order, with their labels."""
        return LabeledSource(self.images.subset(indices), [self.labels[index] for index in indices])


@dataclass(frozen=True)
class LabeledParts:
    """A training and a test part that are labeled alike."""

    train: LabeledSource
    test: LabeledSource
    classes: list[str]
    """The names of the labels 0, 1, ...; each class has images in both parts."""


def labeled(source: Source, part: str) -> LabeledSource:
    """A source with its labels.

    Args:
        source: the images.
        part: what the source is for, such as "training"; for the message.

    Raises:
        UserError: the source has no labels.
    """
    if source.labels is None:
        remark = f" ({source.remark})" if source.remark else ""
        raise UserError(
            f"The {part} part {source.name} has no labels, or one class only{remark}; give a folder with a sub-folder "
            "for each of two classes or more, a list with labels, or Parquet with a label column."
        )
    return LabeledSource(source, source.labels)


def labeled_parts(train: Source, test: Source) -> LabeledParts:
    """Check that both parts are labeled alike.

    Raises:
        UserError: a part without labels, a single class, parts with different classes, a class without images in one of
            the parts, fewer labels than classes, or twice the same images.
    """
    known, tested = labeled(train, "training"), labeled(test, "test")
    if train.classes is not None and test.classes is not None and train.classes != test.classes:
        other = next((c for c in train.classes + test.classes if (c in train.classes) != (c in test.classes)), None)
        detail = "in another order" if other is None else f"{other!r} is in one of them only"
        raise UserError(
            f"The labels of {train.name} and {test.name} differ ({len(train.classes)} and {len(test.classes)} classes, "
            f"{detail}); give parts of one data set, labeled alike."
        )
    if _same(train, test):
        raise UserError(
            f"{train.name} and {test.name} are the same images, so the result would not be a test result; give a "
            "separate test part."
        )
    names = train.classes or test.classes or [str(number) for number in range(max(known.labels + tested.labels) + 1)]
    present = set(known.labels)
    if len(known) < len(names) and len(present) < len(names):
        raise UserError(
            f"{train.name} has {len(known)} labeled images for {len(names)} classes; label one of each at least."
        )
    if len(present) < 2:
        raise UserError(f"{train.name} has one class only; give images of two classes or more.")
    for source, part in ((known, "training"), (tested, "test")):
        missing = sorted(set(range(len(names))) - set(source.labels))
        if missing:
            raise UserError(
                f"The class {names[missing[0]]!r} has no image in the {part} part {source.images.name} "
                f"({len(missing)} of {len(names)} classes have none); add some, or leave the class out of both parts."
            )
    return LabeledParts(known, tested, names)


def _same(train: Source, test: Source) -> bool:
    """Whether two parts are the same images: by names, sizes and labels, and by the pixels of eight images."""
    if len(train) != len(test) or train.fingerprint() != test.fingerprint():
        return False
    try:
        return all(torch.equal(train.image(number), test.image(number)) for number in evenly(len(train), 8))
    except BadImage:
        return False


def draw_per_class(labels: Sequence[int], count: int, seed: int, names: Sequence[str] = ()) -> list[int]:
    """Draw `count` images of each class at random, and return their numbers.

    Raises:
        UserError: a class has fewer images.
    """
    chosen: list[int] = []
    for label, members in enumerate(by_class(labels, seed)):
        if len(members) < count:
            name = names[label] if names else str(label)
            raise UserError(
                f"{count} labels per class were asked for, but the class {name!r} has {len(members)} images; "
                f"ask for {len(members)} at most."
            )
        chosen += members[:count]
    return sorted(chosen)


def draw_share(labels: Sequence[int], share: float, seed: int) -> list[int]:
    """Draw a share of the images of each class at random, and return their numbers.

    Raises:
        UserError: the share leaves a class without an image.
    """
    chosen: list[int] = []
    for label, members in enumerate(by_class(labels, seed)):
        count = round(share * len(members))
        if count == 0:
            raise UserError(
                f"{share:.1%} of the {len(members)} images of class number {label} is none; "
                f"ask for a share of {1 / len(members):.1%} or more."
            )
        chosen += members[:count]
    return sorted(chosen)


def smallest_class(labels: Sequence[int]) -> int:
    """The number of images of the rarest class."""
    return min(Counter(labels).values())


def as_tensor(labels: Sequence[int]) -> Tensor:
    """(N,) int64."""
    return torch.tensor(labels, dtype=torch.long)


def by_class(labels: Sequence[int], seed: int) -> list[list[int]]:
    """The numbers of the images of each class, shuffled."""
    members: list[list[int]] = [[] for _ in range(max(labels) + 1)]
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed)).tolist()
    for index in order:
        members[labels[index]].append(index)
    return members
