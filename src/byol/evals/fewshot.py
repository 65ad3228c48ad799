"""Few labels: what a linear classifier on frozen features makes of 1, 2, 5, 10 ... labels per class."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from byol.data.sources.open import Source
from byol.encoders.load import LoadedEncoder
from byol.errors import UserError
from byol.evals.cache import FeatureConfig, Progress, cached_features, silent
from byol.evals.draws import mean_and_std
from byol.evals.labels import class_names, draw_per_class, hold_out
from byol.evals.logistic import LogisticPath
from byol.evals.metrics import top_k
from byol.runtime.seeds import seed_of

FEW_L2 = 0.1
"""Penalty of the fits where labels are too few to choose one. Of 0.001, 0.01, 0.1, 1 and 10 the best or within a point
of it for 1 to 100 labels per class on CIFAR-10, for pixels and for an untrained ResNet-18: chosen before any trained
encoder was looked at."""
MANY_L2 = tuple(10.0**power for power in range(3, -6, -1))
"""Penalties that are tried where all labels are there."""


@dataclass(frozen=True, kw_only=True)
class FewshotConfig:
    """Logistic regression on a few labels per class; ours, as the paper has no such table (its Figure 4 fine-tunes)."""

    per_class: tuple[int, ...] = (1, 2, 5, 10)
    """Labels per class."""
    draws: int = 5
    """Random draws of the labels; the spread is their standard deviation."""
    l2: float = FEW_L2
    """Penalty of the fit, in scikit-learn's terms 1 / C, on features of zero mean and mean squared length 1."""
    seed: int = 0
    """Of the draws."""
    features: FeatureConfig = field(default_factory=FeatureConfig)

    def __post_init__(self) -> None:
        if not self.per_class or min(self.per_class) < 1:
            raise UserError(f"per_class is {self.per_class}, but must be one number or more, each 1 or more.")
        if self.draws < 1 or self.l2 <= 0:
            raise UserError(f"draws is {self.draws} and l2 is {self.l2:g}; draws must be 1 or more and l2 above 0.")


def evaluate(
    opened: LoadedEncoder,
    train: Source,
    test: Source,
    config: FewshotConfig,
    device: torch.device,
    progress: Progress = silent,
) -> dict[str, float]:
    """Test accuracy with a few labels per class, over random draws of them.

    Returns:
        for each number n of labels `top1_n` and `top1_n_std`, mean and standard deviation over the draws, in [0, 1].

    Raises:
        UserError: a class has fewer images than labels asked for, or labels, features or channels that do not do.
    """
    names = class_names(train, test)
    seen = cached_features(opened, train, config.features, device, progress)
    asked = cached_features(opened, test, config.features, device, progress)
    assert seen.labels is not None
    assert asked.labels is not None
    labels = seen.labels.tolist()
    for count in config.per_class:
        draw_per_class(labels, count, config.seed, names)  # says what is missing before any work is done
    values, queries = (part.to(device) for part in standardize(seen.values, asked.values))
    result: dict[str, float] = {}
    for count in config.per_class:
        found = []
        for draw in range(config.draws):
            rows = draw_per_class(labels, count, draw_seed(config.seed, draw), names)
            found.append(fit_fixed_l2(values[rows], seen.labels[rows], queries, asked.labels, len(names), config.l2))
            progress(f"{count} per class", draw + 1, config.draws)
        result[f"top1_{count}"], result[f"top1_{count}_std"] = mean_and_std(found)
    return result


def draw_seed(seed: int, draw: int) -> int:
    """Seed of one draw of labels: the same whatever encoder is asked, so that encoders see the same labels."""
    return seed_of(seed, "labels", draw) % (1 << 31)


def standardize(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Features (N, D) and (M, D) moved and scaled so that the first have mean 0 and mean squared length 1.

    One number for all features: which of them matter is left as the encoder has it. No label is used.
    """
    mean = train.mean(dim=0, dtype=torch.float64).to(train)
    size = (train - mean).square().sum(dim=1).mean(dtype=torch.float64).sqrt().clamp_min(1e-12).to(train)
    return (train - mean) / size, (test - mean) / size


def fit_fixed_l2(values: Tensor, labels: Tensor, queries: Tensor, truth: Tensor, classes: int, l2: float) -> float:
    """Accuracy on queries (M, D) of a classifier fitted to (N, D) with one fixed penalty."""
    fit = LogisticPath(values, labels.to(values.device), classes).fit(l2)
    return top_k(fit.logits(queries).cpu(), truth)


def fit_tuned_l2(values: Tensor, labels: Tensor, queries: Tensor, truth: Tensor, classes: int, seed: int) -> float:
    """The same with all labels, the penalty chosen on a tenth of them and the fit made again with all."""
    stay, held = hold_out(labels.tolist(), 0.1, seed)
    problem = LogisticPath(values[stay], labels[stay].to(values.device), classes)
    scored = [(top_k(fit.logits(values[held]).cpu(), labels[held]), fit.l2) for fit in problem.path(list(MANY_L2))]
    best = max(scored, key=lambda pair: pair[0])[1]
    *_, fit = LogisticPath(values, labels.to(values.device), classes).path([l2 for l2 in MANY_L2 if l2 >= best])
    return top_k(fit.logits(queries).cpu(), truth)
