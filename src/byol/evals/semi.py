"""Semi-supervised: fine-tuning with 1 % or 10 % of the labels (arXiv:2006.07733, Appendix C.1)."""

from dataclasses import dataclass, replace

import torch

from byol.config.run import Precision
from byol.data.sources.open import Source
from byol.encoders.load import LoadedEncoder
from byol.errors import UserError
from byol.evals.cache import Progress, silent
from byol.evals.finetune import Setting, Trial, starts
from byol.evals.labels import as_tensor, class_names, draw_share, hold_out
from byol.evals.linear import HELD_OUT
from byol.evals.views import training_views


@dataclass(frozen=True, kw_only=True)
class SemiConfig:
    """The paper's fine-tuning with few labels of the same data set (arXiv:2006.07733, Appendix C.1)."""

    shares: tuple[float, ...] = (0.01, 0.1)
    """Shares of the labels, balanced over the classes (C.1; Table 2 has SimCLR's fixed lists, Figure 4 own draws)."""
    lrs: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1, 0.005)
    """Rates that are tried, per 256 images (C.1). That they scale with the batch is read from the released code's
    evaluation (configs/eval.py:26-56); the paper does not say."""
    epochs: tuple[float, ...] = (30, 50)
    """Passes over the labeled images that are tried with each rate (C.1)."""
    batch_size: int = 1024
    """Images per update (C.1); a quarter of the labeled images where those are fewer than four batches."""
    momentum: float = 0.9
    """Of Nesterov's method (C.1). There is no weight decay nor other regularization (C.1)."""
    held_out: float = 0.1
    """Share of the training images on which rate and epochs are chosen; 10,009 at most (C.1). The labels come from the
    other images."""
    baseline: bool = True
    """Run the same from untrained weights too: what the labels alone are worth."""
    precision: Precision = "auto"
    """bf16 where the hardware multiplies it, else float32."""
    seed: int = 0
    """Of the held-out images, the labels, the crops, the layer's first weights and the baseline's."""

    def __post_init__(self) -> None:
        if not self.shares or not all(0 < share <= 1 for share in self.shares):
            raise UserError(f"shares is {self.shares}, but must be one share or more, each above 0 and up to 1.")
        if not self.lrs or min(self.lrs) <= 0 or not self.epochs or min(self.epochs) <= 0 or self.batch_size < 2:
            raise UserError("lrs and epochs must be one value or more above 0, batch_size 2 or more.")
        if not 0 < self.held_out < 1:
            raise UserError(f"held_out is {self.held_out:g}, but must be a share between 0 and 1.")

    def quick(self) -> "SemiConfig":
        """Two rates and the fewer epochs: 2 runs for 10."""
        return replace(self, lrs=(0.02, 0.1), epochs=(30,))

    def left_out(self) -> str:
        """What differs from the paper's grid, in words; empty where nothing does."""
        full = SemiConfig()
        if (set(self.lrs), set(self.epochs)) == (set(full.lrs), set(full.epochs)):
            return ""
        rates = ", ".join(f"{lr:g}" for lr in self.lrs)
        epochs = ", ".join(f"{count:g}" for count in self.epochs)
        runs, of = len(self.lrs) * len(self.epochs), len(full.lrs) * len(full.epochs)
        return f"{runs} of the paper's {of} settings (rates {rates}; epochs {epochs})"

    def batch(self, images: int) -> int:
        """Images per update where so many are labeled: a few updates an epoch at least."""
        return max(2, min(self.batch_size, images // 4))

    def setting(self, lr: float, epochs: float, images: int) -> Setting:
        """One run of the grid over so many labeled images."""
        batch = self.batch(images)
        return Setting(lr * batch / 256, 0.0, max(1, round(epochs * images / batch)), batch, self.momentum)


def evaluate(
    opened: LoadedEncoder,
    train: Source,
    test: Source,
    config: SemiConfig,
    device: torch.device,
    progress: Progress = silent,
) -> dict[str, float]:
    """Test accuracy after fine-tuning with each share of the labels, the setting chosen on held-out images.

    Returns:
        for a share of 1 % `top1_1%`, `top5_1%` in [0, 1], the chosen `lr_1%` and `epochs_1%`, and with `baseline`
        the same figures from untrained weights, `scratch_top1_1%` and so on; likewise for the other shares.

    Raises:
        UserError: a share that leaves a class without a label, labels or channels that do not do, or an encoder that
            cannot be trained.
    """
    names = class_names(train, test)
    opened.check(train)
    assert train.labels is not None
    stay, held = hold_out(train.labels, config.held_out, config.seed, at_most=HELD_OUT)
    usable = train.subset(stay)
    assert usable.labels is not None
    drawn = {share: draw_share(usable.labels, share, config.seed) for share in config.shares}
    result: dict[str, float] = {}
    for share, rows in drawn.items():
        labeled = usable.subset(rows)
        assert labeled.labels is not None
        views = training_views(labeled, as_tensor(labeled.labels), opened.transform, device)
        grid = {config.setting(lr, epochs, len(views)): (lr, epochs) for lr in config.lrs for epochs in config.epochs}
        for prefix, start in starts(opened, config.baseline, config.seed).items():
            trial = Trial(start, len(names), config.precision, config.seed, device, progress)
            best, score = trial.choose(list(grid), views, train.subset(held))
            found = trial.test(trial.train(best, views), test)
            figures = {"top1": found["top1"], "top5": found["top5"], "held_out_top1": score}
            figures |= {"lr": grid[best][0], "epochs": grid[best][1]}
            result |= {f"{prefix}{key}_{100 * share:g}%": value for key, value in figures.items()}
    return result
