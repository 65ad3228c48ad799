"""Images of labeled training data that are kept out of training, for readings."""

from array import array
from collections.abc import Sequence

from byol.data.sources.open import Source

HELD_OUT_SHARE = 0.1
"""Part of labeled training data that is held out where no --monitor is given."""
HELD_OUT_MOST, HELD_OUT_LEAST = 2000, 10
"""Images that are held out: at most, and at least, or none are."""
ENOUGH_QUERIES = 200
"""Fewer held-out images cannot tell a gain of five points from chance. Then nothing is held out: each labeled image is
classified by all others, so that every label counts. Training has seen these images, but never their labels."""


def labeled_images(data: Source, grouped: bool) -> Sequence[int]:
    """Numbers of the images with a label, and with a group where groups are held apart."""
    labels, groups = data.labels or [], data.groups or []
    known = (index for index, label in enumerate(labels) if label != -1 and not (grouped and groups[index] == -1))
    return array("q", known)  # of a million images a fifth of the memory of a list


def readable(data: Source) -> Sequence[int]:
    """Numbers of the images that a reading can be of.

    They have a label. Where images have groups, they have a group too, and a class of which another group has images:
    no other image could vote for them.
    """
    known = labeled_images(data, grouped=data.groups is not None)
    if data.labels is None or data.groups is None:
        return known
    groups: dict[int, set[int]] = {}
    for index in known:
        groups.setdefault(data.labels[index], set()).add(data.groups[index])
    return array("q", (index for index in known if len(groups[data.labels[index]]) > 1))


def class_count(data: Source, images: Sequence[int]) -> int:
    """How many classes some images of a labeled source have."""
    return 0 if data.labels is None else len({data.labels[index] for index in images})


def held_out(data: Source, monitor: Source | None, reads_labels: bool = False) -> int:
    """How many images of the training data are kept out of training for readings.

    Args:
        data: the training images.
        monitor: other images for readings, where they were given.
        reads_labels: whether training reads labels.
    """
    known = readable(data) if monitor is None else ()
    if class_count(data, known) < 2:
        return 0
    count = min(HELD_OUT_MOST, int(HELD_OUT_SHARE * len(known)))
    return count if count >= (HELD_OUT_LEAST if reads_labels else ENOUGH_QUERIES) else 0
