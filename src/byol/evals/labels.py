"""Labels of an evaluation's parts: what must hold for a figure to mean something, and how parts are drawn."""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from byol.data.sample import evenly
from byol.data.sources.open import Source
from byol.errors import BadImage, UserError


def class_names(train: Source, test: Source) -> list[str]:
    """Names of the classes, after checking that both parts are labeled alike.

    Raises:
        UserError: a part without labels, one class only, classes that are called otherwise in the other part, a class
            that one of the parts does not have, or fewer labels than classes.
    """
    known, asked = _labels(train, "training"), _labels(test, "test")
    if train.classes is not None and test.classes is not None and train.classes != test.classes:
        other = next((c for c in train.classes + test.classes if (c in train.classes) != (c in test.classes)), None)
        detail = "in another order" if other is None else f"{other!r} is in one of them only"
        raise UserError(
            f"The labels of {train.name} and {test.name} differ ({len(train.classes)} and {len(test.classes)} classes, "
            f"{detail}); give parts of one data set, labeled alike."
        )
    if _same(train, test):
        raise UserError(
            f"{train.name} and {test.name} are the same images, so that the figure would be of images it was learned "
            "from; give a part of its own to be asked about."
        )
    names = train.classes or test.classes or [str(number) for number in range(max(known + asked) + 1)]
    if len(known) < len(names) and len(set(known)) < len(names):
        raise UserError(
            f"{train.name} has {len(known)} labeled images for {len(names)} classes; label one of each at least."
        )
    if len(set(known)) < 2:
        raise UserError(f"{train.name} has one class only; nothing can be told apart, so give two classes or more.")
    for source, labels, part in ((train, known, "training"), (test, asked, "test")):
        missing = sorted(set(range(len(names))) - set(labels))
        if missing:
            raise UserError(
                f"The class {names[missing[0]]!r} has no image in the {part} part {source.name} "
                f"({len(missing)} of {len(names)} classes have none); add some, or leave the class out of both parts."
            )
    return names


def _same(train: Source, test: Source) -> bool:
    """Whether two parts are the same images: by names, sizes and labels, and by the pixels of a few."""
    if len(train) != len(test) or train.fingerprint() != test.fingerprint():
        return False
    try:
        return all(torch.equal(train.image(number), test.image(number)) for number in evenly(len(train), 8))
    except BadImage:
        return False


def _labels(source: Source, part: str) -> list[int]:
    if source.labels is None:
        remark = f" ({source.remark})" if source.remark else ""
        raise UserError(
            f"The {part} part {source.name} has no labels, or one class only{remark}; give a folder with a sub-folder "
            "for each of two classes or more, a list with labels, or Parquet with a label column."
        )
    return source.labels


def hold_out(labels: Sequence[int], share: float, seed: int, at_most: int | None = None) -> tuple[list[int], list[int]]:
    """Numbers of images that stay and that are held out: a share of each class, at random, one of each at least.

    Args:
        labels: one per image.
        share: how much is held out, in (0, 1).
        seed: of the draw.
        at_most: hold out about so many in all, however large the share.

    Raises:
        UserError: a class with a single image.
    """
    if at_most is not None:
        share = min(share, at_most / len(labels))
    stay, held = [], []
    for label, members in enumerate(by_class(labels, seed)):
        if len(members) < 2:
            if not members:
                continue
            raise UserError(
                f"The class number {label} has one image, and choosing settings takes one to learn and one to choose; "
                "add images, or give fixed settings."
            )
        count = min(max(1, round(share * len(members))), len(members) - 1)
        held += members[:count]
        stay += members[count:]
    return sorted(stay), sorted(held)


def draw_per_class(labels: Sequence[int], count: int, seed: int, names: Sequence[str] = ()) -> list[int]:
    """Numbers of `count` images of each class, at random.

    Raises:
        UserError: a class has fewer.
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
    """Numbers of a share of the images, balanced over the classes, at random.

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
    """Images of the rarest class."""
    return min(Counter(labels).values())


def as_tensor(labels: Sequence[int]) -> Tensor:
    """(N,) int64."""
    return torch.tensor(labels, dtype=torch.long)


def by_class(labels: Sequence[int], seed: int) -> list[list[int]]:
    """Numbers of each class's images, shuffled."""
    members: list[list[int]] = [[] for _ in range(max(labels) + 1)]
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed)).tolist()
    for index in order:
        members[labels[index]].append(index)
    return members
