"""Near-duplicates: groups of images that are copies of each other up to encoding, brightness, crop or mirroring."""

import itertools
import math
from dataclasses import dataclass

import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from byol.explore.neighbors import Neighbors
from byol.explore.small import likeness, likeness_of_crops

NEAR = 0.8
"""Windows are compared where a neighbor is nearer than this share of the distance to the tenth: a copy stands out."""
REFERENCE = 10
"""The neighbor whose distance says how far other images usually are."""
LOWEST, HIGHEST = 0.75, 0.95
"""Likeness between which the threshold is placed. Below it, other pictures of one scene begin; above it, re-encodings
with strong compression would be missed."""
SPREADS = 4.0
"""The threshold also lies so many standard deviations above the usual likeness of neighbors: sets of one kind of image,
such as X-rays, are all alike."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of images that may be copies."""

    rows: Tensor
    """(P, 2) int64."""
    similarity: Tensor
    """(P,) cosines of features."""
    likeness: Tensor
    """(P,) of pixels, see `byol.explore.small`."""


@dataclass(frozen=True)
class Duplicates:
    """Groups of near-duplicates, and how they were told apart from the rest."""

    groups: list[list[int]]
    """Rows, two or more in each; the largest group first."""
    pairs: Pairs
    """The pairs that make the groups."""
    best: Tensor
    """(N,) the likeness of each image to the most alike of its neighbors; -1 where it has none."""
    threshold: float
    """Likeness from which a pair is one of near-duplicates."""

    def likeness_of(self, row: int) -> float:
        """The likeness of an image to the most alike of its neighbors."""
        return float(self.best[row])


def find_duplicates(neighbors: Neighbors, small: Tensor) -> Duplicates:
    """Groups of near-duplicates among N images.

    Args:
        neighbors: of each image among the others.
        small: (N, SIDE, SIDE) uint8, their small copies.
    """
    found = compare(neighbors, small)
    best = torch.full((len(small),), -1.0)
    for end in found.rows.T:
        best.scatter_reduce_(0, end, found.likeness, "amax")
    threshold = choose_threshold(best[best > -1])
    return grouped(found, best, threshold)


def compare(neighbors: Neighbors, small: Tensor) -> Pairs:
    """All pairs of images of which one is among the other's nearest, with their likeness."""
    count, k = neighbors.rows.shape
    if k == 0:
        return Pairs(torch.empty(0, 2, dtype=torch.int64), torch.empty(0), torch.empty(0))
    distance = neighbors.distance
    relative = distance / distance[:, [min(REFERENCE, k) - 1]].clamp_min(1e-12)
    ends = torch.stack([torch.arange(count)[:, None].expand(count, k), neighbors.rows], dim=2).view(-1, 2)
    ends = ends.sort(dim=1).values
    rows, place = torch.unique(ends, dim=0, return_inverse=True)
    similarity = torch.zeros(len(rows)).index_copy_(0, place, neighbors.similarity.flatten())
    nearest = torch.full((len(rows),), math.inf, dtype=torch.float64)
    nearest.scatter_reduce_(0, place, relative.flatten(), "amin")
    alike = likeness(small, rows)
    windowed = ((nearest < NEAR) & (alike < HIGHEST)).nonzero()[:, 0]
    alike[windowed] = torch.maximum(alike[windowed], likeness_of_crops(small, rows[windowed]))
    return Pairs(rows, similarity, alike)


def choose_threshold(best: Tensor) -> float:
    """The middle of the widest gap in the likeness of the set's own images, between the usual and copies.

    Gaps are measured after Fisher's transformation, in which correlations near 1 are as far apart as others.

    Args:
        best: the likeness of each image to the most alike of its neighbors, in [-1, 1].
    """
    usual = torch.atanh(best.double().clamp(-0.999, 0.999))
    low, high = math.atanh(LOWEST), math.atanh(HIGHEST)
    if len(usual):
        middle = usual.median()
        spread = 1.4826 * (usual - middle).abs().median()  # the standard deviation of a normal distribution
        low = min(max(low, float(middle + SPREADS * spread)), math.atanh(0.9))
    inside = usual[(usual > low) & (usual < high)].sort().values.tolist()
    marks = [low, *inside, high]
    _, start, end = max((b - a, a, b) for a, b in itertools.pairwise(marks))
    return math.tanh((start + end) / 2)


def grouped(found: Pairs, best: Tensor, threshold: float) -> Duplicates:
    """The pairs from the threshold on, and the groups that they connect."""
    kept = found.likeness >= threshold
    rows = found.rows[kept]
    pairs = Pairs(rows, found.similarity[kept], found.likeness[kept])
    if not len(rows):
        return Duplicates([], pairs, best, threshold)
    first, second = rows.numpy().T
    links = coo_array(([1] * len(rows), (first, second)), shape=(len(best), len(best)))
    _, number = connected_components(links, directed=False)
    members: dict[int, list[int]] = {}
    for row in sorted({int(row) for row in rows.flatten().tolist()}):
        members.setdefault(int(number[row]), []).append(row)
    return Duplicates(sorted(members.values(), key=lambda group: (-len(group), group)), pairs, best, threshold)


def find_leaks(neighbors: Neighbors, small: Tensor, test_small: Tensor, threshold: float) -> Pairs:
    """Images of a test part that are near-duplicates of training images: pairs (training row, test row).

    Args:
        neighbors: of each test image among the training images.
        small: (N, SIDE, SIDE) uint8, copies of the training images.
        test_small: (M, SIDE, SIDE) uint8, copies of the test images.
        threshold: likeness from which a pair counts, that of the near-duplicates.
    """
    count, k = neighbors.rows.shape
    ends = torch.stack([neighbors.rows, len(small) + torch.arange(count)[:, None].expand(count, k)], dim=2).view(-1, 2)
    together = torch.cat([small, test_small])
    alike = likeness(together, ends)
    distance = neighbors.distance
    relative = (distance / distance[:, [min(REFERENCE, k) - 1]].clamp_min(1e-12)).flatten()
    windowed = ((relative < NEAR) & (alike < HIGHEST)).nonzero()[:, 0]
    alike[windowed] = torch.maximum(alike[windowed], likeness_of_crops(together, ends[windowed]))
    kept = alike >= threshold
    return Pairs(ends[kept] - torch.tensor([0, len(small)]), neighbors.similarity.flatten()[kept], alike[kept])
