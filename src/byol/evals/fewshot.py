"""Few labels: a linear classifier on frozen features and 1, 2, 5, 10, ... labels per class."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from byol.config.evaluations import FEW_L2, FeatureConfig
from byol.errors import UserError
from byol.evals.cache import labeled_features
from byol.evals.draws import mean_and_std
from byol.evals.evaluation import Evaluation, Task
from byol.evals.features import LabeledFeatures
from byol.evals.labels import draw_per_class, labeled_parts
from byol.evals.logistic import LogisticPath
from byol.evals.metrics import top_k
from byol.evals.tuning import Examples, split_off, tune_penalty
from byol.runtime.seeds import seed_of

MANY_L2 = tuple(10.0**power for power in range(3, -6, -1))
"""Penalties to choose from with all labels."""


@dataclass(frozen=True, kw_only=True)
class FewshotConfig:
    """Logistic regression on a few labels per class; ours, as the paper has no such table (its Figure 4 fine-tunes)."""

    per_class: tuple[int, ...] = (1, 2, 5, 10)
    """Labels per class."""
    draws: int = 5
    """Random draws of the labels; the standard deviation is over these."""
    l2: float = FEW_L2
    """L2 penalty (1 / C of scikit-learn) on features with zero mean and mean squared length 1."""
    seed: int = 0
    """Seed of the draws."""
    features: FeatureConfig = field(default_factory=FeatureConfig)

    def __post_init__(self) -> None:
        if not self.per_class or min(self.per_class) < 1:
            raise UserError(f"per_class is {self.per_class}, but must be one number or more, each 1 or more.")
        if self.draws < 1 or self.l2 <= 0:
            raise UserError(f"draws is {self.draws} and l2 is {self.l2:g}; draws must be 1 or more and l2 above 0.")


def evaluate(task: Task, config: FewshotConfig) -> dict[str, float]:
    """Test accuracy with a few labels per class, over random draws of the labels.

    Returns:
        `top1_n` and `top1_n_std` for each number n of labels: mean and standard deviation over draws, in [0, 1].

    Raises:
        UserError: a class has fewer images than the labels requested, or unsuitable labels, features or channels.
    """
    parts = labeled_parts(task.train, task.test)
    train_features, test_features = labeled_features(task, parts, config.features)
    labels = train_features.labels.tolist()
    for count in config.per_class:
        draw_per_class(labels, count, config.seed, parts.classes)  # fails before any work is done
    train, test = standardized(train_features, test_features, task.device)
    result: dict[str, float] = {}
    for count in config.per_class:
        accuracies = []
        for draw in range(config.draws):
            rows = draw_per_class(labels, count, draw_seed(config.seed, draw), parts.classes)
            accuracies.append(accuracy_with_penalty(train.subset(rows), test, len(parts.classes), config.l2))
            task.progress(f"{count} per class", draw + 1, config.draws)
        result[f"top1_{count}"], result[f"top1_{count}_std"] = mean_and_std(accuracies)
    return result


EVALUATION = Evaluation(name="fewshot", config=FewshotConfig, evaluate=evaluate, percent=("top1_*",))


def draw_seed(seed: int, draw: int) -> int:
    """The seed of one draw of labels; it does not depend on the encoder, so all encoders see the same labels."""
    return seed_of(seed, "labels", draw) % (1 << 31)


def standardized(train: LabeledFeatures, test: LabeledFeatures, device: torch.device) -> tuple[Examples, Examples]:
    """Both parts on the device, their features standardized."""
    values = standardize(train.values, test.values)
    first, second = (
        Examples(part.to(device), features.labels) for part, features in zip(values, (train, test), strict=True)
    )
    return first, second


def standardize(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Shift and scale features (N, D) and (M, D) so that the first have mean 0 and mean squared length 1.

    All features share one scale, so the encoder's own weighting of them stays. No label is used.
    """
    mean = train.mean(dim=0, dtype=torch.float64).to(train)
    size = (train - mean).square().sum(dim=1).mean(dtype=torch.float64).sqrt().clamp_min(1e-12).to(train)
    return (train - mean) / size, (test - mean) / size


def accuracy_with_penalty(train: Examples, test: Examples, classes: int, l2: float) -> float:
    """Test accuracy of logistic regression with a fixed penalty."""
    fit = LogisticPath(train.features, train.labels.to(train.features.device), classes).fit(l2)
    return test.score(fit, top_k)


def accuracy_with_tuned_penalty(train: Examples, test: Examples, classes: int, seed: int) -> float:
    """The same with the penalty chosen on a held-out tenth of the training examples."""
    return test.score(tune_penalty(split_off(train, 0.1, seed), classes, MANY_L2, top_k).fit, top_k)
