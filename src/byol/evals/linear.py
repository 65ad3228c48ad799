"""Linear evaluation: one linear layer on the frozen encoder (arXiv:2006.07733, Appendix C.1)."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byol.data.order import EpochOrder
from byol.data.sources.open import Source
from byol.encoders.build import features_of
from byol.encoders.load import LoadedEncoder
from byol.errors import UserError
from byol.evals.cache import FeatureConfig, Progress, cached_features, silent
from byol.evals.labels import as_tensor, class_names, hold_out
from byol.evals.metrics import top_k
from byol.evals.views import training_views
from byol.optim.schedules import learning_rate
from byol.runtime import device as machine
from byol.runtime.device import choose_precision
from byol.runtime.seeds import generator_of

HELD_OUT = 10_009
"""Training images on which the rate is chosen: the last ones of ImageNet's in the paper, about 10 per class."""


@dataclass(frozen=True, kw_only=True)
class LinearConfig:
    """The ImageNet linear protocol (arXiv:2006.07733, Appendix C.1)."""

    epochs: float = 80
    """Passes over the training images (C.1)."""
    batch_size: int = 1024
    """Images per step (C.1); all of them where there are fewer."""
    lrs: tuple[float, ...] = (0.4, 0.3, 0.2, 0.1, 0.05)
    """Rates that are tried, per 256 images (C.1). That they scale with the batch is read from the released code, whose
    single value 0.2 does (configs/eval.py:26-56); the paper does not say."""
    momentum: float = 0.9
    """Of Nesterov's method (C.1)."""
    held_out: float = 0.1
    """Share of the training images on which the rate is chosen, of each class alike; 10,009 images at most (C.1)."""
    cached: bool = False
    """Train on stored features of the central crop instead of fresh random crops: hundreds of times faster, a point or
    so lower. Not the paper's protocol."""
    seed: int = 0
    """Of the held-out images, the order, the crops and the layer's first weights."""
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
        """Updates in a run over so many training images."""
        return max(1, round(self.epochs * images / self.batch(images)))

    def batch(self, images: int) -> int:
        """Images per step where there are so many in all."""
        return min(self.batch_size, images)


def evaluate(
    opened: LoadedEncoder,
    train: Source,
    test: Source,
    config: LinearConfig,
    device: torch.device,
    progress: Progress = silent,
) -> dict[str, float]:
    """Test accuracy of a linear layer, its rate chosen on held-out training images.

    The layer that was chosen is tested as it is, not fitted again with the held-out images: the paper does not say.

    Returns:
        `top1` and `top5` in [0, 1], the chosen `lr`, and `held_out_top1`, on which it was chosen.

    Raises:
        UserError: labels, features or channels that do not do (see `class_names`, `cached_features`).
    """
    classes = len(class_names(train, test))
    seen = cached_features(opened, train, config.features, device, progress)
    asked = cached_features(opened, test, config.features, device, progress)
    assert seen.labels is not None
    assert asked.labels is not None
    stay, held = hold_out(seen.labels.tolist(), config.held_out, config.seed, at_most=HELD_OUT)
    if config.cached:
        values, labels = seen.values[stay].to(device), seen.labels[stay].to(device)
        batches = _stored_batches(values, labels, config)
    else:
        kept = train.subset(seen.indices[stay].tolist())
        batches = _fresh_batches(opened, kept, config, device)
    size = seen.values.shape[1]
    heads = _train(batches, size, classes, config.steps(len(stay)), len(stay), config, device, progress)

    chosen_on = [top_k(_scores(head, seen.values[held], device), seen.labels[held]) for head in heads]
    best = max(range(len(heads)), key=lambda number: chosen_on[number])
    scores = _scores(heads[best], asked.values, device)
    return {
        "top1": top_k(scores, asked.labels),
        "top5": top_k(scores, asked.labels, 5),
        "lr": config.lrs[best],
        "held_out_top1": chosen_on[best],
    }


def _train(
    batches: Iterator[tuple[Tensor, Tensor]],
    size: int,
    classes: int,
    steps: int,
    images: int,
    config: LinearConfig,
    device: torch.device,
    progress: Progress,
) -> list[nn.Linear]:
    """One layer per rate, all of them at once: they share the encoder's pass, which is nearly the whole cost."""
    heads = [_head(size, classes, config.seed).to(device) for _ in config.lrs]
    groups = [{"params": list(head.parameters()), "lr": 0.0} for head in heads]
    optimizer = torch.optim.SGD(groups, momentum=config.momentum, nesterov=True)
    for step, (values, labels) in enumerate(batches):
        for group, lr in zip(optimizer.param_groups, config.lrs, strict=True):
            peak = lr * config.batch(images) / 256
            group["lr"] = learning_rate(step, peak=peak, warmup_steps=0, total_steps=steps)
        # added up, each layer's gradient is its own
        losses = [F.cross_entropy(head(values), labels) for head in heads]
        optimizer.zero_grad(set_to_none=True)
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % 20 == 0 or step == steps - 1:
            progress("linear layers", step + 1, steps)
    return heads


def _head(size: int, classes: int, seed: int) -> nn.Linear:
    """A layer as the released code starts it: a normal of deviation 1/sqrt(fan in) cut at two, and no bias."""
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


def _fresh_batches(
    opened: LoadedEncoder, source: Source, config: LinearConfig, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Features of random crops, by the frozen encoder in evaluation mode."""
    assert source.labels is not None
    kind, _ = choose_precision(config.features.precision, device)
    encoder = opened.module.to(device).eval()
    views = training_views(source, as_tensor(source.labels), opened.transform, device)
    for images, labels in views.batches(config.batch(len(views)), config.steps(len(views)), config.seed):
        with torch.no_grad(), machine.autocast(device, kind == "bf16"):
            values = features_of(encoder, images.contiguous(memory_format=torch.channels_last))
        yield values, labels


@torch.no_grad()
def _scores(head: nn.Linear, values: Tensor, device: torch.device) -> Tensor:
    return torch.cat([head(block.to(device)).cpu() for block in torch.split(values, 8192)])
