"""What images hold, as digests: whether a run finds the same ones again, and whether stored features are still theirs.

A fingerprint knows names, sizes and labels. Files without compression keep their size when their content changes.
"""

import zlib
from collections.abc import Iterator
from itertools import accumulate

from byol.data.sample import evenly
from byol.data.sources.base import Source
from byol.data.sources.digest import digest
from byol.data.sources.tensor import TensorSource
from byol.errors import BadImage, UnreachableImage, UserError

__all__ = ["content_digest", "holds", "state_digest"]

READ_MOST = 2 * 10**9
"""Bytes that are read for a digest, a few seconds' work; of larger sets an even sample of images is read."""
OPENING = 40_000
"""Bytes that could be read in the time that opening a file takes: a million small files would take half a minute."""
SIZES_ASKED = 64
"""Images that tell how large the others are."""


def content_digest(source: Source, opening: int | None = None) -> str:
    """16 hexadecimal digits of the images' encoded bytes, the same wherever the data is stored.

    All images count where they have `READ_MOST` bytes or less, with `opening` for each (`OPENING` unless given), else
    an even sample of so many, by shard where images are read so.
    """
    if isinstance(source, TensorSource):
        return source.fingerprint()
    return digest(_checksums(source, OPENING if opening is None else opening))


def holds(source: Source, noted: str | None) -> bool:
    """Whether a source has the content of a digest; true for None. Runs noted it without `OPENING` once."""
    return noted is None or any(content_digest(source, opening) == noted for opening in (OPENING, 0))


def state_digest(source: Source) -> str:
    """16 hexadecimal digits that are others as soon as any image changes: of files by their times, else by content.

    A copy of the same files may have others.
    """
    if isinstance(source, TensorSource):
        return source.fingerprint()
    return digest([source.fingerprint(), *map(source.state, range(len(source)))])


def _checksums(source: Source, opening: int) -> Iterator[str]:
    asked = evenly(len(source), SIZES_ASKED)
    sizes = [size for index in asked if (size := source.stored_bytes(index)) is not None]
    count = int(READ_MOST * len(sizes) / max(1, sum(size + opening for size in sizes))) if sizes else len(source)
    for index in _sample(source, max(1, count)):
        try:
            yield str(zlib.crc32(source.read(index)))
        except UnreachableImage as error:  # it may be there the next time, and would seem to have changed
            raise UserError(
                f"{source.where(index)} cannot be reached now: {error}; see that its disk is there."
            ) from error
        except BadImage:
            yield ""


def _sample(source: Source, count: int) -> list[int]:
    """About so many images, evenly spread; whole shards where images are read shard by shard."""
    if source.shards is None or count >= len(source):
        return evenly(len(source), count)
    starts = [0, *accumulate(source.shards.sizes)]
    chosen = evenly(len(source.shards.sizes), max(1, count * len(source.shards.sizes) // len(source)))
    return [index for shard in chosen for index in range(starts[shard], starts[shard + 1])]
