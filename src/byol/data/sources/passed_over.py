"""Files beside images that are not read: how many, of which kinds, and what would read them."""

from collections.abc import Mapping

from byol.data.formats.extras import extra_for

__all__ = ["passed_over"]

WORTH_SAYING = 0.1
"""Share of the files from which on others than images are told."""
KINDS_SHOWN = 5


def passed_over(images: int, others: Mapping[str, int]) -> tuple[str, ...]:
    """A sentence about other files beside images, or none where they are few.

    Args:
        images: how many files are read.
        others: how many are not, by suffix.
    """
    count = sum(others.values())
    if count < WORTH_SAYING * (images + count) or not count:
        return ()
    common = sorted(others.items(), key=lambda kind: (-kind[1], kind[0]))[:KINDS_SHOWN]
    kinds = ", ".join(f"{number} {suffix or 'without a suffix'}" for suffix, number in common)
    more = ", ..." if len(others) > KINDS_SHOWN else ""
    extras = dict.fromkeys(
        extra for suffix, _ in common if (extra := extra_for(suffix)) is not None and not extra.there
    )
    ways = "".join(f"; {extra.kind} is read with an extra: {extra.command}" for extra in extras)
    files = "file is" if count == 1 else "files are"
    return (f"passed over: {count} other {files} not read ({kinds}{more}){ways}",)
