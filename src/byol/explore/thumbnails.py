"""Small pictures for a page: sheets of them as JPEG, bounded in number and in bytes."""

import io
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from byol.augment.normalize import as_float
from byol.data.prefetch import prefetch_map
from byol.data.sources.open import Source
from byol.errors import BadImage
from byol.runtime.threads import single_threaded_pool

SIDE = 64
"""Pixels of a thumbnail's side, at most; images are not enlarged."""
ACROSS = 20
"""Thumbnails in a row of a sheet; a full sheet has as many rows."""
MOST_BYTES = 8_000_000
"""Of all sheets together, before they are written as text, which adds a third."""
QUALITY = 80
"""Of the JPEG encoding."""
PAPER = 128
"""Gray around images that are not square."""


@dataclass(frozen=True)
class Sheets:
    """Thumbnails in the order in which they were asked for, as many as fit."""

    files: list[bytes]
    """JPEG; the first has the first 400 thumbnails, row by row."""
    side: int
    """Pixels of each."""
    count: int


def make_sheets(source: Source, indices: list[int], workers: int, most_bytes: int = MOST_BYTES) -> Sheets:
    """Sheets of some images; one that cannot be read is gray.

    Args:
        source: the images.
        indices: their numbers, the most important first.
        workers: threads that decode.
        most_bytes: of all sheets together.
    """
    side = min(SIDE, max((_longer_side(source, index) for index in indices[:8]), default=SIDE))
    per_sheet = ACROSS * ACROSS
    files: list[bytes] = []
    count = spent = 0

    def read(start: int) -> Tensor:
        return torch.stack([thumbnail(source, index, side) for index in indices[start : start + per_sheet]])

    with single_threaded_pool(workers, "decode") as pool:
        for pictures in prefetch_map(pool, read, range(0, len(indices), per_sheet), ahead=workers + 1):
            file = _sheet(pictures)
            if files and spent + len(file) > most_bytes:
                break
            files.append(file)
            spent, count = spent + len(file), count + len(pictures)
    return Sheets(files, side, count)


def _longer_side(source: Source, index: int) -> int:
    try:
        header = source.header(index)
    except BadImage:
        return 1
    return max(header.height, header.width)


def thumbnail(source: Source, index: int, side: int) -> Tensor:
    """(side, side, 3) uint8: the whole image, fitted in; gray where it cannot be read."""
    try:
        image = source.image(index, shrink_to=side)
    except BadImage:
        return torch.full((side, side, 3), PAPER, dtype=torch.uint8)
    return fitted(image, side)


def fitted(image: Tensor, side: int) -> Tensor:
    """An image (C, H, W), uint8 or in [0, 1], as (side, side, 3) uint8: whole, in the middle of a gray square.

    Gray is repeated; of many channels the first three are shown.
    """
    paper = torch.full((side, side, 3), PAPER, dtype=torch.uint8)
    image = as_float(image)
    image = image[:3] if len(image) >= 3 else image[:1].expand(3, -1, -1)
    scale = side / max(image.shape[1:])
    height, width = (max(1, round(scale * length)) for length in image.shape[1:])
    if (height, width) != tuple(image.shape[1:]):
        image = F.interpolate(image[None], size=(height, width), mode="bilinear", antialias=True)[0]
    top, left = (side - height) // 2, (side - width) // 2
    pixels = (image * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0)
    paper[top : top + height, left : left + width] = pixels
    return paper


def _sheet(pictures: Tensor) -> bytes:
    """Thumbnails (n, S, S, 3) side by side, `ACROSS` in a row."""
    count, side = pictures.shape[:2]
    rows = -(-count // ACROSS)
    padded = torch.cat([pictures, torch.full((rows * ACROSS - count, side, side, 3), PAPER, dtype=torch.uint8)])
    grid = padded.view(rows, ACROSS, side, side, 3).permute(0, 2, 1, 3, 4).reshape(rows * side, ACROSS * side, 3)
    return as_jpeg(grid)


def as_jpeg(pixels: Tensor) -> bytes:
    """Pixels (H, W, 3) uint8 as a file."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels.numpy())).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()
