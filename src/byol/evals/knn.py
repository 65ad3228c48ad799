"""k-NN: the weighted vote of the nearest training images, without any training."""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from byol.errors import UserError
from byol.evals.cache import FeatureConfig, labeled_features
from byol.evals.evaluation import Evaluation, Task
from byol.evals.labels import labeled_parts
from byol.evals.metrics import top_k

K = 20
"""Neighbors that vote, as in DINO (arXiv:2104.14294, Section 4.1) and the usual choice since."""
TEMPERATURE = 0.07
"""Temperature of the votes (Wu et al., arXiv:1805.01978, Section 3.4)."""
SAME = 1 - 1e-6
"""Cosine of two images' features from which these are the same."""
BLOCK = 2048
"""Queries compared at once."""
OTHERS_BLOCK = 512
"""Images compared with all others at once."""
BANK_BLOCK = 8192
"""Bank rows compared at once: a bank on the disk is read block by block and never held in memory."""


@dataclass(frozen=True, kw_only=True)
class KnnConfig:
    """Weighted k-NN (Wu et al., arXiv:1805.01978, Section 3.4); the BYOL paper has none."""

    k: tuple[int, ...] = (K, 200)
    """Neighbors that vote: 20 (DINO) and 200 (Wu et al.)."""
    temperature: float = TEMPERATURE
    """Temperature of the votes; a lower one gives the nearest neighbors more weight."""
    features: FeatureConfig = field(default_factory=FeatureConfig)

    def __post_init__(self) -> None:
        if not self.k or min(self.k) < 1:
            raise UserError(f"k is {self.k}, but must be one number or more, each 1 or more.")
        if not self.temperature > 0:
            raise UserError(f"temperature is {self.temperature}, but must be a number above 0.")


def evaluate(task: Task, config: KnnConfig) -> dict[str, float]:
    """Classify each test image by the vote of its nearest training images.

    Returns:
        `top1_k20` and so on, in [0, 1], for each k up to the number of training images; `top5_k20` and so on if there
        are more than five classes; `copies`, the number of test images with the features of a training image, if
        there are any: such images were looked up rather than recognized.

    Raises:
        UserError: unsuitable labels, features or channels (see `labeled_parts`, `cached_features`).
    """
    parts = labeled_parts(task.train, task.test)
    bank, queries = labeled_features(task, parts, config.features)
    similarity, votes = nearest(bank.values, bank.labels, queries.values, max(config.k), task.device)
    result = {}
    possible = [k for k in config.k if k <= len(bank.values)] or [len(bank.values)]
    for k in possible:
        scores = count_votes(similarity[:, :k], votes[:, :k], len(parts.classes), config.temperature)
        # of equal votes the first class counts, as in `knn_accuracy`
        result[f"top1_k{k}"] = (scores.argmax(dim=1) == queries.labels).double().mean().item()
        if len(parts.classes) > 5:
            result[f"top5_k{k}"] = top_k(scores, queries.labels, 5)
    copies = int((similarity[:, 0] > SAME).sum())
    return result | ({"copies": copies} if copies else {})


EVALUATION = Evaluation(name="knn", config=KnnConfig, evaluate=evaluate, percent=("top*",))


@dataclass(frozen=True)
class Groups:
    """The patient, plate or site of each image: no neighbor of the same group votes."""

    bank: Tensor
    """(N,) int64."""
    queries: Tensor
    """(M,) int64."""


def nearest(
    bank: Tensor,
    bank_labels: Tensor,
    queries: Tensor,
    k: int,
    device: torch.device | None = None,
    groups: Groups | None = None,
) -> tuple[Tensor, Tensor]:
    """Cosine similarities and labels (M, k) of each query's nearest rows of the bank, nearest first, on the CPU.

    Where a query has fewer than k neighbors of other groups, the last ones have a similarity of minus infinity.

    Args:
        bank: (N, D) features; may be mapped from a file.
        bank_labels: (N,) int64.
        queries: (M, D) features.
        k: number of neighbors; at most N are returned.
        device: where the products are computed; by default where the queries are.
        groups: which rows are no neighbors of which queries; by default all are.
    """
    device = device or queries.device
    k = min(k, len(bank))
    best = torch.full((len(queries), k), -torch.inf)
    labels = torch.zeros(len(queries), k, dtype=torch.long)
    unit = F.normalize(queries.float(), dim=1)
    blocks = zip(torch.split(bank, BANK_BLOCK), torch.split(bank_labels, BANK_BLOCK), strict=True)
    for number, (rows, row_labels) in enumerate(blocks):
        block = F.normalize(rows.float().to(device), dim=1)
        row_labels = row_labels.to(device)
        for start in range(0, len(unit), BLOCK):
            part = slice(start, start + BLOCK)
            products = unit[part].to(device) @ block.T
            if groups is not None:
                of_rows = groups.bank[number * BANK_BLOCK : number * BANK_BLOCK + len(rows)]
                same = groups.queries[part, None] == of_rows[None]
                products.masked_fill_(same.to(device), -torch.inf)
            found, where = products.topk(min(k, len(block)), dim=1)
            joined = torch.cat([best[part].to(device), found], dim=1)
            joined_labels = torch.cat([labels[part].to(device), row_labels[where]], dim=1)
            kept, order = joined.topk(k, dim=1)
            best[part], labels[part] = kept.cpu(), joined_labels.gather(1, order).cpu()
    return best, labels


def count_votes(similarity: Tensor, labels: Tensor, classes: int, temperature: float) -> Tensor:
    """Votes (M, classes): the sum of exp(cosine / temperature) over the neighbors (M, k) of each class.

    Votes are in units of the nearest neighbor's, so that none overflows and not all underflow; a class without a
    neighbor has minus infinity.
    """
    weight = ((similarity - similarity[:, :1]) / temperature).exp().nan_to_num(0)  # where nobody may vote
    votes = torch.zeros(len(labels), classes).scatter_add_(1, labels, weight)
    return votes.masked_fill_(torch.ones(votes.shape, dtype=torch.bool).scatter_(1, labels, False), -torch.inf)


def knn_scores(
    bank: Tensor, bank_labels: Tensor, queries: Tensor, *, classes: int, k: int = K, temperature: float = TEMPERATURE
) -> Tensor:
    """Votes for each class, (M, classes); arguments as for `nearest`, with the number of classes."""
    return count_votes(*nearest(bank, bank_labels, queries, k), classes, temperature)


def vote_is_right(similarity: Tensor, voters: Tensor, labels: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """For each query whether its class gets the most votes, (M,) bool; of equal votes the first class counts.

    Args:
        similarity: (M, k) cosines of the nearest neighbors, nearest first; minus infinity where none may vote.
        voters: (M, k) int64, their labels; any whole numbers.
        labels: (M,) int64, the queries' own.
        temperature: of the votes.
    """
    # numbering the labels that occur keeps the table of votes small
    known, numbers = torch.unique(torch.cat([voters.flatten(), labels.cpu()]), return_inverse=True)
    votes, own = numbers.split([voters.numel(), len(labels)])
    scores = count_votes(similarity, votes.view_as(voters), len(known), temperature)
    correct: Tensor = (scores.argmax(dim=1) == own) & similarity[:, 0].isfinite()
    return correct


def knn_accuracy(bank: Tensor, bank_labels: Tensor, queries: Tensor, query_labels: Tensor, *, k: int = K) -> float:
    """Share of queries whose class gets the most votes, in [0, 1]. Arguments as for `nearest`."""
    return float(vote_is_right(*nearest(bank, bank_labels, queries, k), query_labels).float().mean())


def knn_correct_among(features: Tensor, labels: Tensor, *, k: int = K, groups: Tensor | None = None) -> Tensor:
    """For each of N images whether the vote of its nearest others is right, (N,) bool.

    Args:
        features: (N, D).
        labels: (N,) int64.
        k: number of neighbors.
        groups: (N,) int64, or None; no neighbor of the same group votes.
    """
    unit, labels = F.normalize(features.float(), dim=1), labels.cpu()
    correct = []
    for start in range(0, len(unit), OTHERS_BLOCK):
        similarity = unit[start : start + OTHERS_BLOCK] @ unit.T
        similarity.diagonal(start).fill_(-torch.inf)  # nobody votes about itself
        if groups is not None:
            same = groups[start : start + OTHERS_BLOCK, None] == groups[None]
            similarity.masked_fill_(same.to(similarity.device), -torch.inf)
        found, where = similarity.topk(min(k, len(unit) - 1), dim=1)
        correct.append(vote_is_right(found, labels[where], labels[start : start + OTHERS_BLOCK]))
    return torch.cat(correct)
