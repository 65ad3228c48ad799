"""What was read, in sentences that a run says once: formats, channels, depths, pages that are left out, opacity."""

from collections import Counter
from collections.abc import Mapping

import torch

from byol.data.formats.decode import decode
from byol.data.formats.header import Header
from byol.data.sources.base import Source
from byol.errors import BadImage

__all__ = ["what_was_read"]

OPACITY_SEEN = 8
"""Images with opacity that are looked at."""
HARD = 0.5
"""Share of opacities that are none or full, below which they look like the values of a band instead."""

BAND = (
    "the last channel is used as opacity over white, as the files say, but it looks like a band such as near infrared; "
    "--data.channels {} keeps it as a channel"
)


def what_was_read(source: Source, headers: Mapping[int, Header]) -> tuple[str, ...]:
    """Sentences about a sample of a source.

    Args:
        source: the images.
        headers: of the images of the sample that can be read, by their number.
    """
    known = {number: header for number, header in headers.items() if header.kind}
    if not known:
        return ()
    kinds = Counter((header.kind, header.channels, header.depth) for header in known.values())
    lines = [
        f"{kind} of {_channels(channels)}, {depth}" + (f" ({count})" if len(kinds) > 1 else "")
        for (kind, channels, depth), count in kinds.most_common()
    ]
    notes = Counter(note for header in known.values() for note in header.notes)
    said = [_noted(note, count, known) for note, count in notes.most_common()]
    band = _bands(source, known)
    return (f"read: {'; '.join(lines)}; of {len(headers)} images looked at", *said, *band)


def _channels(count: int) -> str:
    return "1 channel" if count == 1 else f"{count} channels"


def _noted(note: str, count: int, headers: Mapping[int, Header]) -> str:
    pages = sorted({header.pages for header in headers.values() if note in header.notes})
    many = "" if pages == [1] else f" ({pages[0]} pages)" if len(pages) == 1 else f" ({pages[0]} to {pages[-1]} pages)"
    return f"{count} of {len(headers)} images looked at{many}: {note}"


def _bands(source: Source, headers: Mapping[int, Header]) -> list[str]:
    """Whether a last channel that is used as opacity is rather one of data, in all images that are looked at."""
    chosen = [number for number, header in headers.items() if header.opacity][:OPACITY_SEEN]
    stored = {headers[number].channels + 1 for number in chosen} - {source.channels}
    if len(stored) != 1:
        return []
    channels = stored.pop()
    for number in chosen:
        try:
            opacity = decode(source.read(number), channels, axes=source.axes)[-1]
        except BadImage:
            continue
        full = 255 if opacity.dtype == torch.uint8 else 1
        if float(((opacity == 0) | (opacity == full)).float().mean()) >= HARD:
            return []
    return [f"{len(chosen)} of {len(chosen)} images with opacity looked at: {BAND.format(channels)}"]
