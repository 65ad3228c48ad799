"""Linear transfer: logistic regression on frozen features, its penalty chosen among 45 (arXiv:2006.07733, D.2)."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from byol.data.sources.open import Source
from byol.encoders.load import LoadedEncoder
from byol.errors import UserError
from byol.evals.cache import FeatureConfig, Progress, cached_features, silent
from byol.evals.features import Features
from byol.evals.labels import class_names, hold_out
from byol.evals.logistic import Fit, LogisticPath
from byol.evals.metrics import mean_average_precision, mean_per_class, top_k
from byol.evals.transfer_data import ManyLabels, Metric, TransferData


@dataclass(frozen=True, kw_only=True)
class TransferConfig:
    """The linear transfer protocol (arXiv:2006.07733, Appendix D.2)."""

    l2: tuple[float, ...] = tuple(10.0 ** (-6 + k / 4) for k in range(45))
    """Penalties that are tried: 45 values from 1e-6 to 1e5, evenly over their logarithm (D.2). The paper does not say
    whether they weigh against the sum or the mean over examples; here the sum, as in scikit-learn with C = 1 / l2."""
    metric: Metric | None = None
    """What chooses the penalty and is reported first: `top1`, `mean_per_class` or `map11`; by default `map11` where
    images have several labels, else `top1`. The metric of each of the paper's sets is in `TRANSFER_SETS`."""
    held_out: float = 0.1
    """Share of the training images on which the penalty is chosen where there is no validation part."""
    seed: int = 0
    """Of the held-out images."""
    features: FeatureConfig = field(default_factory=FeatureConfig)

    def __post_init__(self) -> None:
        if not self.l2 or min(self.l2) <= 0:
            raise UserError(f"l2 is {self.l2}, but must be one penalty or more, each above 0.")
        if not 0 < self.held_out < 1:
            raise UserError(f"held_out is {self.held_out:g}, but must be a share between 0 and 1.")


def as_in_the_paper(config: TransferConfig, data: TransferData) -> TransferConfig:
    """The metric and the held-out share that one of the paper's sets has (D.1), unless others were given."""
    share = data.entry.held_out if config.held_out == TransferConfig().held_out else config.held_out
    return replace(config, metric=config.metric or data.entry.metric, held_out=share)


def evaluate(
    opened: LoadedEncoder,
    train: Source,
    test: Source,
    config: TransferConfig,
    device: torch.device,
    progress: Progress = silent,
    *,
    valid: Source | None = None,
) -> dict[str, float]:
    """Test figure of the best of 45 penalized fits: chosen on the validation part, fitted again on both, tested.

    No augmentation; the central square of the shorter side (D.2: "resize the shorter side to 224").

    Returns:
        the metric in [0, 1] under its name, and `top1` with it where an image has one label; the chosen `l2` and the
        metric that chose it, `valid_...`; `float64_gap`, by how much float64 can still lower the objective of the fit.

    Raises:
        UserError: labels, features or channels that do not do (see `class_names`, `cached_features`).
    """
    opened = opened.with_region("short-side")
    many = isinstance(train, ManyLabels)
    metric: Metric = config.metric or ("map11" if many else "top1")
    if many != isinstance(test, ManyLabels) or many != (metric == "map11"):
        raise UserError(
            f"{metric} was asked of {train.name} and {test.name}; map11 is for images with several labels "
            "in both parts, top1 and mean_per_class for images with one."
        )
    classes = len(_many_names(train, test) if many else class_names(train, test))
    sources = [source for source in (train, valid, test) if source is not None]
    parts = [cached_features(opened, source, config.features, device, progress) for source in sources]
    truths = [_truth(source, part) for source, part in zip(sources, parts, strict=True)]
    values = [part.values.to(device) for part in parts]

    if valid is not None:
        fitted, chosen_on = (values[0], truths[0]), (values[1], truths[1])
        both = torch.cat(values[:2]), torch.cat(truths[:2])
    else:
        # an image with several labels is held out as if it had none
        strata = [0] * len(truths[0]) if many else truths[0].tolist()
        stay, held = hold_out(strata, config.held_out, config.seed)
        fitted, chosen_on = (values[0][stay], truths[0][stay]), (values[0][held], truths[0][held])
        both = values[0], truths[0]

    scored: list[tuple[float, float]] = []
    for fit in LogisticPath(*fitted, classes).path(sorted(config.l2, reverse=True)):
        scored.append((_score(fit, *chosen_on, metric), fit.l2))
        progress("penalties", len(scored), len(config.l2))
    score, l2 = max(scored)  # of equal scores the strongest penalty
    problem = LogisticPath(*both, classes)
    *_, fit = problem.path([other for other in sorted(config.l2, reverse=True) if other >= l2])
    result: dict[str, float] = {metric: _score(fit, values[-1], truths[-1], metric)}
    if not many:
        result["top1"] = _score(fit, values[-1], truths[-1], "top1")
    return {**result, "l2": l2, f"valid_{metric}": score, "float64_gap": problem.gap(fit)}


def _truth(source: Source, features: Features) -> Tensor:
    if isinstance(source, ManyLabels):
        return source.truth[features.indices]
    if features.labels is None:
        raise UserError(f"{source.name} has no labels; give a folder with one sub-folder per class.")
    return features.labels


def _many_names(train: Source, test: Source) -> list[str]:
    """Classes of parts with several labels per image.

    Raises:
        UserError: the parts differ, or a class has no image in one of them.
    """
    assert isinstance(train, ManyLabels)
    assert isinstance(test, ManyLabels)
    assert train.classes is not None
    if train.classes != test.classes:
        raise UserError(f"The classes of {train.name} and {test.name} differ; give parts of one data set.")
    for source in (train, test):
        missing = ((source.truth > 0).sum(dim=0) == 0).nonzero().flatten().tolist()
        if missing:
            raise UserError(f"The class {train.classes[missing[0]]!r} has no image in {source.name}; add some.")
    return train.classes


def _score(fit: Fit, values: Tensor, truth: Tensor, metric: Metric) -> float:
    scores = fit.logits(values).cpu()
    if metric == "map11":
        return mean_average_precision(scores, truth, eleven_points=True)
    return mean_per_class(scores, truth) if metric == "mean_per_class" else top_k(scores, truth)
