"""Labeled sources, the checks that make an evaluation on them meaningful, and random draws of labels."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from byol.data.contents import content_digest
from byol.data.joined_labels import labels_in_numbers_of, same_names
from byol.data.sources.open import Source
from byol.data.sources.relabeled import Labels, relabeled
from byol.errors import UserError


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

    def source(self, classes: list[str] | None) -> Source:
        """The images as a source that has these labels, with these names of classes."""
        if self.images.labels == self.labels:
            return self.images
        return relabeled(self.images, Labels(labels=self.labels, classes=classes, groups=self.images.groups))


@dataclass(frozen=True)
class LabeledParts:
    """A training and a test part that are labeled alike."""

    train: LabeledSource
    test: LabeledSource
    classes: list[str]
    """The names of the labels 0, 1, ...; each class has images in both parts."""
    given: list[int]
    """The numbers that these classes have in the training data."""

    def like(self, source: Source, part: str) -> LabeledSource:
        """The labeled images of another part, such as "validation", with the labels of these parts.

        Raises:
            UserError: it has no labels, or other classes.
        """
        return _renumbered(labeled(source, part), self.train.images, self.given)


def labeled(source: Source, part: str) -> LabeledSource:
    """The images of a source that have a label, with their labels.

    Args:
        source: the images; those whose label is -1 are left out.
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
    known = [index for index, label in enumerate(source.labels) if label != -1]
    if len(known) == len(source.labels):
        return LabeledSource(source, source.labels)
    if not known:
        raise UserError(f"No image of the {part} part {source.name} has a label; label some of each class.")
    return LabeledSource(source.subset(known), [source.labels[index] for index in known])


def unlabeled_in_words(source: Source) -> str:
    """A sentence about the images that an evaluation leaves out because they have no label, or an empty string."""
    count = 0 if source.labels is None else source.labels.count(-1)
    if count == 0:
        return ""
    return f"{count} of {len(source)} images of {source.name} have no label and are left out."


def labeled_parts(train: Source, test: Source) -> LabeledParts:
    """Check that both parts are labeled alike, and number their classes alike, from 0 on.

    Classes are joined by their names (`labels_in_numbers_of`). Numbers and names that no image of either part has are
    no classes. Images without a label are left out.

    Raises:
        UserError: a part without labels, a single class, parts with different classes, a class without images in one of
            the parts, fewer labels than classes, or twice the same images.
    """
    known, tested = labeled(train, "training"), labeled(test, "test")
    if train.classes is not None and test.classes is not None:
        _check_same_names(train, test)
    if _same(train, test):
        raise UserError(
            f"{train.name} and {test.name} are the same images, so the result would not be a test result; give a "
            "separate test part."
        )
    in_train = set(known.labels)
    in_test = set(labels_in_numbers_of(train, tested.images))
    given = sorted(in_train | in_test)
    names = [str(number) if train.classes is None else train.classes[number] for number in given]
    if len(known) < len(names) and len(in_train) < len(names):
        raise UserError(
            f"{train.name} has {len(known)} labeled images for {len(names)} classes; label one of each at least."
        )
    if len(in_train) < 2:
        raise UserError(f"{train.name} has one class only; give images of two classes or more.")
    for source, present, part in ((train, in_train, "training"), (test, in_test, "test")):
        missing = [name for number, name in zip(given, names, strict=True) if number not in present]
        if missing:
            raise UserError(
                f"The class {missing[0]!r} has no image in the {part} part {source.name} "
                f"({len(missing)} of {len(names)} classes have none); add some, or leave the class out of both parts."
            )
    return LabeledParts(_renumbered(known, train, given), _renumbered(tested, train, given), names, given)


def _check_same_names(train: Source, test: Source) -> None:
    """See that two parts with names of classes have the same ones, numbers by their value, in any order."""
    first, second = train.classes or [], test.classes or []
    if same_names(first, second):
        return
    other = next(name for name in first + second if (name in first) != (name in second))
    raise UserError(
        f"The labels of {train.name} and {test.name} differ ({len(first)} and {len(second)} classes, {other!r} is in "
        "one of them only); give parts of one data set, labeled alike."
    )


def _renumbered(part: LabeledSource, train: Source, given: list[int]) -> LabeledSource:
    """The same images, with the places of their classes in `given`, the numbers of classes of the training part."""
    places = {number: place for place, number in enumerate(given)}
    labels = labels_in_numbers_of(train, part.images)
    strange = next((label for label in labels if label not in places), None)
    if strange is not None:
        name = str(strange) if train.classes is None else train.classes[strange]
        raise UserError(f"The class {name!r} of {part.images.name} has no image in {train.name}; leave it out.")
    if given == list(range(len(given))):
        return LabeledSource(part.images, labels)
    return LabeledSource(part.images, [places[label] for label in labels])


def _same(train: Source, test: Source) -> bool:
    """Whether two parts are the same images: by names, sizes and labels, and by what they hold."""
    if len(train) != len(test) or train.fingerprint() != test.fingerprint():
        return False
    return content_digest(train) == content_digest(test)


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
