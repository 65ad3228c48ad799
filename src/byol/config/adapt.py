"""How far an encoder that starts from weights may move away from them."""

from dataclasses import dataclass
from typing import Literal

from byol.config.checks import require

Trained = Literal["all", "last", "norm"]
"""What of an encoder is trained."""


@dataclass(frozen=True, kw_only=True)
class AdaptConfig:
    """How an encoder that starts from weights (`--weights`) is trained; by default as from fresh ones.

    Fresh heads under a full rate wash out what an encoder knows (facebookresearch/dino issue 284, dinov2 issue 204).
    """

    lr: float = 1.0
    """Factor on the encoder's learning rate; the heads have that of `optim`."""
    layer_decay: float = 1.0
    """Factor on the encoder's rate from each of its blocks to the one before: first layers move least."""
    frozen: float = 0.0
    """Share of the updates, at the start, in which the encoder is frozen and the heads learn alone; over as many more
    its rate climbs."""
    batch_norm: Literal["train", "eval"] = "train"
    """eval: the encoder's batch norm normalizes by the averages that came with its weights, and keeps them."""
    trains: Trained = "all"
    """What of the encoder is trained: all; last, the last quarter of its stages or blocks (a ResNet's last stage); or
    norm, the scales and offsets of its normalization layers."""

    def __post_init__(self) -> None:
        require(0 <= self.lr <= 1000, "lr", self.lr, "from 0 to 1000")
        require(0 < self.layer_decay <= 1, "layer_decay", self.layer_decay, "above 0 and at most 1")
        require(0 <= self.frozen <= 0.5, "frozen", self.frozen, "from 0 to 0.5 of the updates")

    @property
    def keeps_averages(self) -> bool:
        """Whether the encoder's batch norm stays in evaluation mode."""
        return self.batch_norm == "eval"

    @property
    def has_own_rate(self) -> bool:
        """Whether the encoder's rate differs from that of the heads at some update."""
        return self.lr != 1 or self.layer_decay != 1 or self.frozen > 0
