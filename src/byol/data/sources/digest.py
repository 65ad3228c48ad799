"""Digests of data: what fingerprints of sources, masks, boxes and encoders are made of."""

import hashlib
import json
from collections.abc import Iterable

import numpy as np

__all__ = ["digest", "label_digest"]


def digest(parts: Iterable[str | bytes]) -> str:
    """16 hexadecimal digits of a sequence of strings. Each counts with its length, so their borders matter too."""
    state = hashlib.blake2b(digest_size=8)
    for part in parts:
        data = part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.hexdigest()


def label_digest(labels: list[int] | None, classes: list[str] | None) -> bytes:
    """What the labels add to a fingerprint."""
    numbers = b"" if labels is None else np.array(labels, dtype=np.int64).tobytes()
    return json.dumps(classes).encode() + numbers
