"""Which images to label first: typical ones of many clusters (TypiClust, arXiv:2202.02794, Section 3)."""

import warnings

import numpy as np
import torch.nn.functional as F
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from byol.errors import UserError
from byol.explore.neighbors import Neighbors

FEW_CLUSTERS = 50
"""Up to so many clusters plain k-means is used, above it that of mini-batches, as in the paper's code."""


def suggest(features: Tensor, neighbors: Neighbors, count: int, labeled: Tensor, seed: int = 0) -> list[int]:
    """Rows of images that stand for the whole set, the one of the largest cluster first.

    The unit features are split into as many clusters as there will be labeled images. Of the largest clusters without a
    labeled image the most typical one is taken: that with the least mean distance to its neighbors.

    Args:
        features: (N, D).
        neighbors: of each image among the others.
        count: how many are asked for.
        labeled: (N,) bool; images that need no label any more.
        seed: of the clusters.

    Raises:
        UserError: fewer images without a label than are asked for.
    """
    free = int((~labeled).sum())
    if not 1 <= count <= free:
        raise UserError(f"{count} suggestions were asked for, but {free} images have no label; ask for 1 to {free}.")
    clusters = min(count + int(labeled.sum()), len(features))
    number = _clusters(F.normalize(features.float(), dim=1).numpy(), clusters, seed)
    distance = neighbors.distance.mean(dim=1).nan_to_num(0).numpy()
    covered = np.bincount(number[labeled.numpy()], minlength=clusters)
    size = np.bincount(number, minlength=clusters)
    left = _by_cluster(number, distance, ~labeled.numpy())
    chosen: list[int] = []
    while len(chosen) < count:  # clusters may be empty, so some are asked more than once
        order = sorted((c for c in left if left[c]), key=lambda c: (covered[c], -size[c], c))
        best = order[0]
        chosen.append(left[best].pop(0))
        covered[best] += 1
    return chosen


def _by_cluster(number: np.ndarray, distance: np.ndarray, free: np.ndarray) -> dict[int, list[int]]:
    """The free rows of each cluster, the most typical first."""
    found: dict[int, list[int]] = {}
    for row in np.argsort(distance, kind="stable").tolist():
        if free[row]:
            found.setdefault(int(number[row]), []).append(row)
    return found


def _clusters(unit: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    if clusters >= len(unit):
        return np.arange(len(unit))
    kind = KMeans if clusters <= FEW_CLUSTERS else MiniBatchKMeans
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct images than clusters
        return np.asarray(kind(clusters, n_init=1, random_state=seed).fit_predict(unit))
