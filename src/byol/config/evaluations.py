"""Settings that the command line must know before it loads anything: those of features, and of `byol verdict`.

The other evaluations bring their own (`evals/`).
"""

from dataclasses import dataclass, field, replace

from byol.config.run import Precision
from byol.errors import UserError

FEW_L2 = 0.1
"""Penalty of the fits with too few labels to choose one. Of 0.001, 0.01, 0.1, 1 and 10 it is the best or within a point
of it for 1 to 100 labels per class on CIFAR-10, for pixels and for an untrained ResNet-18. It was chosen before any
trained encoder was evaluated."""


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """How features are computed and stored."""

    batch_size: int = 256
    """Images per forward pass; it affects speed and memory only."""
    workers: int | None = None
    """Threads that decode images; one per core by default."""
    precision: Precision = "auto"
    """Precision of the forward pass: bf16 where the hardware multiplies it, else float32. Features are float32."""
    cache: bool = True
    """Store features on the disk, under a name made from the encoder's weights, the data, the transform and the
    precision."""
    folder: str | None = None
    """Folder of stored features; by default `$BYOL_HOME/features` (`~/.cache/byol/features`)."""


@dataclass(frozen=True, kw_only=True)
class VerdictConfig:
    """How an encoder is compared; our own protocol, the paper has no such table."""

    per_class: tuple[int, ...] = (1, 5, 10)
    """Labels per class; the last column has all labels. Numbers above the size of the rarest class are left out."""
    draws: int = 5
    """Random draws of the labels, the same for every row; the standard deviation is over these."""
    l2: float = FEW_L2
    """Penalty of the linear classifier with few labels, see `fewshot`; with all labels a tenth of them chooses it."""
    scratch: bool = True
    """Also train the same architecture from scratch on the same labels."""
    scratch_draws: int = 2
    """Draws for that row, which costs the most."""
    scratch_epochs: float = 20
    """Passes over the labels for that row."""
    scratch_steps: int = 200
    """Smallest number of updates for that row."""
    scratch_batch: int = 64
    """Images per update for that row."""
    scratch_lr: float = 0.05
    """Peak learning rate for that row, with cosine decay and weight decay 5e-4: usual for small ResNets."""
    imagenet: bool = True
    """Compare with the same architecture's supervised ImageNet weights, if timm can download them; a ResNet cut from a
    larger one is compared with that one."""
    seed: int = 0
    """Seed of the draws and of the untrained weights."""
    features: FeatureConfig = field(default_factory=FeatureConfig)

    def __post_init__(self) -> None:
        if not self.per_class or min(self.per_class) < 1:
            raise UserError(f"per_class is {self.per_class}, but must be one number or more, each 1 or more.")
        if min(self.draws, self.scratch_draws, self.scratch_steps) < 1 or self.scratch_batch < 2:
            raise UserError("draws, scratch_draws and scratch_steps must be 1 or more, scratch_batch 2 or more.")

    def quick(self) -> "VerdictConfig":
        """A subset in minutes: three draws, no row from scratch, no ImageNet weights."""
        return replace(self, draws=3, scratch=False, imagenet=False)
