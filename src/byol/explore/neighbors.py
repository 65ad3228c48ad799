"""Exact nearest neighbors by cosine, block by block, so that no matrix of all pairs is ever in memory."""

from dataclasses import dataclass
from typing import ClassVar

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
    check_features(bank, queries, k)
    return Neighbors(*nearest(bank, torch.arange(len(bank)), queries, k, device))


def find_others(features: Tensor, k: int = K, device: torch.device | None = None) -> Neighbors:
    """The k nearest other rows of each row of (N, D), N - 1 at most; a copy of a row counts as another row.

    Raises:
        UserError: features that are NaN or infinite, or k below 1.
    """
    check_features(features, features, k)
    k = min(k, len(features) - 1)
    if k == 0:
        return Neighbors(torch.empty(len(features), 0), torch.empty(len(features), 0, dtype=torch.int64))
    each = torch.arange(len(features))
    return Neighbors(*nearest(features, each, features, k, device, Groups(each, each)))


@dataclass(frozen=True)
class ExactIndex:
    """A set of vectors (N, D) that is searched row by row."""

    bank: Tensor
    k: int
    device: torch.device
    words: ClassVar[str] = ""

    def others(self) -> Neighbors:
        """The k nearest other rows of each row, N - 1 at most."""
        return find_others(self.bank, self.k, self.device)

    def find(self, queries: Tensor) -> Neighbors:
        """The k nearest rows of each of the queries (M, D)."""
        return find_neighbors(self.bank, queries, self.k, self.device)


def check_features(bank: Tensor, queries: Tensor, k: int) -> None:
    """See that neighbors can be looked for.

    Raises:
        UserError: features that are NaN or infinite, or k below 1.
    """
    if k < 1:
        raise UserError(f"k is {k}, but must be 1 or more.")
    for features in {id(bank): bank, id(queries): queries}.values():
        bad = (~torch.isfinite(features).all(dim=1)).sum().item()
        if bad:
            raise UserError(
                f"{bad} of {len(features)} rows of features are NaN or infinite; the encoder has diverged, so give an "
                "earlier one."
            )
