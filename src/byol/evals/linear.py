"""Linear evaluation: a linear layer on the frozen encoder (arXiv:2006.07733, Appendix C.1)."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byol.data.order import EpochOrder
from byol.encoders.build import features_of
from byol.errors import UserError
from byol.evals.cache import FeatureConfig, labeled_features
from byol.evals.evaluation import Evaluation, Task
from byol.evals.labels import LabeledSource, labeled_parts
from byol.evals.metrics import top_k
from byol.evals.tuning import choose, hold_out
from byol.evals.views import training_views
from byol.optim.schedules import learning_rate
from byol.runtime import device as machine
from byol.runtime.device import choose_precision
from byol.runtime.seeds import generator_of

HELD_OUT = 10_009
"""Largest number of training images held out to choose the rate: the paper holds out the last 10,009 of ImageNet's,
about 10 per class."""


@dataclass(frozen=True, kw_only=True)
class LinearConfig:
    """The ImageNet linear protocol (arXiv:2006.07733, Appendix C.1)."""

    epochs: float = 80
    """Passes over the training images (C.1)."""
    batch_size: int = 1024
    """Images per update (C.1); all images if there are fewer."""
    lrs: tuple[float, ...] = (0.4, 0.3, 0.2, 0.1, 0.05)
    """Learning rates to choose from, per 256 images (C.1). They scale with the batch size as in the released code,
    whose single value 0.2 does (configs/eval.py:26-56); the paper does not say."""
    momentum: float = 0.9
    """Nesterov momentum (C.1)."""
    held_out: float = 0.1
    """Share of each class held out to choose the learning rate; 10,009 images at most (C.1)."""
    cached: bool = False
    """Train on stored features of the central crop, without data augmentation: hundreds of times faster, about a point
    lower. This is not the paper's protocol."""
    seed: int = 0
    """Seed of the held-out set, the order of images, the crops and the initial weights."""
    features: FeatureConfig = field(default_factory=FeatureConfig)

    def __post_init__(self) -> None:
        if not self.lrs or min(self.lrs) <= 0:
            raise UserError(f"lrs is {self.lrs}, but must be one rate or more, each above 0.")
        if not (self.epochs > 0 and self.batch_size >= 1 and 0 < self.held_out < 1):
            raise UserError(
                f"epochs {self.epochs:g}, batch_size {self.batch_size} and held_out {self.held_out:g} were given; "
                "epochs and batch_size must be above 0, held_out between 0 and 1."
            )

    def steps(self, images: int) -> int:
        """Number of updates for this many training images."""
        return max(1, round(self.epochs * images / self.batch(images)))

    def batch(self, images: int) -> int:
        """Images per update for this many training images."""
        return min(self.batch_size, images)


def evaluate(task: Task, config: LinearConfig) -> dict[str, float]:
    """Train a linear layer for each learning rate, choose one on held-out training images and test it.

    The chosen layer is not fitted again with the held-out images; the paper does not say.

    Returns:
        `top1` and `top5` in [0, 1], the chosen `lr`, and `held_out_top1`, on which it is chosen.

    Raises:
        UserError: unsuitable labels, features or channels (see `labeled_parts`, `cached_features`).
    """
    parts = labeled_parts(task.train, task.test)
    train, test = labeled_features(task, parts, config.features)
    remaining, held_out = hold_out(train.labels.tolist(), config.held_out, config.seed, at_most=HELD_OUT)
    if config.cached:
        values, labels = train.values[remaining].to(task.device), train.labels[remaining].to(task.device)
        batches = _stored_batches(values, labels, config)
    else:
        batches = _fresh_batches(task, parts.train.subset(train.indices[remaining].tolist()), config)
    size = train.values.shape[1]
    heads = [_head(size, len(parts.classes), config.seed).to(task.device) for _ in config.lrs]
    _train(heads, batches, len(remaining), config, task)

    held_out_values, held_out_labels = train.values[held_out], train.labels[held_out]
    best, held_out_top1 = choose(
        range(len(heads)), lambda number: top_k(_scores(heads[number], held_out_values, task.device), held_out_labels)
    )
    scores = _scores(heads[best], test.values, task.device)
    return {
        "top1": top_k(scores, test.labels),
        "top5": top_k(scores, test.labels, 5),
        "lr": config.lrs[best],
        "held_out_top1": held_out_top1,
    }


EVALUATION = Evaluation(
    name="linear",
    config=LinearConfig,
    evaluate=evaluate,
    percent=("top*", "held_out_top1"),
    instead_of_quick="give --cached for minutes",
)


def _train(
    heads: list[nn.Linear], batches: Iterator[tuple[Tensor, Tensor]], images: int, config: LinearConfig, task: Task
) -> None:
    """Train one layer per learning rate, all at once: they share the encoder's forward pass, nearly the whole cost."""
    groups = [{"params": list(head.parameters()), "lr": 0.0} for head in heads]
    optimizer = torch.optim.SGD(groups, momentum=config.momentum, nesterov=True)
    steps = config.steps(images)
    for step, (values, labels) in enumerate(batches):
        for group, lr in zip(optimizer.param_groups, config.lrs, strict=True):
            peak = lr * config.batch(images) / 256
            group["lr"] = learning_rate(step, peak=peak, warmup_steps=0, total_steps=steps)
        # the sum gives each layer its own gradient
        losses = [F.cross_entropy(head(values), labels) for head in heads]
        optimizer.zero_grad(set_to_none=True)
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % 20 == 0 or step == steps - 1:
            task.progress("linear layers", step + 1, steps)


def _head(size: int, classes: int, seed: int) -> nn.Linear:
    """A layer initialized as in the released code: normal, standard deviation 1/sqrt(fan in), cut at two; zero bias."""
    head = nn.Linear(size, classes)
    sigma = size**-0.5
    nn.init.trunc_normal_(head.weight, std=sigma, a=-2 * sigma, b=2 * sigma, generator=generator_of(seed, "head"))
    nn.init.zeros_(head.bias)
    return head


def _stored_batches(values: Tensor, labels: Tensor, config: LinearConfig) -> Iterator[tuple[Tensor, Tensor]]:
    count = len(values)
    batch, order = config.batch(count), EpochOrder(count, config.seed)
    for step in range(config.steps(count)):
        rows = order.take(count + step * batch, batch).to(values.device)  # the first epoch is number 1 here
        yield values[rows], labels[rows]


def _fresh_batches(task: Task, train: LabeledSource, config: LinearConfig) -> Iterator[tuple[Tensor, Tensor]]:
    """Features of random crops, by the frozen encoder in evaluation mode."""
    precision, _ = choose_precision(config.features.precision, task.device)
    encoder = task.encoder.module.to(task.device).eval()
    views = training_views(train, task.encoder.transform, task.device)
    for images, labels in views.batches(config.batch(len(views)), config.steps(len(views)), config.seed):
        with torch.no_grad(), machine.autocast(task.device, precision == "bf16"):
            values = features_of(encoder, images.contiguous(memory_format=torch.channels_last))
        yield values, labels


@torch.no_grad()
def _scores(head: nn.Linear, values: Tensor, device: torch.device) -> Tensor:
    return torch.cat([head(block.to(device)).cpu() for block in torch.split(values, 8192)])
