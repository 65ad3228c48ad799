"""Was it worth it? One encoder beside what could be had without it, at the numbers of labels that a person has."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from byol.data.sources.open import Source
from byol.encoders.build import SHALLOW
from byol.encoders.load import LoadedEncoder, open_encoder
from byol.errors import UserError
from byol.evals.cache import FeatureConfig, Progress, cached_features, silent
from byol.evals.draws import mean_and_std
from byol.evals.fewshot import FEW_L2, draw_seed, fit_fixed_l2, fit_tuned_l2, standardize
from byol.evals.finetune import Setting, Trial
from byol.evals.labels import as_tensor, class_names, draw_per_class, smallest_class
from byol.evals.verdict_words import Seen, paragraph
from byol.evals.views import training_views

ALL = "all"
"""Name of the column with every label."""
RUN, PIXELS, RANDOM, SCRATCH, IMAGENET = "this run", "pixels", "random encoder", "from scratch", "ImageNet weights"
"""Names of the rows."""


@dataclass(frozen=True, kw_only=True)
class VerdictConfig:
    """How an encoder is judged; ours, as the paper has no such table."""

    per_class: tuple[int, ...] = (1, 5, 10)
    """Labels per class; the last column has all labels. Numbers that the rarest class does not have are left out."""
    draws: int = 5
    """Random draws of the labels, the same for every row; the spread is their standard deviation."""
    l2: float = FEW_L2
    """Penalty of the linear classifier at few labels, see `fewshot`; with all it is chosen on a tenth of them."""
    scratch: bool = True
    """Train the same architecture from untrained weights on the same labels."""
    scratch_draws: int = 2
    """Draws for that row, which costs most."""
    scratch_epochs: float = 20
    """Passes over the labels for that row."""
    scratch_steps: int = 200
    """Updates for that row at least."""
    scratch_batch: int = 64
    """Images per update for that row."""
    scratch_lr: float = 0.05
    """Rate for that row, falling along half a cosine, with weight decay 5e-4: usual for small ResNets."""
    imagenet: bool = True
    """Compare with the same architecture's supervised ImageNet weights, where timm can fetch them; a ResNet cut
    from a larger one is compared with that."""
    seed: int = 0
    """Of the draws and of the untrained weights."""
    features: FeatureConfig = field(default_factory=FeatureConfig)

    def __post_init__(self) -> None:
        if not self.per_class or min(self.per_class) < 1:
            raise UserError(f"per_class is {self.per_class}, but must be one number or more, each 1 or more.")
        if min(self.draws, self.scratch_draws, self.scratch_steps) < 1 or self.scratch_batch < 2:
            raise UserError("draws, scratch_draws and scratch_steps must be 1 or more, scratch_batch 2 or more.")

    def quick(self) -> "VerdictConfig":
        """A subset in minutes: three draws, no row from scratch, no ImageNet weights."""
        return replace(self, draws=3, scratch=False, imagenet=False)


@dataclass(frozen=True)
class Score:
    """Accuracy over draws of the labels, in [0, 1]."""

    mean: float
    std: float
    draws: int

    def error(self, images: int) -> float:
        """Standard error of the mean, from the draws and from the number of test images."""
        return math.sqrt(self.std**2 / self.draws + self.mean * (1 - self.mean) / images)


@dataclass(frozen=True)
class Verdict:
    """The table, and what it says."""

    table: dict[str, dict[str, Score]]
    """Row (`this run`, `pixels`, ...) to column (`1`, `5`, ..., `all`) to score."""
    labels: dict[str, float]
    """Column to the mean number of labels per class."""
    chance: float
    """Accuracy of a guess."""
    paragraph: str
    notes: tuple[str, ...]
    """What was left out, and why."""

    def as_dict(self) -> dict[str, object]:
        """For a result file."""
        return dataclasses.asdict(self)


def evaluate(
    opened: LoadedEncoder,
    train: Source,
    test: Source,
    config: VerdictConfig,
    device: torch.device,
    progress: Progress = silent,
    *,
    history: Sequence[float] = (),
    seen: Seen | None = None,
) -> Verdict:
    """Linear classifiers on this encoder's features, on pixels, on an untrained encoder and on ImageNet weights.

    And training from scratch; each on the same draws of the labels.

    Args:
        opened: the encoder to judge.
        train: labeled images that labels are drawn from.
        test: labeled images that all figures are about.
        config: numbers of labels, draws, budgets.
        device: where it runs.
        progress: told what is done.
        history: k-NN accuracies over the run, evenly spaced, from which is read whether it was still rising.
        seen: how many images the run had, and how often it saw each.

    Raises:
        UserError: labels, features or channels that do not do (see `class_names`, `cached_features`).
    """
    names = class_names(train, test)
    opened.check(train)
    assert train.labels is not None
    rarest = smallest_class(train.labels)
    counts = [count for count in config.per_class if count <= rarest]
    columns = [str(count) for count in counts] + [ALL]
    notes = []
    if len(counts) < len(config.per_class):
        notes.append(f"Larger numbers of labels were left out: the rarest class has {rarest} images.")

    rows = {RUN: opened, PIXELS: open_encoder("pixels", channels=train.channels)}
    if opened.spec is not None:
        rows[RANDOM] = opened.untrained(config.seed)
    if config.imagenet and opened.spec is not None:
        name = opened.spec.name
        known, _ = SHALLOW.get(name, (name, ()))
        try:
            rows[IMAGENET] = open_encoder(f"timm:{known}", channels=opened.spec.channels)
            if known != name:
                notes.append(f"The ImageNet weights are those of {known}, as there are none of {name}.")
        except UserError as error:
            notes.append(f"No row for ImageNet weights. {error}")
    bench = Bench(train, test, counts, len(names), config, device, progress)
    table: dict[str, dict[str, Score]] = {}
    for row, encoder in rows.items():
        table[row] = dict(zip(columns, bench.probe(encoder, row), strict=True))
    if config.scratch and opened.spec is not None:
        table[SCRATCH] = dict(zip(columns, bench.from_scratch(opened), strict=True))

    labels = dict(zip(columns, [*map(float, counts), len(train) / len(names)], strict=True))
    means = {
        row: {column: (s.mean, s.std, s.error(len(test))) for column, s in scores.items()}
        for row, scores in table.items()
    }
    return Verdict(table, labels, 1 / len(names), paragraph(means, labels, history, seen), tuple(notes))


@dataclass(frozen=True)
class Bench:
    """What every row is measured on."""

    train: Source
    test: Source
    counts: list[int]
    """Labels per class; all of them come after."""
    classes: int
    config: VerdictConfig
    device: torch.device
    progress: Progress

    def probe(self, opened: LoadedEncoder, row: str) -> list[Score]:
        """Linear classifiers on frozen features at each number of labels, and with all."""
        config, steps = self.config, len(self.counts) + 1
        seen = cached_features(opened, self.train, config.features, self.device, self.progress)
        asked = cached_features(opened, self.test, config.features, self.device, self.progress)
        assert seen.labels is not None
        assert asked.labels is not None
        values, queries = (part.to(self.device) for part in standardize(seen.values, asked.values))
        scores = []
        for number, count in enumerate(self.counts):
            found = []
            for draw in range(config.draws):
                rows = draw_per_class(seen.labels.tolist(), count, draw_seed(config.seed, draw))
                found.append(
                    fit_fixed_l2(values[rows], seen.labels[rows], queries, asked.labels, self.classes, config.l2)
                )
            scores.append(_score(found))
            self.progress(f"verdict: {row}", number + 1, steps)
        scores.append(_score([fit_tuned_l2(values, seen.labels, queries, asked.labels, self.classes, config.seed)]))
        self.progress(f"verdict: {row}", steps, steps)
        return scores

    def from_scratch(self, opened: LoadedEncoder) -> list[Score]:
        """The same architecture trained on the labels alone, at each number of labels, and with all."""
        config = self.config
        assert self.train.labels is not None
        views = training_views(self.train, as_tensor(self.train.labels), opened.transform, self.device)
        labels = views.labels.tolist()
        scores = []
        for count in [*self.counts, None]:
            found = []
            for draw in range(config.scratch_draws if count else 1):
                seed = draw_seed(config.seed, draw)
                rows = views.subset(draw_per_class(labels, count, seed)) if count else views
                batch = min(config.scratch_batch, len(rows))
                steps = max(config.scratch_steps, round(config.scratch_epochs * len(rows) / batch))
                start = opened.untrained(seed)
                trial = Trial(start, self.classes, config.features.precision, seed, self.device, self.progress)
                setting = Setting(config.scratch_lr, 5e-4, steps, batch, 0.9)
                found.append(trial.test(trial.train(setting, rows), self.test)["top1"])
            scores.append(_score(found))
            self.progress(f"verdict: {SCRATCH}", len(scores), len(self.counts) + 1)
        return scores


def _score(found: list[float]) -> Score:
    return Score(*mean_and_std(found), len(found))
