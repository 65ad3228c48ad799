"""Fine-tuning: the encoder and a linear layer, trained on the labels of other data (arXiv:2006.07733, Appendix D.3)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byol.config.run import Precision
from byol.data.transform import Transform
from byol.encoders.load import LoadedEncoder
from byol.errors import UserError
from byol.evals.evaluation import Evaluation, Progress, Task
from byol.evals.features import Passes, extract
from byol.evals.labels import LabeledSource, labeled_parts
from byol.evals.metrics import mean_per_class, top_k
from byol.evals.tuning import choose, hold_out
from byol.evals.views import TrainingViews, training_views
from byol.optim.schedules import learning_rate
from byol.runtime import device as machine
from byol.runtime.device import choose_precision, cores
from byol.runtime.distributed import BATCH_NORMS
from byol.runtime.seeds import seed_of

LEAST_DECAY = 0.9
"""Smallest decay of batch norm's running statistics per update (D.3): max(1 - 10/s, 0.9)."""


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """Fine-tuning on other data sets (arXiv:2006.07733, Appendix D.3)."""

    lrs: tuple[float, ...] = tuple(10.0 ** (-4 + k / 2) for k in range(7))
    """Learning rates to choose from: 7 from 1e-4 to 1e-1, log-spaced (D.3); not scaled by the batch size."""
    weight_decays: tuple[float, ...] = (*(10.0 ** (-6 + k / 2) for k in range(7)), 0.0)
    """Weight decays to choose from: 7 from 1e-6 to 1e-3, log-spaced, and 0; divided by the learning rate (D.3)."""
    steps: int = 20_000
    """Updates (D.3)."""
    batch_size: int = 256
    """Images per update (D.3); all images if there are fewer."""
    momentum: float = 0.9
    """Nesterov momentum (D.3)."""
    held_out: float = 0.1
    """Share of each class held out to choose rate and decay."""
    baseline: bool = False
    """Also train from untrained weights: what the labels alone are worth."""
    precision: Precision = "auto"
    """bf16 where the hardware multiplies it, else float32."""
    seed: int = 0
    """Seed of the held-out set, the crops, and the initial weights of the layer and the baseline."""

    def __post_init__(self) -> None:
        if not self.lrs or min(self.lrs) <= 0 or not self.weight_decays or min(self.weight_decays) < 0:
            raise UserError("lrs must be one rate or more above 0, weight_decays one value or more from 0.")
        if self.steps < 1 or self.batch_size < 2 or not 0 < self.held_out < 1:
            raise UserError(
                f"steps {self.steps}, batch_size {self.batch_size} and held_out {self.held_out:g} were given; steps "
                "must be 1 or more, batch_size 2 or more, held_out between 0 and 1."
            )

    def quick(self) -> "FinetuneConfig":
        """A tenth of the steps, three rates and no decay: 3 runs instead of 56."""
        return replace(self, lrs=(1e-3, 1e-2, 1e-1), weight_decays=(0.0,), steps=max(1, self.steps // 10))

    def left_out(self) -> str:
        """What differs from the paper's grid, in words; empty if nothing does."""
        full = FinetuneConfig()
        runs, of = len(self.lrs) * len(self.weight_decays), len(full.lrs) * len(full.weight_decays)
        if (self.lrs, self.weight_decays, self.steps) == (full.lrs, full.weight_decays, full.steps):
            return ""
        rates = ", ".join(f"{lr:g}" for lr in self.lrs)
        decays = ", ".join(f"{decay:g}" for decay in self.weight_decays)
        return (
            f"{runs} of the paper's {of} settings (rates {rates}; weight decays {decays}) "
            f"with {self.steps} of its {full.steps} steps"
        )


@dataclass(frozen=True)
class Setting:
    """The hyperparameters of one run of a grid."""

    lr: float
    weight_decay: float
    steps: int
    batch_size: int
    momentum: float


def evaluate(task: Task, config: FinetuneConfig) -> dict[str, float]:
    """Fine-tune with each setting, choose one on held-out images, train it again on all images and test it.

    Returns:
        `top1`, `top5` and `mean_per_class` in [0, 1], the chosen `lr` and `weight_decay`, `held_out_top1`, and with
        `baseline` the same from untrained weights, `scratch_top1` and so on.

    Raises:
        UserError: unsuitable labels or channels, or an encoder that cannot be trained.
    """
    parts = labeled_parts(task.train, task.test)
    task.encoder.check(task.train)
    batch = min(config.batch_size, len(parts.train))
    grid = [
        Setting(lr, decay / lr, config.steps, batch, config.momentum)
        for lr in config.lrs
        for decay in config.weight_decays
    ]
    views = training_views(parts.train, task.encoder.transform, task.device)
    readable = LabeledSource(views.source, views.labels.tolist())
    remaining, held_out = hold_out(readable.labels, config.held_out, config.seed)
    result: dict[str, float] = {}
    for prefix, encoder in initial_encoders(task.encoder, config.baseline, config.seed).items():
        trial = Trial(encoder, len(parts.classes), config.precision, config.seed, task.device, task.progress)
        best, score = trial.choose(grid, views.subset(remaining), readable.subset(held_out))
        metrics = trial.test(trial.train(best, views), parts.test)
        metrics |= {"lr": best.lr, "weight_decay": best.weight_decay * best.lr, "held_out_top1": score}
        result |= {prefix + key: value for key, value in metrics.items()}
    return result


EVALUATION = Evaluation(
    name="finetune",
    config=FinetuneConfig,
    evaluate=evaluate,
    percent=("*top1", "*top5", "*mean_per_class"),
    quick=FinetuneConfig.quick,
    left_out=FinetuneConfig.left_out,
)


def initial_encoders(encoder: LoadedEncoder, baseline: bool, seed: int) -> dict[str, LoadedEncoder]:
    """The encoder, and with a baseline the same architecture untrained, by the prefix of their metrics."""
    return {"": encoder, "scratch_": encoder.untrained(seed)} if baseline else {"": encoder}


@dataclass(frozen=True)
class Trial:
    """What all runs of a grid share."""

    encoder: LoadedEncoder
    classes: int
    precision: Precision
    seed: int
    device: torch.device
    progress: Progress

    def choose(self, grid: Sequence[Setting], views: TrainingViews, held_out: LabeledSource) -> tuple[Setting, float]:
        """The setting with the best accuracy on held-out images, and that accuracy; NaN if there is no choice."""
        if len(grid) == 1:
            return grid[0], math.nan

        def accuracy(number: int) -> float:
            setting = grid[number]
            self.progress(f"settings (rate {setting.lr:g}, decay {setting.weight_decay:g})", number, len(grid))
            return self.test(self.train(setting, views), held_out)["top1"]

        best, score = choose(range(len(grid)), accuracy)
        return grid[best], score

    def train(self, setting: Setting, views: TrainingViews) -> nn.Module:
        """One run from the encoder's weights: cross-entropy, Nesterov momentum, a cosine decay of the learning rate.

        The paper does not name the schedule; the released code's evaluation has this cosine without a warm-up.
        """
        encoder = self.encoder.copy()
        model = nn.Sequential(encoder, new_head(encoder, self.classes)).to(self.device)
        model = model.to(memory_format=torch.channels_last)
        set_batch_norm(model, len(views) / setting.batch_size)
        optimizer = torch.optim.SGD(
            model.parameters(),
            lr=setting.lr,
            momentum=setting.momentum,
            nesterov=True,
            weight_decay=setting.weight_decay,
        )
        seed = seed_of(self.seed, "finetune")
        model.train()
        batch = min(setting.batch_size, len(views))
        for step, (images, labels) in enumerate(views.batches(batch, setting.steps, seed)):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, peak=setting.lr, warmup_steps=0, total_steps=setting.steps)
            with machine.autocast(self.device, self._autocast()):
                loss = F.cross_entropy(model(images.contiguous(memory_format=torch.channels_last)).float(), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if step % 20 == 0 or step == setting.steps - 1:
                self.progress(f"fine-tuning (rate {setting.lr:g})", step + 1, setting.steps)
        model.eval()
        return model

    def test(self, model: nn.Module, source: LabeledSource) -> dict[str, float]:
        """Accuracy on the central crops of labeled images; 0 if training has diverged."""
        scores, labels = predict(model, source, self.encoder.transform, self.device, self._autocast())
        if not torch.isfinite(scores).all():
            return {"top1": 0.0, "top5": 0.0, "mean_per_class": 0.0}
        return {
            "top1": top_k(scores, labels),
            "top5": top_k(scores, labels, 5),
            "mean_per_class": mean_per_class(scores, labels),
        }

    def _autocast(self) -> bool:
        return choose_precision(self.precision, self.device)[0] == "bf16"


def predict(
    model: nn.Module, source: LabeledSource, transform: Transform, device: torch.device, autocast: bool
) -> tuple[Tensor, Tensor]:
    """Logits (N, C) and labels (N,) of the readable images."""
    logits = extract(model, source.images, transform, Passes(device, workers=cores(), autocast=autocast))
    labeled = logits.with_labels(source.labels)
    return labeled.values, labeled.labels


def new_head(encoder: nn.Module, classes: int) -> nn.Linear:
    """A linear layer of zeros, so that the first gradients leave the encoder as it is."""
    size = encoder.num_features
    assert isinstance(size, int)
    head = nn.Linear(size, classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def set_batch_norm(model: nn.Module, steps_per_epoch: float) -> None:
    """Set the decay of batch norm's running statistics to max(1 - 10 / s, 0.9), for s updates per epoch (D.3)."""
    keep = max(1 - 10 / max(steps_per_epoch, 1e-9), LEAST_DECAY)
    for layer in model.modules():
        if isinstance(layer, BATCH_NORMS):
            layer.momentum = 1 - keep  # PyTorch's momentum is the weight of the new value
