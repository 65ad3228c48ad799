"""The map: features in two dimensions, by UMAP where it is installed, else by principal components."""

import importlib.util
import math
import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from byol.data.sample import evenly
from byol.errors import UserError
from byol.explore.neighbors import Neighbors

MapKind = Literal["auto", "umap", "pca"]

NEIGHBORS = 15
"""Neighbors that UMAP keeps together, the image itself among them; its own default."""
LEAST = 50
"""Images below which UMAP has too little to go by, and principal components are shown."""
JUDGED, KEPT = 1000, 10
"""Images by which a map is judged, and neighbors of each that count."""


@dataclass(frozen=True)
class Projection:
    """Where each image lies on the map."""

    points: Tensor
    """(N, 2) float32, in [0, 1] each."""
    method: str
    """What made it, in words."""
    kept: float
    """Share of the 10 nearest neighbors of images that are among the 10 nearest on the map; NaN for one image."""


def check_map(kind: MapKind) -> None:
    """See that a map of this kind can be made.

    Raises:
        UserError: UMAP is asked for and not installed.
    """
    if kind == "umap" and importlib.util.find_spec("umap") is None:
        raise UserError("--map umap needs UMAP, which is not installed; run pip install 'byol[explore]'.")


def project(features: Tensor, neighbors: Neighbors, kind: MapKind = "auto", seed: int = 0) -> Projection:
    """Features (N, D) on a plane.

    Args:
        features: of any scale; only their directions count.
        neighbors: of each image among the others, which UMAP starts from.
        kind: `auto` is UMAP where it is installed and there are 50 images or more.
        seed: of UMAP.

    Raises:
        UserError: UMAP is asked for and not installed.
    """
    check_map(kind)
    unit = F.normalize(features.float(), dim=1)
    points = principal(unit)
    method = "principal components"
    installed = importlib.util.find_spec("umap") is not None
    enough = len(features) >= LEAST and neighbors.rows.shape[1] >= NEIGHBORS - 1
    if kind != "pca" and installed and enough:
        points, method = _umap(unit, points, neighbors, seed), "UMAP"
    low, high = points.amin(dim=0), points.amax(dim=0)
    points = (points - low) / (high - low).max().clamp_min(1e-12)
    points = points + (1 - points.amax(dim=0)) / 2  # the shorter side in the middle
    return Projection(points, method, _kept(points, neighbors))


def principal(unit: Tensor) -> Tensor:
    """(N, 2): coordinates along the two directions of the largest variance."""
    centered = unit - unit.mean(dim=0)
    _, axes = torch.linalg.eigh((centered.T @ centered).double())  # in ascending order
    axes = axes[:, -2:].flip(1).float()
    axes = (
        axes * axes.gather(0, axes.abs().argmax(dim=0, keepdim=True)).sign()
    )  # eigenvectors have no sign of their own
    return F.pad(centered @ axes, (0, 2 - axes.shape[1]))


def _umap(unit: Tensor, start: Tensor, neighbors: Neighbors, seed: int) -> Tensor:
    from umap import UMAP

    count = len(unit)
    rows = torch.cat([torch.arange(count)[:, None], neighbors.rows[:, : NEIGHBORS - 1]], dim=1)
    distance = torch.cat([torch.zeros(count, 1), 1 - neighbors.similarity[:, : NEIGHBORS - 1]], dim=1).clamp_min(0)
    first = 10 * start / start.abs().max().clamp_min(1e-12)
    noise = torch.randn(first.shape, generator=torch.Generator().manual_seed(seed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads, and of what cannot be done with given neighbors
        mapped = UMAP(
            n_neighbors=NEIGHBORS,
            metric="cosine",
            random_state=seed,
            init=(first + 1e-3 * noise).numpy(),
            precomputed_knn=(rows.numpy(), distance.numpy()),
        ).fit_transform(unit.numpy())
    return torch.from_numpy(np.ascontiguousarray(mapped, dtype=np.float32))


def _kept(points: Tensor, neighbors: Neighbors) -> float:
    k = min(KEPT, neighbors.rows.shape[1])
    if k == 0:
        return math.nan
    some = torch.tensor(evenly(len(points), JUDGED))
    distance = torch.cdist(points[some], points)
    distance[torch.arange(len(some)), some] = torch.inf
    near = distance.topk(k, largest=False).indices
    return float((near[:, :, None] == neighbors.rows[some, None, :k]).any(dim=2).float().mean())
