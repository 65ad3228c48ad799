"""Fine-tuning: the whole encoder and a linear layer, trained on labels (arXiv:2006.07733, Appendix D.3)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byol.config.run import Precision
from byol.data.sources.open import Source
from byol.data.transform import Transform
from byol.encoders.load import LoadedEncoder
from byol.errors import UserError
from byol.evals.cache import Progress, silent
from byol.evals.features import extract
from byol.evals.labels import as_tensor, class_names, hold_out
from byol.evals.metrics import mean_per_class, top_k
from byol.evals.views import TrainingViews, training_views
from byol.optim.schedules import learning_rate
from byol.runtime import device as machine
from byol.runtime.device import choose_precision, cores
from byol.runtime.seeds import seed_of

LEAST_DECAY = 0.9
"""Batch norm's statistics keep at least this share of themselves in a step (D.3): max(1 - 10/s, 0.9)."""


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """The paper's fine-tuning on other data sets (arXiv:2006.07733, Appendix D.3)."""

    lrs: tuple[float, ...] = tuple(10.0 ** (-4 + k / 2) for k in range(7))
    """Rates that are tried: 7 from 1e-4 to 1e-1, evenly over their logarithm (D.3); not scaled by the batch."""
    weight_decays: tuple[float, ...] = (*(10.0 ** (-6 + k / 2) for k in range(7)), 0.0)
    """Weight decays that are tried with each rate: 7 from 1e-6 to 1e-3, and none; divided by the rate (D.3)."""
    steps: int = 20_000
    """Updates (D.3)."""
    batch_size: int = 256
    """Images per update (D.3); all of them where there are fewer."""
    momentum: float = 0.9
    """Of Nesterov's method (D.3)."""
    held_out: float = 0.1
    """Share of the training images on which rate and decay are chosen, of each class alike."""
    baseline: bool = False
    """Run the same from untrained weights too: what the labels alone are worth."""
    precision: Precision = "auto"
    """bf16 where the hardware multiplies it, else float32."""
    seed: int = 0
    """Of the held-out images, the crops, the layer's first weights and the baseline's."""

    def __post_init__(self) -> None:
        if not self.lrs or min(self.lrs) <= 0 or not self.weight_decays or min(self.weight_decays) < 0:
            raise UserError("lrs must be one rate or more above 0, weight_decays one value or more from 0.")
        if self.steps < 1 or self.batch_size < 2 or not 0 < self.held_out < 1:
            raise UserError(
                f"steps {self.steps}, batch_size {self.batch_size} and held_out {self.held_out:g} were given; steps "
                "must be 1 or more, batch_size 2 or more, held_out between 0 and 1."
            )

    def quick(self) -> "FinetuneConfig":
        """A tenth of the steps, three rates and no decay: 3 runs for 56."""
        return replace(self, lrs=(1e-3, 1e-2, 1e-1), weight_decays=(0.0,), steps=max(1, self.steps // 10))

    def left_out(self) -> str:
        """What differs from the paper's grid, in words; empty where nothing does."""
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
    """One run of a grid."""

    lr: float
    weight_decay: float
    steps: int
    batch_size: int
    momentum: float


def evaluate(
    opened: LoadedEncoder,
    train: Source,
    test: Source,
    config: FinetuneConfig,
    device: torch.device,
    progress: Progress = silent,
) -> dict[str, float]:
    """Test accuracy after fine-tuning with the best setting: chosen on held-out images, trained again on all, tested.

    Returns:
        `top1`, `top5` and `mean_per_class` in [0, 1], the chosen `lr` and `weight_decay`, `held_out_top1`, and with
        `baseline` the same figures from untrained weights, `scratch_top1` and so on.

    Raises:
        UserError: labels or channels that do not do, or an encoder that cannot be trained.
    """
    names = class_names(train, test)
    opened.check(train)
    batch = min(config.batch_size, len(train))
    grid = [
        Setting(lr, decay / lr, config.steps, batch, config.momentum)
        for lr in config.lrs
        for decay in config.weight_decays
    ]
    assert train.labels is not None
    views = training_views(train, as_tensor(train.labels), opened.transform, device)
    stay, held = hold_out(views.labels.tolist(), config.held_out, config.seed)
    result: dict[str, float] = {}
    for prefix, start in starts(opened, config.baseline, config.seed).items():
        trial = Trial(start, len(names), config.precision, config.seed, device, progress)
        best, score = trial.choose(grid, views.subset(stay), views.source.subset(held))
        found = trial.test(trial.train(best, views), test)
        found |= {"lr": best.lr, "weight_decay": best.weight_decay * best.lr, "held_out_top1": score}
        result |= {prefix + key: value for key, value in found.items()}
    return result


def starts(opened: LoadedEncoder, baseline: bool, seed: int) -> dict[str, LoadedEncoder]:
    """The encoder, and if asked for the same architecture untrained, by the prefix of their figures."""
    return {"": opened, "scratch_": opened.untrained(seed)} if baseline else {"": opened}


@dataclass(frozen=True)
class Trial:
    """Everything that the runs of a grid share."""

    opened: LoadedEncoder
    classes: int
    precision: Precision
    seed: int
    device: torch.device
    progress: Progress

    def choose(self, grid: Sequence[Setting], views: TrainingViews, held: Source) -> tuple[Setting, float]:
        """The setting with the best accuracy on held-out images, and that accuracy; one setting is not tried out."""
        if len(grid) == 1:
            return grid[0], math.nan
        scores = []
        for number, setting in enumerate(grid):
            self.progress(f"settings (rate {setting.lr:g}, decay {setting.weight_decay:g})", number, len(grid))
            scores.append(self.test(self.train(setting, views), held)["top1"])
        best = max(range(len(grid)), key=lambda number: scores[number])
        return grid[best], scores[best]

    def train(self, setting: Setting, views: TrainingViews) -> nn.Module:
        """One run from the encoder's weights: cross-entropy, Nesterov, the rate falling along half a cosine.

        The paper does not name the schedule; the released code's evaluation has this cosine without a warm-up.
        """
        encoder = self.opened.copy()
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

    def test(self, model: nn.Module, source: Source) -> dict[str, float]:
        """Accuracy on the central crops of a labeled source; 0 where training blew up."""
        scores, labels = predict(model, source, self.opened.transform, self.device, self._autocast())
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
    model: nn.Module, source: Source, transform: Transform, device: torch.device, autocast: bool
) -> tuple[Tensor, Tensor]:
    """Logits (N, C) and labels (N,) of a labeled source's readable images."""
    said = extract(model, source, transform, device=device, workers=cores(), autocast=autocast)
    assert said.labels is not None
    return said.values, said.labels


def new_head(encoder: nn.Module, classes: int) -> nn.Linear:
    """A layer that answers 0 at first, so that the first gradients leave the encoder as it is."""
    size = encoder.num_features
    assert isinstance(size, int)
    head = nn.Linear(size, classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def set_batch_norm(model: nn.Module, steps_per_epoch: float) -> None:
    """Let batch norm's statistics keep max(1 - 10 / s, 0.9) of themselves in a step, s steps an epoch (D.3)."""
    keep = max(1 - 10 / max(steps_per_epoch, 1e-9), LEAST_DECAY)
    for layer in model.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.momentum = 1 - keep  # PyTorch's is the share that is new
