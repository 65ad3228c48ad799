"""Was it worth it? One encoder compared with its alternatives, at the numbers of labels that people have."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from byol.config.evaluations import VerdictConfig as VerdictConfig
from byol.encoders.load import LoadedEncoder, open_encoder
from byol.encoders.names import SHALLOW
from byol.errors import UserError
from byol.evals.cache import labeled_features
from byol.evals.draws import mean_and_std
from byol.evals.evaluation import Task, input_channels
from byol.evals.fewshot import (
    accuracy_with_penalty,
    accuracy_with_tuned_penalty,
    draw_seed,
    standardized,
)
from byol.evals.finetune import Setting, Trial
from byol.evals.labels import LabeledParts, draw_per_class, labeled_parts, smallest_class
from byol.evals.verdict_words import TrainingRun, paragraph
from byol.evals.views import training_views

ALL = "all"
"""Name of the column with all labels."""
RUN, PIXELS, RANDOM, SCRATCH, IMAGENET = "this run", "pixels", "random encoder", "from scratch", "ImageNet weights"
"""Names of the rows."""


@dataclass(frozen=True)
class Score:
    """Accuracy over draws of the labels, in [0, 1]."""

    mean: float
    std: float
    draws: int

    def error(self, images: int) -> float:
        """Standard error of the mean, from the draws and from the number of test images."""
        return math.sqrt(self.std**2 / self.draws + self.mean * (1 - self.mean) / images)

    def as_percent(self) -> str:
        """`42.3 ± 1.5`, or the mean alone where draws did not differ, or were none."""
        return f"{100 * self.mean:.1f}" + (f" ± {100 * self.std:.1f}" if self.std else "")

    @classmethod
    def over(cls, parts: Sequence["Score"]) -> "Score":
        """The mean over parts of a cross-validation."""
        means, stds = [score.mean for score in parts], [score.std for score in parts]
        return cls(sum(means) / len(means), sum(stds) / len(stds), sum(score.draws for score in parts))


@dataclass(frozen=True)
class Verdict:
    """The table, and its interpretation."""

    table: dict[str, dict[str, Score]]
    """Row (`this run`, `pixels`, ...) to column (`1`, `5`, ..., `all`) to score."""
    labels: dict[str, float]
    """Column to the mean number of labels per class."""
    chance: float
    """Accuracy of random guessing."""
    paragraph: str
    notes: tuple[str, ...]
    """What is left out, and why."""
    tested: int
    """Test images, over all parts of a cross-validation."""

    def as_dict(self) -> dict[str, object]:
        """For a result file."""
        return dataclasses.asdict(self)


def evaluate(
    tasks: Sequence[Task], config: VerdictConfig, *, history: Sequence[float] = (), run: TrainingRun | None = None
) -> Verdict:
    """Compare linear classifiers on this encoder's features, on pixels, and on untrained and on ImageNet weights.

    Training from scratch is compared too. All rows use the same draws of the labels.

    Args:
        tasks: the encoder, the labeled images that labels are drawn from, and the labeled test images; several where
            few labels are split in several ways, of which the table has the means.
        config: numbers of labels, draws, budgets.
        history: k-NN accuracies over the run, evenly spaced; they tell whether it was still improving.
        run: what the encoder was trained on.

    Raises:
        UserError: unsuitable labels, features or channels (see `labeled_parts`, `cached_features`).
    """
    encoder = tasks[0].encoder
    parts = [labeled_parts(task.train, task.test) for task in tasks]
    encoder.check(tasks[0].train)
    rarest = min(smallest_class(part.train.labels) for part in parts)
    counts = [count for count in config.per_class if count <= rarest]
    columns = [str(count) for count in counts] + [ALL]
    notes = []
    if len(counts) < len(config.per_class):
        notes.append(f"Larger numbers of labels were left out: the rarest class has {rarest} images.")

    rows = {PIXELS: open_encoder("pixels", channels=tasks[0].train.channels)}
    if encoder.spec is not None:
        rows[RANDOM] = encoder.untrained(config.seed)
    if config.imagenet and encoder.spec is not None:
        name = encoder.spec.name
        known, _ = SHALLOW.get(name, (name, ()))
        try:
            rows[IMAGENET] = open_encoder(f"timm:{known}", channels=input_channels(encoder))
            if known != name:
                notes.append(f"The ImageNet weights are those of {known}, as there are none of {name}.")
        except UserError as error:
            notes.append(f"No row for ImageNet weights. {error}")
    comparisons = [Comparison(task, part, counts, config) for task, part in zip(tasks, parts, strict=True)]

    def measured(scores: Callable[[Comparison], list[Score]]) -> dict[str, Score]:
        each = [scores(comparison) for comparison in comparisons]
        return {column: Score.over(parts) for column, parts in zip(columns, zip(*each, strict=True), strict=True)}

    table = {RUN: measured(lambda part: part.linear(part.task.encoder, RUN))}
    for row, other in rows.items():
        table[row] = measured(lambda part, other=other, row=row: part.linear(other, row))  # type: ignore[misc]
    if config.scratch and encoder.spec is not None:
        table[SCRATCH] = measured(Comparison.from_scratch)

    classes, tested = len(parts[0].classes), sum(len(part.test) for part in parts)
    labels = dict(zip(columns, [*map(float, counts), len(parts[0].train) / classes], strict=True))
    means = {
        row: {column: (s.mean, s.std, s.error(tested)) for column, s in scores.items()} for row, scores in table.items()
    }
    return Verdict(table, labels, 1 / classes, paragraph(means, labels, history, run), tuple(notes), tested)


@dataclass(frozen=True)
class Comparison:
    """What every row is measured with."""

    task: Task
    parts: LabeledParts
    counts: list[int]
    """Labels per class; the last column, with all labels, is not among them."""
    config: VerdictConfig

    def linear(self, encoder: LoadedEncoder, row: str) -> list[Score]:
        """Linear classifiers on frozen features with each number of labels, and with all labels."""
        config, classes, steps = self.config, len(self.parts.classes), len(self.counts) + 1
        task = replace(self.task, encoder=encoder)
        train, test = standardized(*labeled_features(task, self.parts, config.features), task.device)
        scores = []
        for number, count in enumerate(self.counts):
            accuracies = []
            for draw in range(config.draws):
                rows = draw_per_class(train.labels.tolist(), count, draw_seed(config.seed, draw))
                accuracies.append(accuracy_with_penalty(train.subset(rows), test, classes, config.l2))
            scores.append(_score(accuracies))
            task.progress(f"verdict: {row}", number + 1, steps)
        scores.append(_score([accuracy_with_tuned_penalty(train, test, classes, config.seed)]))
        task.progress(f"verdict: {row}", steps, steps)
        return scores

    def from_scratch(self) -> list[Score]:
        """The same architecture trained on the labels alone, with each number of labels, and with all labels."""
        config, task = self.config, self.task
        views = training_views(self.parts.train, task.encoder.transform, task.device)
        labels = views.labels.tolist()
        scores = []
        for count in [*self.counts, None]:
            accuracies = []
            for draw in range(config.scratch_draws if count else 1):
                seed = draw_seed(config.seed, draw)
                rows = views.subset(draw_per_class(labels, count, seed)) if count else views
                batch = min(config.scratch_batch, len(rows))
                steps = max(config.scratch_steps, round(config.scratch_epochs * len(rows) / batch))
                start = task.encoder.untrained(seed)
                precision = config.features.precision
                trial = Trial(start, len(self.parts.classes), precision, seed, task.device, task.progress)
                setting = Setting(config.scratch_lr, 5e-4, steps, batch, 0.9)
                accuracies.append(trial.test(trial.train(setting, rows), self.parts.test)["top1"])
            scores.append(_score(accuracies))
            task.progress(f"verdict: {SCRATCH}", len(scores), len(self.counts) + 1)
        return scores


def _score(accuracies: list[float]) -> Score:
    return Score(*mean_and_std(accuracies), len(accuracies))
