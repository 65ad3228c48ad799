"""The images of a call: both parts decoded, with labels."""

from dataclasses import dataclass
from pathlib import Path

import torch

from byol.data.memory import decode_all
from byol.data.sources.digest import digest
from byol.data.sources.open import Source, TensorSource, open_source
from byol.errors import UserError
from byol.evals.labels import labeled_parts
from byol.runtime import device as machine


@dataclass(frozen=True)
class Data:
    """Training and test images, decoded, with labels."""

    train: TensorSource
    test: TensorSource
    fingerprint: str
    """Of both parts' pixels and labels."""


def open_data(train: str | Path | Source, test: str | Path | Source, images: int | None) -> Data:
    """Open and decode both parts; of the training images the first so many.

    Raises:
        UserError: there is nothing of the sort, too few images, no labels, or other labels in the test part.
    """
    train, test = (source if isinstance(source, Source) else open_source(source) for source in (train, test))
    if images is not None:
        if len(train) < images:
            raise UserError(
                f"{train.name} has {len(train)} images, but this scale trains on {images}; give --images with "
                f"{len(train)} or less, or more images."
            )
        train = train.subset(range(images))
    alike = labeled_parts(train, test)
    parts = _decoded(alike.train.source(alike.classes)), _decoded(alike.test.source(alike.classes))
    return Data(*parts, fingerprint=digest([part.fingerprint() for part in parts]))


def _decoded(source: Source) -> TensorSource:
    if isinstance(source, TensorSource):
        return source
    held = decode_all(source, machine.cores(), shrink_to=64)
    if not isinstance(held.images, torch.Tensor):
        raise UserError(f"The images of {source.name} differ in size; the tables are for sets of small images alike.")
    return TensorSource(held.images, held.source.labels, held.source.classes, source.name)
