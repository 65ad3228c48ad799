"""Label suspects: images whose features contradict their label."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from byol.data.sample import evenly
from byol.evals.fewshot import standardize
from byol.evals.knn import TEMPERATURE, count_votes
from byol.evals.labels import by_class
from byol.evals.logistic import LogisticPath
from byol.explore.neighbors import Neighbors, find_others

FOLDS = 5
"""Parts of the images, each judged by a classifier that was fitted to the others."""
FITTED, FITTED_PER_CLASS = 10_000, 20
"""Images that a classifier is fitted to at most, or so many for each class where that is more. Of larger sets they are
taken evenly from each class: the fits would take most of the time, and more images change them little."""
PENALTIES = [100.0, 10.0, 1.0, 0.1]
"""Penalties of the classifier, see `LogisticPath`; the one with the least loss on held-out labels is taken."""


@dataclass(frozen=True)
class Suspects:
    """What the features of other images say of each label."""

    rows: list[int]
    """Suspects, the most suspicious first: the classifier and the neighbors agree on one other label."""
    probability: Tensor
    """(N,) of the image's own label, by a classifier that has not seen it; NaN where it is not judged."""
    suggested: Tensor
    """(N,) int64: the label that the classifier gives; -1 where it is not judged."""
    votes: Tensor
    """(N,) the share of the neighbors' votes for the image's own label; NaN where it is not judged."""


def find_suspects(
    features: Tensor, labels: Tensor, seed: int = 0, others: Callable[[Tensor], Neighbors] = find_others
) -> Suspects:
    """Judge each label by a linear classifier on the features of the other images, and by the nearest of them.

    A label with one image cannot be judged, and none is where there is only one label.

    Args:
        features: (N, D).
        labels: (N,) int64; -1 where an image has none.
        seed: of the split into parts.
        others: finds the neighbors of each of the images that are judged, given their features.
    """
    probability, votes = (torch.full((len(labels),), torch.nan, dtype=torch.float64) for _ in range(2))
    suggested = torch.full((len(labels),), -1)
    numbers, counts = torch.unique(labels[labels >= 0], return_counts=True)
    judged = torch.isin(labels, numbers[counts > 1]).nonzero()[:, 0]
    given, own = torch.unique(labels[judged], return_inverse=True)
    if len(given) < 2:
        return Suspects([], probability, suggested, votes)
    known = features[judged].float()
    p = _held_out_probabilities(known, own, len(given), seed)
    near = others(known)
    share = count_votes(near.similarity, own[near.rows], len(given), TEMPERATURE).clamp_min(0)
    share = share / share.sum(dim=1, keepdim=True)
    each = torch.arange(len(own))
    probability[judged], votes[judged] = p[each, own].double(), share[each, own].double()
    suggested[judged] = given[p.argmax(dim=1)]
    agreed = (p.argmax(dim=1) == share.argmax(dim=1)) & (p.argmax(dim=1) != own)
    order = probability[judged].argsort(stable=True)
    return Suspects(judged[order[agreed[order]]].tolist(), probability, suggested, votes)


def _some(rows: Tensor, labels: Tensor, most: int) -> Tensor:
    """At most so many of some rows, evenly from each class."""
    if len(rows) <= most:
        return rows
    return rows[labels[rows].argsort(stable=True)][evenly(len(rows), most)]


def _held_out_probabilities(features: Tensor, labels: Tensor, classes: int, seed: int) -> Tensor:
    """(N, classes): probabilities of each image's labels, by classifiers that were fitted without its part."""
    part = torch.empty(len(labels), dtype=torch.int64)
    for members in by_class(labels.tolist(), seed):
        part[members] = torch.arange(len(members)) % FOLDS
    tried = [torch.zeros(len(labels), classes) for _ in PENALTIES]
    for fold in range(FOLDS):
        out = part == fold
        if not out.any():
            continue
        fitted = _some((~out).nonzero()[:, 0], labels, max(FITTED, FITTED_PER_CLASS * classes))
        rest, held_out = standardize(features[fitted], features[out])
        for table, fit in zip(tried, LogisticPath(rest, labels[fitted], classes).path(PENALTIES), strict=True):
            table[out] = fit.logits(held_out).softmax(dim=1)
    losses = [-table.gather(1, labels[:, None]).clamp_min(1e-12).log().mean().item() for table in tried]
    return tried[losses.index(min(losses))]
