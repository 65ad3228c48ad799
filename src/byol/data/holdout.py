"""Images of labeled training data that are kept out of training, for readings."""

from byol.data.sources.open import Source

HELD_OUT_SHARE = 0.1
"""Part of labeled training data that is held out where no --monitor is given."""
HELD_OUT_MOST, HELD_OUT_LEAST = 2000, 10
"""Images that are held out: at most, and at least, or none are."""
ENOUGH_QUERIES = 200
"""Fewer held-out images cannot tell a gain of five points from chance. Then nothing is held out: each labeled image is
classified by all others, so that every label counts. Training has seen these images, but never their labels."""


def held_out(data: Source, monitor: Source | None, reads_labels: bool = False) -> int:
    """How many images of the training data are kept out of training for readings.

    Args:
        data: the training images.
        monitor: other images for readings, where they were given.
        reads_labels: whether training reads labels.
    """
    if monitor is not None or data.labels is None or len(set(data.labels)) < 2:
        return 0
    count = min(HELD_OUT_MOST, int(HELD_OUT_SHARE * len(data)))
    return count if count >= (HELD_OUT_LEAST if reads_labels else ENOUGH_QUERIES) else 0
