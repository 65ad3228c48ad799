"""Images of labeled training data that are kept out of training, for readings."""

from byol.data.sources.open import Source

HELD_OUT_SHARE = 0.1
"""Part of labeled training data that is held out where no --monitor is given."""
HELD_OUT_MOST, HELD_OUT_LEAST = 2000, 10
"""Images that are held out: at most, and at least, or none are."""


def held_out(data: Source, monitor: Source | None) -> int:
    """How many images of the training data are kept out of training for readings."""
    if monitor is not None or data.labels is None or len(set(data.labels)) < 2:
        return 0
    count = min(HELD_OUT_MOST, int(HELD_OUT_SHARE * len(data)))
    return count if count >= HELD_OUT_LEAST else 0
