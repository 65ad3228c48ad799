"""Small gray copies of images, and how alike two of them are whatever their brightness, crop or mirroring.

Features propose which images may be copies of each other; these copies decide. An encoder is trained to overlook crops
and colors, so that other pictures of the same thing are as near to it as a copy is.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from byol.augment.normalize import as_float
from byol.data.prefetch import prefetch_map
from byol.data.sources.open import Source
from byol.errors import BadImage
from byol.runtime.threads import single_threaded_pool

SIDE = 32
"""Pixels of a small copy's side, whatever the shape of the image."""
COMPARED = 16
"""Pixels of the side at which two copies are compared: noise and blocks of JPEG are averaged away."""
BATCH = 256
"""Images that a thread reads at once."""
PAIRS = 256
"""Pairs that are compared at once."""
SCALES, PLACES = (0.95, 0.9, 0.8, 0.7), (0.0, 0.5, 1.0)
"""Windows that a crop may have been taken from: share of the side, and places along either direction."""


def small_copies(source: Source, indices: list[int], workers: int) -> Tensor:
    """(N, SIDE, SIDE) uint8, the mean of the channels; black where an image cannot be read any more."""

    def read(start: int) -> Tensor:
        copies = torch.zeros(len(indices[start : start + BATCH]), SIDE, SIDE, dtype=torch.uint8)
        for row, index in enumerate(indices[start : start + BATCH]):
            try:
                copies[row] = small_copy(source.image(index, shrink_to=SIDE))
            except BadImage:
                continue
        return copies

    with single_threaded_pool(workers, "decode") as pool:
        blocks = list(prefetch_map(pool, read, range(0, len(indices), BATCH), ahead=workers + 1))
    return torch.cat(blocks)


def small_copy(image: Tensor) -> Tensor:
    """(C, H, W) -> (SIDE, SIDE) uint8."""
    gray = as_float(image).mean(dim=0, keepdim=True)[None]
    copy = F.interpolate(gray, size=(SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
    return (copy[0, 0] * 255).round().clamp(0, 255).to(torch.uint8)


def likeness(small: Tensor, pairs: Tensor) -> Tensor:
    """How alike the images of each pair are, (P,) in [-1, 1]: the correlation of their edges.

    That of the whole images, or of one with the other's mirror image; 1 for the same copies. Edges know nothing of
    brightness, and contrast scales them all alike.

    Args:
        small: (N, SIDE, SIDE) uint8.
        pairs: (P, 2) int64, rows of `small`.
    """
    plain = edges(_compared(small))
    mirrored = edges(_compared(small.flip(-1)))
    found = []
    for block in torch.split(pairs, 4096):
        first, second = block.T
        whole = (plain[first] * plain[second]).sum(dim=1)
        mirror = (plain[first] * mirrored[second]).sum(dim=1)
        same = (small[first] == small[second]).flatten(1).all(dim=1)
        found.append(torch.maximum(whole, mirror).masked_fill(same, 1.0))
    return torch.cat(found) if found else torch.empty(0)


def likeness_of_crops(small: Tensor, pairs: Tensor) -> Tensor:
    """The largest likeness of either image of a pair with a window of the other, (P,); arguments as for `likeness`."""
    found = [torch.empty(0)]
    for block in torch.split(pairs, PAIRS) if len(pairs) else ():
        first, second = small[block[:, 0]], small[block[:, 1]]
        found.append(torch.maximum(_best_window(first, second), _best_window(second, first)))
    return torch.cat(found)


def _best_window(whole: Tensor, part: Tensor) -> Tensor:
    """The largest correlation of the windows of some images with others, which may be crops of them."""
    wanted = edges(_compared(part))
    windows = torch.stack(
        [
            torch.tensor([[scale, 0.0, (1 - scale) * (2 * x - 1)], [0.0, scale, (1 - scale) * (2 * y - 1)]])
            for scale in SCALES
            for y in PLACES
            for x in PLACES
        ]
    )
    image = as_float(whole)[:, None]
    best = torch.full((len(whole),), -1.0)
    for window in windows:
        grid = F.affine_grid(window.expand(len(whole), 2, 3), [len(whole), 1, COMPARED, COMPARED], align_corners=False)
        cut = F.grid_sample(image, grid, mode="bilinear", align_corners=False)[:, 0]
        best = torch.maximum(best, (edges(cut) * wanted).sum(dim=1))
    return best


def _compared(small: Tensor) -> Tensor:
    return F.avg_pool2d(as_float(small)[:, None], SIDE // COMPARED)[:, 0]


def edges(images: Tensor) -> Tensor:
    """(N, S, S) -> (N, 2 S (S - 1)): differences of neighboring pixels, scaled to length 1; zeros for flat images."""
    across = (images[:, :, 1:] - images[:, :, :-1]).flatten(1)
    down = (images[:, 1:] - images[:, :-1]).flatten(1)
    return F.normalize(torch.cat([across, down], dim=1), dim=1, eps=1e-3)
