"""The measures of the paper's tables, each a pure function of predictions and truth."""

import torch
from torch import Tensor

IOU_HALF = 0.5
"""Overlap from which a detection counts (Pascal VOC)."""


def top_k(scores: Tensor, labels: Tensor, k: int = 1) -> float:
    """Share of rows of (N, C) whose label (N,) is among the k highest scores, in [0, 1].

    A score of minus infinity is none: its class is not among them, however few others there are.
    """
    highest = scores.topk(min(k, scores.shape[1]), dim=1)
    found = (highest.indices == labels[:, None]) & (highest.values > -torch.inf)
    return found.any(dim=1).double().mean().item()


def mean_per_class(scores: Tensor, labels: Tensor) -> float:
    """Mean over the classes that occur of the share of their images that are right, in [0, 1]."""
    right = (scores.argmax(dim=1) == labels).double()
    classes = scores.shape[1]
    counts = torch.bincount(labels, minlength=classes)
    hits = torch.bincount(labels, weights=right, minlength=classes)
    there = counts > 0
    return (hits[there] / counts[there]).mean().item()


def average_precision(scores: Tensor, truth: Tensor, *, eleven_points: bool = False) -> float:
    """Area under precision over recall of one class, in [0, 1]; NaN where nothing is true.

    Args:
        scores: (N,), higher is surer.
        truth: (N,) 1 or 0; -1 is left out, as VOC leaves out difficult objects.
        eleven_points: mean of the best precision at recalls 0, 0.1, ... 1 (VOC 2007), else the area under the
            steps (VOC 2010 on).
    """
    known = truth >= 0
    order = scores[known].argsort(descending=True, stable=True)
    return area_under_ranking(truth[known][order].double(), int((truth > 0).sum()), eleven_points=eleven_points)


def area_under_ranking(hits: Tensor, positives: int, *, eleven_points: bool) -> float:
    """Average precision of a ranking (N,), best first, 1 for a hit and 0 for a miss, of so many to be found."""
    if positives == 0:
        return float("nan")
    found = hits.double().cumsum(0)
    recall = found / positives
    precision = found / torch.arange(1, len(hits) + 1, dtype=torch.float64, device=hits.device)
    # the best precision at this recall or any higher one
    envelope = precision.flip(0).cummax(0).values.flip(0) if len(hits) else precision
    if eleven_points:
        points = torch.arange(11, dtype=torch.float64, device=hits.device) / 10
        # 1e-12: recall 3/10 must reach the point 0.3
        return float(sum(float(envelope[recall >= p - 1e-12][:1].sum()) for p in points) / 11)
    steps = torch.diff(recall, prepend=torch.zeros(1, dtype=torch.float64, device=hits.device))
    return float((steps * envelope).sum())


def mean_average_precision(scores: Tensor, truth: Tensor, *, eleven_points: bool = True) -> float:
    """Mean over classes of `average_precision`, for scores and truth (N, C); classes that never occur are left out."""
    each = [average_precision(scores[:, c], truth[:, c], eleven_points=eleven_points) for c in range(scores.shape[1])]
    there = [value for value in each if value == value]
    return sum(there) / len(there) if there else float("nan")


def confusion(predicted: Tensor, truth: Tensor, classes: int, ignore: int) -> Tensor:
    """Pixels by truth (rows) and prediction (columns), (classes, classes) int64, where truth is not `ignore`."""
    keep = truth != ignore
    joint = truth[keep].long() * classes + predicted[keep].long()
    return torch.bincount(joint, minlength=classes * classes).view(classes, classes)


def intersection_over_union(counts: Tensor) -> Tensor:
    """IoU of each class (C,) in [0, 1] from `confusion`; NaN for a class that is neither there nor predicted."""
    counts = counts.double()
    hits = counts.diagonal()
    union = counts.sum(dim=0) + counts.sum(dim=1) - hits
    return torch.where(union > 0, hits / union, torch.nan)


def mean_iou(counts: Tensor) -> float:
    """Mean IoU over the classes that occur in truth or prediction."""
    return float(intersection_over_union(counts).nanmean())


def pixel_accuracy(counts: Tensor) -> float:
    """Share of pixels that are right."""
    return float(counts.diagonal().sum().double() / counts.sum())


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """(N, M) overlaps of boxes (N, 4) and (M, 4), given as left, top, right, bottom with the right edge outside."""
    corner = torch.maximum(a[:, None, :2], b[None, :, :2])
    far = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    both = (far - corner).clamp_min(0).prod(dim=2)
    area_a, area_b = ((box[:, 2:] - box[:, :2]).prod(dim=1) for box in (a, b))
    return both / (area_a[:, None] + area_b[None, :] - both).clamp_min(1e-12)


def depth_errors(predicted: Tensor, truth: Tensor) -> dict[str, float]:
    """The five measures of depth (Eigen et al., arXiv:1406.2283, Section 4.2) over pixels (N,), both above 0.

    `below_1.25`, `below_1.25^2`, `below_1.25^3`: shares of pixels whose ratio to the truth, either way, is smaller.
    `rms`: root mean square error in the truth's unit. `rel`: mean of the error's size over the truth.
    """
    predicted, truth = predicted.double(), truth.double()
    ratio = torch.maximum(predicted / truth, truth / predicted)
    error = predicted - truth
    return {
        "below_1.25": (ratio < 1.25).double().mean().item(),
        "below_1.25^2": (ratio < 1.25**2).double().mean().item(),
        "below_1.25^3": (ratio < 1.25**3).double().mean().item(),
        "rms": error.square().mean().sqrt().item(),
        "rel": (error.abs() / truth).mean().item(),
    }
