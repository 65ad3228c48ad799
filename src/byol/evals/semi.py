"""Semi-supervised learning: fine-tuning with 1 % and 10 % of the labels (arXiv:2006.07733, Appendix C.1)."""

from dataclasses import dataclass, replace

from byol.config.run import Precision
from byol.errors import UserError
from byol.evals.evaluation import Evaluation, Task
from byol.evals.finetune import Setting, Trial, initial_encoders
from byol.evals.labels import draw_share, labeled_parts
from byol.evals.linear import HELD_OUT
from byol.evals.tuning import hold_out
from byol.evals.views import training_views


@dataclass(frozen=True, kw_only=True)
class SemiConfig:
    """Fine-tuning with few labels of the same data set (arXiv:2006.07733, Appendix C.1)."""

    shares: tuple[float, ...] = (0.01, 0.1)
    """Shares of the labels, balanced over the classes (C.1; Table 2 has SimCLR's lists, Figure 4 its own draws)."""
    lrs: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1, 0.005)
    """Learning rates to choose from, per 256 images (C.1). They scale with the batch size as in the released code's
    evaluation (configs/eval.py:26-56); the paper does not say."""
    epochs: tuple[float, ...] = (30, 50)
    """Passes over the labeled images to choose from, with each rate (C.1)."""
    batch_size: int = 1024
    """Images per update (C.1); a quarter of the labeled images if those are fewer than four batches."""
    momentum: float = 0.9
    """Nesterov momentum (C.1). There is no weight decay and no other regularization (C.1)."""
    held_out: float = 0.1
    """Share of each class held out to choose rate and epochs; 10,009 images at most (C.1). The labels are drawn from
    the other images."""
    baseline: bool = True
    """Also train from untrained weights: what the labels alone are worth."""
    precision: Precision = "auto"
    """bf16 where the hardware multiplies it, else float32."""
    seed: int = 0
    """Seed of the held-out set, the labels, the crops, and the initial weights of the layer and the baseline."""

    def __post_init__(self) -> None:
        if not self.shares or not all(0 < share <= 1 for share in self.shares):
            raise UserError(f"shares is {self.shares}, but must be one share or more, each above 0 and up to 1.")
        if not self.lrs or min(self.lrs) <= 0 or not self.epochs or min(self.epochs) <= 0 or self.batch_size < 2:
            raise UserError("lrs and epochs must be one value or more above 0, batch_size 2 or more.")
        if not 0 < self.held_out < 1:
            raise UserError(f"held_out is {self.held_out:g}, but must be a share between 0 and 1.")

    def quick(self) -> "SemiConfig":
        """Two rates and 30 epochs: 2 runs instead of 10."""
        return replace(self, lrs=(0.02, 0.1), epochs=(30,))

    def left_out(self) -> str:
        """What differs from the paper's grid, in words; empty if nothing does."""
        full = SemiConfig()
        if (set(self.lrs), set(self.epochs)) == (set(full.lrs), set(full.epochs)):
            return ""
        rates = ", ".join(f"{lr:g}" for lr in self.lrs)
        epochs = ", ".join(f"{count:g}" for count in self.epochs)
        runs, of = len(self.lrs) * len(self.epochs), len(full.lrs) * len(full.epochs)
        return f"{runs} of the paper's {of} settings (rates {rates}; epochs {epochs})"

    def batch(self, images: int) -> int:
        """Images per update for this many labeled images: at least four updates per epoch if possible."""
        return max(2, min(self.batch_size, images // 4))

    def setting(self, lr: float, epochs: float, images: int) -> Setting:
        """One run of the grid on this many labeled images."""
        batch = self.batch(images)
        return Setting(lr * batch / 256, 0.0, max(1, round(epochs * images / batch)), batch, self.momentum)


def evaluate(task: Task, config: SemiConfig) -> dict[str, float]:
    """Fine-tune with each share of the labels, settings chosen on held-out images, and test.

    Returns:
        For a share of 1 %: `top1_1%`, `top5_1%` and `held_out_top1_1%` in [0, 1], the chosen `lr_1%` and `epochs_1%`,
        and with `baseline` the same from untrained weights, `scratch_top1_1%` and so on; likewise for other shares.

    Raises:
        UserError: a share that leaves a class without a label, unsuitable labels or channels, or an encoder that cannot
            be trained.
    """
    parts = labeled_parts(task.train, task.test)
    task.encoder.check(task.train)
    remaining, held_out = hold_out(parts.train.labels, config.held_out, config.seed, at_most=HELD_OUT)
    usable = parts.train.subset(remaining)
    drawn = {share: draw_share(usable.labels, share, config.seed) for share in config.shares}
    result: dict[str, float] = {}
    for share, rows in drawn.items():
        views = training_views(usable.subset(rows), task.encoder.transform, task.device)
        grid = {config.setting(lr, epochs, len(views)): (lr, epochs) for lr in config.lrs for epochs in config.epochs}
        for prefix, encoder in initial_encoders(task.encoder, config.baseline, config.seed).items():
            trial = Trial(encoder, len(parts.classes), config.precision, config.seed, task.device, task.progress)
            best, score = trial.choose(list(grid), views, parts.train.subset(held_out))
            metrics = trial.test(trial.train(best, views), parts.test)
            figures = {"top1": metrics["top1"], "top5": metrics["top5"], "held_out_top1": score}
            figures |= {"lr": grid[best][0], "epochs": grid[best][1]}
            result |= {f"{prefix}{key}_{100 * share:g}%": value for key, value in figures.items()}
    return result


EVALUATION = Evaluation(
    name="semi",
    config=SemiConfig,
    evaluate=evaluate,
    percent=("*top1_*", "*top5_*"),
    quick=SemiConfig.quick,
    left_out=SemiConfig.left_out,
)
