"""Hyperparameters chosen on held-out images: how images are held out, and how the best setting is found."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from byol.errors import UserError
from byol.evals.evaluation import Progress, silent
from byol.evals.labels import by_class
from byol.evals.logistic import Fit, LogisticPath
from byol.runtime.seeds import generator_of

Setting = TypeVar("Setting")

Metric = Callable[[Tensor, Tensor], float]
"""From scores (N, C) and labels to a figure; higher is better."""


def hold_out(labels: Sequence[int], share: float, seed: int, at_most: int | None = None) -> tuple[list[int], list[int]]:
    """Split the images of each class at random, at least one on either side.

    Args:
        labels: one per image.
        share: the share that is held out, in (0, 1).
        seed: of the split.
        at_most: an upper limit to the number of held-out images, kept up to rounding within the classes.

    Returns:
        The numbers of the images that remain and of those that are held out.

    Raises:
        UserError: a class with a single image.
    """
    if at_most is not None:
        share = min(share, at_most / len(labels))
    remaining, held_out = [], []
    for label, members in enumerate(by_class(labels, seed)):
        if len(members) < 2:
            if not members:
                continue
            raise UserError(
                f"The class number {label} has one image, and choosing settings takes one to learn and one to choose; "
                "add images, or give fixed settings."
            )
        count = min(max(1, round(share * len(members))), len(members) - 1)
        held_out += members[:count]
        remaining += members[count:]
    return sorted(remaining), sorted(held_out)


def folds(labels: Sequence[int], count: int, seed: int) -> list[tuple[list[int], list[int]]]:
    """Split the images of each class into `count` parts at random, each held out once; so every image is.

    A class with fewer images than parts has one of them held out each time.

    Returns:
        For each part the numbers of the images that remain, and of those that are held out.

    Raises:
        UserError: a class with a single image.
    """
    classes = [members for members in by_class(labels, seed) if members]
    if min(map(len, classes)) < 2:
        raise UserError("A class has one image only, and a test takes one to learn and one to ask; add images.")
    splits = []
    for number in range(count):
        out = {i for members in classes for i in (members[number::count] or [members[number % len(members)]])}
        splits.append(([i for i in range(len(labels)) if i not in out], sorted(out)))
    return splits


def hold_out_images(images: int, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Split images at random, at least one on either side; as `hold_out`, without classes.

    Raises:
        UserError: there is only one image.
    """
    if images < 2:
        raise UserError("Choosing a rate takes two training images at least; give more images, or one rate only.")
    shuffled = torch.randperm(images, generator=generator_of(seed, "held out")).tolist()
    count = min(max(1, round(share * images)), images - 1)
    return sorted(shuffled[count:]), sorted(shuffled[:count])


def choose(settings: Iterable[Setting], score: Callable[[Setting], float]) -> tuple[Setting, float]:
    """The setting with the highest score, and that score; of equal scores the first."""
    scored = [(setting, score(setting)) for setting in settings]
    return max(scored, key=lambda pair: pair[1])


@dataclass(frozen=True)
class Examples:
    """What a linear classifier is fitted to or tested on."""

    features: Tensor
    """(N, D), on the device that does the work."""
    labels: Tensor
    """(N,) int64, or (N, C) with 1 yes, 0 no and -1 unknown where an image has several labels."""

    def subset(self, rows: list[int]) -> "Examples":
        """These rows."""
        return Examples(self.features[rows], self.labels[rows])

    def score(self, fit: Fit, metric: Metric) -> float:
        """The metric of a fit on these examples."""
        return metric(fit.logits(self.features).cpu(), self.labels)


@dataclass(frozen=True)
class Split:
    """Examples in two parts: settings are fitted on one and chosen on the other, and the best is fitted on both."""

    fitted: Examples
    held_out: Examples
    both: Examples


def split_off(examples: Examples, share: float, seed: int) -> Split:
    """Hold out a share of each class; where images have several labels, a share of all images.

    Raises:
        UserError: a class with a single image.
    """
    labels = examples.labels
    strata = labels.tolist() if labels.ndim == 1 else [0] * len(labels)
    remaining, held_out = hold_out(strata, share, seed)
    return Split(examples.subset(remaining), examples.subset(held_out), examples)


def joined(train: Examples, valid: Examples) -> Split:
    """A training part with a validation part of its own."""
    both = Examples(torch.cat([train.features, valid.features]), torch.cat([train.labels, valid.labels]))
    return Split(train, valid, both)


@dataclass(frozen=True)
class TunedFit:
    """Logistic regression with the penalty that did best on held-out examples."""

    fit: Fit
    """Fitted on both parts."""
    held_out_score: float
    """Of the fit to one part, on the other."""
    problem: LogisticPath
    """What `fit` solves."""


def tune_penalty(
    split: Split, classes: int, penalties: Sequence[float], metric: Metric, progress: Progress = silent
) -> TunedFit:
    """Fit with each penalty, choose by the metric on held-out examples, fit again on both parts.

    Of equal scores the strongest penalty is chosen.

    Raises:
        UserError: features that are NaN or infinite.
    """
    falling = sorted(penalties, reverse=True)
    scored: list[tuple[float, float]] = []
    for fit in LogisticPath(split.fitted.features, split.fitted.labels, classes).path(falling):
        scored.append((split.held_out.score(fit, metric), fit.l2))
        progress("penalties", len(scored), len(falling))
    score, l2 = max(scored)
    problem = LogisticPath(split.both.features, split.both.labels, classes)
    *_, best = problem.path([other for other in falling if other >= l2])
    return TunedFit(best, score, problem)
