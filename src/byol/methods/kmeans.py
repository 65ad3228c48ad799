"""k-means, and what precedes it: labels of images from their features."""

import torch
from torch import Tensor

from byol.errors import UserError
from byol.runtime.distributed import gather
from byol.runtime.seeds import generator_of

CHUNK = 1 << 26
"""Distances that are held at once."""
ROUNDS = 20
"""Rounds of Lloyd's algorithm, as DeepCluster's released code has."""


def kmeans(points: Tensor, clusters: int, seed: int, rounds: int = ROUNDS) -> Tensor:
    """The cluster of each point, (n, D) -> (n,) int64, by Lloyd's algorithm from points drawn as first centers.

    A center that loses all its points goes to the point that is farthest from its own. Every process gets the first
    one's clusters, since sums on a GPU differ in their last digits.
    """
    points = points.float()
    drawn = torch.randperm(len(points), generator=generator_of("kmeans", seed))[:clusters]
    centers = points[drawn.to(points.device)].clone()
    nearest, distances = _assign(points, centers)
    for _ in range(rounds):
        centers = _means(points, nearest, distances, clusters)
        before = nearest
        nearest, distances = _assign(points, centers)
        if torch.equal(before, nearest):
            break
    labels: Tensor = gather(nearest)[: len(points)]
    return labels


def whitened(features: Tensor, components: int) -> Tensor:
    """Features (n, D) as unit vectors of their first principal components, each of the same variance.

    (DeepCluster, arXiv:1807.05520, Section 4: 256 components, whitened, to unit length.)
    """
    centered = (features - features.mean(0)).double()
    values, vectors = torch.linalg.eigh(centered.T @ centered / len(centered))
    kept = min(components, len(values))
    scale = values[-kept:].clamp_min(1e-12 * float(values[-1].clamp_min(1e-30))).rsqrt()
    projected = centered @ (vectors[:, -kept:] * scale)
    unit: Tensor = projected / projected.norm(dim=1, keepdim=True).clamp_min(1e-12)
    return unit.float()


def _assign(points: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest center of each point and the squared distance, part by part."""
    parts = torch.split(points, max(1, CHUNK // len(centers)))
    squares = centers.square().sum(1)
    found = [torch.addmm(squares, part, centers.T, alpha=-2).min(1) for part in parts]
    distances = torch.cat([one.values for one in found]) + points.square().sum(1)
    return torch.cat([one.indices for one in found]), distances


def _means(points: Tensor, nearest: Tensor, distances: Tensor, clusters: int) -> Tensor:
    """The mean of each cluster; one without points is at the farthest point, the next one at the next farthest."""
    sizes = torch.bincount(nearest, minlength=clusters)
    sums = torch.zeros(clusters, points.shape[1], dtype=points.dtype, device=points.device)
    means = sums.index_add_(0, nearest, points) / sizes.clamp_min(1).unsqueeze(1)
    empty = (sizes == 0).nonzero().squeeze(1)
    if len(empty):
        means[empty] = points[distances.topk(len(empty)).indices]
    return means


def check_clusters(count: int, images: int) -> None:
    """See that there are no more clusters than images.

    Raises:
        UserError: there are.
    """
    if count > images:
        raise UserError(
            f"method.clusters is {count}, but there are {images} images; give {images} or less, or more images."
        )
