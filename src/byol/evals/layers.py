"""Layers: a linear classifier on the frozen features of every stage of an encoder, and the best of the stages."""

from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byol.config.checks import require
from byol.data.sources.digest import digest
from byol.encoders.build import features_of
from byol.encoders.load import LoadedEncoder
from byol.encoders.modes import evaluating
from byol.errors import UserError
from byol.evals.cache import FeatureConfig, labeled_features
from byol.evals.evaluation import Evaluation, Task
from byol.evals.fewshot import standardize
from byol.evals.labels import labeled_parts
from byol.evals.metrics import top_k
from byol.evals.tuning import Examples, split_off, tune_penalty


@dataclass(frozen=True, kw_only=True)
class LayersConfig:
    """Logistic regression on the feature map of each stage; ours, after the tables of layers that pretext tasks are
    judged by (arXiv:1603.08511, arXiv:1905.01235)."""

    l2: tuple[float, ...] = tuple(10.0**power for power in range(1, -5, -1))
    """L2 penalties to choose from for each stage (1 / C of scikit-learn), on features with zero mean and mean squared
    length 1."""
    values: int | None = None
    """Most values of an image that a stage gives: its map is averaged over the largest square grid that has no more. By
    default as many as the encoder has features."""
    held_out: float = 0.1
    """Share of each class of the training images on which penalties and the best stage are chosen."""
    seed: int = 0
    """Seed of that choice of images."""
    features: FeatureConfig = field(default_factory=FeatureConfig)

    def __post_init__(self) -> None:
        require(bool(self.l2) and min(self.l2, default=0) > 0, "l2", self.l2, "one number or more, each above 0")
        require(self.values is None or self.values >= 1, "values", self.values, "1 or more")
        require(0 < self.held_out < 1, "held_out", self.held_out, "a share between 0 and 1")


@dataclass(frozen=True)
class Stage:
    """One stage of an encoder, and which values of `Stages` are its own."""

    name: str
    begin: int
    end: int


class Stages(nn.Module):
    """All stages of an encoder as one vector: images (N, C, S, S) -> (N, D), the stages' values one after another.

    Args:
        encoder: has `forward_intermediates`, as timm's encoders do.
        values: most values of a stage.
    """

    def __init__(self, encoder: nn.Module, values: int) -> None:
        super().__init__()
        self.encoder, self.values = encoder, values

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([averaged(found, self.values) for found in maps_of(self.encoder, images)], dim=1)


def maps_of(encoder: nn.Module, images: Tensor) -> list[Tensor]:
    """The feature map (N, C, h, w) of every stage, first to last."""
    found: list[Tensor] = encoder.forward_intermediates(images, intermediates_only=True)  # type: ignore[operator]
    return found


def averaged(found: Tensor, values: int) -> Tensor:
    """Means of a map (N, C, h, w) over the largest square grid with at most so many values; at least its mean."""
    grid = 1
    while (grid + 1) ** 2 * found.shape[1] <= values and grid < min(found.shape[2:]):
        grid += 1
    return F.adaptive_avg_pool2d(found.float(), grid).flatten(1)


def stages_of(encoder: LoadedEncoder, values: int | None) -> tuple[LoadedEncoder, list[Stage]]:
    """The encoder whose features are all stages', and where each lies.

    Raises:
        UserError: the encoder has no feature maps.
    """
    side, channels = encoder.transform.image_size, 3 if encoder.spec is None else encoder.spec.channels
    device = next((weight.device for weight in encoder.module.parameters()), torch.device("cpu"))
    blank = torch.zeros(2, channels, side, side, device=device)
    with torch.no_grad(), evaluating(encoder.module):
        try:
            values = values or features_of(encoder.module, blank).shape[1]
            lengths = [averaged(found, values).shape[1] for found in maps_of(encoder.module, blank)]
        except (AttributeError, AssertionError, IndexError, RuntimeError, TypeError, ValueError) as error:
            raise UserError(
                f"The encoder {encoder.name} gives no feature maps of its stages; layers is for convolutional encoders "
                "and transformers of timm, such as resnet18."
            ) from error
    named = [str(entry["module"]) for entry in getattr(encoder.module, "feature_info", ())]
    names = named if len(named) == len(lengths) else [f"stage{number}" for number in range(1, len(lengths) + 1)]
    ends = torch.tensor(lengths).cumsum(0).tolist()
    stages = [Stage(name, end - length, end) for name, length, end in zip(names, lengths, ends, strict=True)]
    module = Stages(encoder.module, values)
    return replace(encoder, module=module, fingerprint=digest([encoder.fingerprint, "stages", str(values)])), stages


def evaluate(task: Task, config: LayersConfig) -> dict[str, float]:
    """Fit a classifier to every stage, with the penalty that does best on held-out training images, and test each.

    Returns:
        `top1` in [0, 1] of the stage that did best on the held-out images; `best`, its number, counted from 1; then
        `top1_NAME` of every stage, first to last.

    Raises:
        UserError: an encoder without feature maps, or unsuitable labels, features or channels.
    """
    parts = labeled_parts(task.train, task.test)
    encoder, stages = stages_of(task.encoder, config.values)
    train, test = labeled_features(replace(task, encoder=encoder), parts, config.features)
    scores, chosen = {}, []
    for number, stage in enumerate(stages, start=1):
        values = standardize(train.values[:, stage.begin : stage.end], test.values[:, stage.begin : stage.end])
        first, second = (
            Examples(part.to(task.device), features.labels)
            for part, features in zip(values, (train, test), strict=True)
        )
        split = split_off(first, config.held_out, config.seed)
        tuned = tune_penalty(split, len(parts.classes), config.l2, top_k)
        scores[f"top1_{stage.name}"] = second.score(tuned.fit, top_k)
        chosen.append(tuned.held_out_score)
        task.progress("stages", number, len(stages))
    best = max(range(len(chosen)), key=lambda number: (chosen[number], number))  # of equal stages the later one
    return {"top1": list(scores.values())[best], "best": best + 1, **scores}


EVALUATION = Evaluation(name="layers", config=LayersConfig, evaluate=evaluate, percent=("top1*",))
