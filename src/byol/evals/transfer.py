"""Linear transfer: logistic regression on frozen features, 45 penalties (arXiv:2006.07733, Appendix D.2)."""

from dataclasses import dataclass, field, replace

from byol.data.sources.open import Source
from byol.data.transform import Region
from byol.errors import UserError
from byol.evals.cache import FeatureConfig, cached_features
from byol.evals.evaluation import Evaluation, OpenData, Task
from byol.evals.labels import LabeledSource, labeled_parts
from byol.evals.metrics import mean_average_precision, mean_per_class, top_k
from byol.evals.transfer_data import ManyLabels, MetricName, open_transfer, transfer_set
from byol.evals.tuning import Examples, Metric, joined, split_off, tune_penalty

METRICS: dict[MetricName, Metric] = {
    "top1": top_k,
    "mean_per_class": mean_per_class,
    "map11": mean_average_precision,
}


@dataclass(frozen=True, kw_only=True)
class TransferConfig:
    """The linear transfer protocol (arXiv:2006.07733, Appendix D.2)."""

    l2: tuple[float, ...] = tuple(10.0 ** (-6 + k / 4) for k in range(45))
    """Penalties to choose from: 45 values from 1e-6 to 1e5, log-spaced (D.2). The paper does not say whether the loss
    is the sum or the mean over examples; here it is the sum, as in scikit-learn with C = 1 / l2."""
    metric: MetricName | None = None
    """The metric that chooses the penalty and is reported first: `top1`, `mean_per_class` or `map11`; by default
    `map11` if images have several labels, else `top1`. `TRANSFER_SETS` has the metric of each of the paper's sets."""
    held_out: float = 0.1
    """Share of each class held out to choose the penalty, if there is no validation part."""
    seed: int = 0
    """Seed of the held-out set."""
    region: Region = "short-side"
    """The central square of each image: of the whole shorter side (D.2: "resize the shorter side to 224"), or `center`
    for 7/8 of it, as in the other evaluations."""
    float64_gap: bool = True
    """Report by how much float64 can still lower the objective; this takes a few more passes."""
    features: FeatureConfig = field(default_factory=FeatureConfig)

    def __post_init__(self) -> None:
        if not self.l2 or min(self.l2) <= 0:
            raise UserError(f"l2 is {self.l2}, but must be one penalty or more, each above 0.")
        if not 0 < self.held_out < 1:
            raise UserError(f"held_out is {self.held_out:g}, but must be a share between 0 and 1.")


@dataclass(frozen=True, kw_only=True)
class TransferParts:
    """Two or three parts, or one of the paper's sets."""

    train: str | None = field(default=None, metadata={"metavar": "DATA"})
    """Labeled training data."""
    test: str | None = field(default=None, metadata={"metavar": "DATA"})
    """Labeled test data; never used for model selection."""
    valid: str | None = field(default=None, metadata={"metavar": "DATA"})
    """Labeled data to choose the penalty on; by default a part of --train."""
    set: str | None = field(default=None, metadata={"metavar": "NAME"})
    """One of the paper's twelve sets, with its splits and its metric, instead of --train and --test: food101, cifar10,
    cifar100, birdsnap, sun397, cars, aircraft, voc2007, dtd, pets, caltech101, flowers."""
    root: str | None = field(default=None, metadata={"metavar": "FOLDER"})
    """Folder with local copies of the sets, each in a folder of its name."""

    def open(self, open_data: OpenData, channels: int) -> dict[str, Source]:
        """The parts by role; see `open_transfer` for the paper's sets.

        Raises:
            UserError: a part is missing, or is given beside a set of the paper.
        """
        named = {"train": self.train, "valid": self.valid, "test": self.test}
        given = {role: name for role, name in named.items() if name is not None}
        if self.set is None:
            if self.train is None or self.test is None:
                raise UserError("transfer needs --train and --test, or the name of one of the paper's sets by --set.")
            return {role: open_data(name, channels=channels) for role, name in given.items()}
        if given:
            raise UserError(
                f"--set {self.set} brings its own parts, so --{next(iter(given))} cannot be given with it; "
                "leave it out."
            )
        return open_transfer(self.set, self.root, channels).sources()

    def adapt(self, config: TransferConfig) -> TransferConfig:
        """The metric and the held-out share of the chosen set (D.1), unless others are given."""
        if self.set is None:
            return config
        entry = transfer_set(self.set)
        share = entry.held_out if config.held_out == TransferConfig().held_out else config.held_out
        return replace(config, metric=config.metric or entry.metric, held_out=share)


def evaluate(task: Task, config: TransferConfig) -> dict[str, float]:
    """Choose the penalty of a logistic regression on the validation part, fit again on both parts and test.

    There is no data augmentation.

    Returns:
        The metric in [0, 1] under its name, with `top1` if an image has one label; the chosen `l2` and the metric that
        chose it, `valid_...`; `float64_gap`, by how much float64 can still lower the objective of the fit.

    Raises:
        UserError: unsuitable labels, features or channels (see `labeled_parts`, `cached_features`).
    """
    task = replace(task, encoder=task.encoder.with_region(config.region))
    several = isinstance(task.train, ManyLabels)
    metric: MetricName = config.metric or ("map11" if several else "top1")
    if several != isinstance(task.test, ManyLabels) or several != (metric == "map11"):
        raise UserError(
            f"{metric} does not fit {task.train.name} and {task.test.name}; map11 is for images with several labels "
            "in both parts, top1 and mean_per_class for images with one."
        )
    valid: Examples | None = None
    if several:
        classes = len(_shared_classes(task.train, task.test))
        train, test = _many_labels(task.train, task, config), _many_labels(task.test, task, config)
        if task.valid is not None:
            valid = _many_labels(task.valid, task, config)
    else:
        parts = labeled_parts(task.train, task.test)
        classes = len(parts.classes)
        train, test = _one_label(parts.train, task, config), _one_label(parts.test, task, config)
        if task.valid is not None:
            valid = _one_label(parts.like(task.valid, "validation"), task, config)

    split = split_off(train, config.held_out, config.seed) if valid is None else joined(train, valid)
    tuned = tune_penalty(split, classes, config.l2, METRICS[metric], task.progress)
    result: dict[str, float] = {metric: test.score(tuned.fit, METRICS[metric])}
    if not several:
        result["top1"] = test.score(tuned.fit, top_k)
    result |= {"l2": tuned.fit.l2, f"valid_{metric}": tuned.held_out_score}
    if config.float64_gap:
        result["float64_gap"] = tuned.problem.gap(tuned.fit)
    return result


EVALUATION = Evaluation(
    name="transfer",
    config=TransferConfig,
    evaluate=evaluate,
    percent=("*top1", "*mean_per_class", "*map11"),
    data=TransferParts,
)


def _one_label(part: LabeledSource, task: Task, config: TransferConfig) -> Examples:
    """Features on the device, with one label per image."""
    features = cached_features(task.encoder, part.images, config.features, task.device, task.progress)
    return Examples(features.values.to(task.device), features.with_labels(part.labels).labels)


def _many_labels(source: Source, task: Task, config: TransferConfig) -> Examples:
    """Features on the device, with several labels per image."""
    if not isinstance(source, ManyLabels):
        raise UserError(f"{source.name} has one label per image, and the other parts several; give parts alike.")
    features = cached_features(task.encoder, source, config.features, task.device, task.progress)
    return Examples(features.values.to(task.device), source.truth[features.indices])


def _shared_classes(train: Source, test: Source) -> list[str]:
    """The classes of parts with several labels per image.

    Raises:
        UserError: the parts differ, or a class has no image in one of them.
    """
    assert isinstance(train, ManyLabels)
    assert isinstance(test, ManyLabels)
    if train.classes != test.classes:
        raise UserError(f"The classes of {train.name} and {test.name} differ; give parts of one data set.")
    for source in (train, test):
        missing = ((source.truth > 0).sum(dim=0) == 0).nonzero().flatten().tolist()
        if missing:
            raise UserError(f"The class {train.classes[missing[0]]!r} has no image in {source.name}; add some.")
    return train.classes
