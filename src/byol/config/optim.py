"""The settings of the optimizer and of how a step is computed."""

import math
from dataclasses import dataclass
from typing import Literal

from byol.config.checks import require


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """LARS as the paper trains with it (arXiv:2006.07733, Section 3.3); SGD and AdamW for small recipes."""

    name: Literal["lars", "sgd", "adamw"] = "lars"
    """LARS adapts the rate to each tensor; SGD and AdamW are PyTorch's, over the same groups."""
    lr: float = 0.2
    """Learning rate per 256 images; the peak rate is `lr * batch_size / 256`.
    0.2 is for 1000 epochs; the official presets have 0.3 for 300, 0.45 for 100 (configs/byol.py:21)."""
    weight_decay: float = 1.5e-6
    """Weight decay; biases and normalization layers have none. 1.5e-6 is for 1000 epochs, 1e-6 for fewer."""
    momentum: float = 0.9
    """Momentum of LARS and SGD; the first beta of AdamW."""
    beta2: float = 0.999
    """The second beta of AdamW."""
    trust: float = 1e-3
    """LARS's trust coefficient."""
    warmup_epochs: float = 10
    """Epochs over which the rate climbs to its peak; at most a quarter of the run, as in the 40-epoch preset."""
    accumulate: int = 1
    """Micro-batches that a batch is split into: memory falls, and batch norm sees the smaller ones (Section 5)."""
    activation_checkpointing: bool = False
    """Compute the encoder's activations again in the backward pass instead of keeping them: less memory for at
    most a third more work, and the same updates."""
    compile: bool = False
    """Have torch.compile fuse what the networks do, and the views' color on a GPU; for GPUs."""
    cuda_graph: bool = False
    """Record an update once, its passes and the weights' move after them, and start each half as one operation from
    then on: for small images on a GPU, where starting operations takes longer than the operations."""
    clip: float | None = None
    """Largest norm of the whole gradient; none in the paper."""

    def __post_init__(self) -> None:
        require(0 < self.lr < math.inf, "lr", self.lr, "a number above 0")
        require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "0 or more")
        require(0 <= self.momentum < 1, "momentum", self.momentum, "from 0 to below 1")
        require(0 <= self.beta2 < 1, "beta2", self.beta2, "from 0 to below 1")
        require(self.trust > 0, "trust", self.trust, "a number above 0")
        require(self.warmup_epochs >= 0, "warmup_epochs", self.warmup_epochs, "0 or more")
        require(self.accumulate >= 1, "accumulate", self.accumulate, "1 or more micro-batches")
        for name in ("compile", "cuda_graph"):
            both = getattr(self, name) and self.activation_checkpointing
            require(not both, name, getattr(self, name), "False with activation_checkpointing; leave one out")
        require(self.clip is None or self.clip > 0, "clip", self.clip, "a number above 0, or None")

    def peak_lr(self, batch_size: int) -> float:
        """Learning rate at the end of the warm-up, for a global batch of `batch_size` images."""
        return self.lr * batch_size / 256
