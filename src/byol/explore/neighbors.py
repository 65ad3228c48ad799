"""Exact nearest neighbors by cosine, block by block, so that no matrix of all pairs is ever in memory."""

from dataclasses import dataclass

import torch
from torch import Tensor

from byol.errors import UserError
from byol.evals.knn import Groups, nearest

K = 20
"""Neighbors of each image that findings look at, as many as vote in the k-NN evaluation."""


@dataclass(frozen=True)
class Neighbors:
    """The nearest rows of a bank for each query, nearest first."""

    similarity: Tensor
    """(M, k) float32, cosines."""
    rows: Tensor
    """(M, k) int64, numbers of rows of the bank."""

    @property
    def distance(self) -> Tensor:
        """(M, k) float64: Euclidean distance of the unit vectors, in [0, 2]."""
        return (2 - 2 * self.similarity.double()).clamp_min(0).sqrt()


def find_neighbors(bank: Tensor, queries: Tensor, k: int, device: torch.device | None = None) -> Neighbors:
    """The k rows of a bank (N, D) nearest to each of the queries (M, D); at most N.

    Raises:
        UserError: features that are NaN or infinite, or k below 1.
    """
    _check(bank, queries, k)
    return Neighbors(*nearest(bank, torch.arange(len(bank)), queries, k, device))


def find_others(features: Tensor, k: int = K, device: torch.device | None = None) -> Neighbors:
    """The k nearest other rows of each row of (N, D), N - 1 at most; a copy of a row counts as another row.

    Raises:
        UserError: features that are NaN or infinite, or k below 1.
    """
    _check(features, features, k)
    k = min(k, len(features) - 1)
    if k == 0:
        return Neighbors(torch.empty(len(features), 0), torch.empty(len(features), 0, dtype=torch.int64))
    each = torch.arange(len(features))
    return Neighbors(*nearest(features, each, features, k, device, Groups(each, each)))


def _check(bank: Tensor, queries: Tensor, k: int) -> None:
    if k < 1:
        raise UserError(f"k is {k}, but must be 1 or more.")
    for features in {id(bank): bank, id(queries): queries}.values():
        bad = (~torch.isfinite(features).all(dim=1)).sum().item()
        if bad:
            raise UserError(
                f"{bad} of {len(features)} rows of features are NaN or infinite; the encoder has diverged, so give an "
                "earlier one."
            )
