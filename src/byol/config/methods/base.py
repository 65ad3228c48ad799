"""What the settings of several methods have in common."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from byol.config.checks import require

Normalization = Literal["l2", "layer", "none", "batch"]
TargetKind = Literal["ema", "stop-gradient", "online"]


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """What the settings of all methods have in common."""

    name: ClassVar[str]
    """What `--method` takes."""
    reads_labels: ClassVar[bool] = False
    """Whether training reads labels: then images of a reading must be kept out of it, however few there are."""

    @property
    def views_in_memory(self) -> int:
        """Views whose activations a step keeps at once for the backward pass."""
        return 2


@dataclass(frozen=True, kw_only=True)
class ProjectorConfig(MethodConfig):
    """A projector on top of the encoder (Section 3.3)."""

    hidden: int = 4096
    """Width of the heads' hidden layers."""
    output: int = 256
    """Size of the projections."""
    projector_depth: int = 2
    """Linear layers of the projector."""
    projector_lr: float = 1.0
    """Factor on the learning rate of the projector: mu of Table 22."""

    def __post_init__(self) -> None:
        for name in ("hidden", "output", "projector_depth"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(0 <= self.projector_lr < math.inf, "projector_lr", self.projector_lr, "a factor of 0 or more")


@dataclass(frozen=True, kw_only=True)
class EMAConfig(MethodConfig):
    """A target network that is an exponential moving average of the online one (Section 3.1)."""

    tau: float = 0.996
    """Share of itself that the target keeps at the first step; it climbs to 1 along half a cosine.
    0.996 is for 1000 epochs; 0.99 for 100 and 300, 0.97 for 40 (configs/byol.py:21)."""
    constant_tau: bool = False
    """Keep tau where it starts, as in the study of the target (Table 5a)."""

    def __post_init__(self) -> None:
        require(0 <= self.tau <= 1, "tau", self.tau, "from 0 (no memory) to 1 (never moves)")


@dataclass(frozen=True, kw_only=True)
class PredictorConfig(ProjectorConfig, EMAConfig):
    """A projector, a predictor, and the target that it predicts: BYOL, and the family between it and SimCLR."""

    predictor_depth: int = 2
    """Linear layers of the predictor; 0 leaves it out, and BYOL collapses (Table 5b)."""
    predictor_lr: float = 1.0
    """Factor on the learning rate of the predictor: lambda of Tables 21 and 22; 0 leaves it as drawn."""
    target: TargetKind = "ema"
    """What is predicted (Section 5): ema: the projection of a moving average of the online network; stop-gradient: the
    online projection itself, held fixed; online: the same with its gradient."""
    start: Literal["copy", "apart"] = "copy"
    """The target begins as a copy of the online network (Appendix J), or with weights of its own (official code)."""

    def __post_init__(self) -> None:
        ProjectorConfig.__post_init__(self)
        EMAConfig.__post_init__(self)
        require(self.predictor_depth >= 0, "predictor_depth", self.predictor_depth, "0 or more")
        require(0 <= self.predictor_lr < math.inf, "predictor_lr", self.predictor_lr, "a factor of 0 or more")
        has_start = self.target == "ema" or self.start == "copy"
        require(has_start, "method.start", self.start, "'copy', since only a target of kind 'ema' has a start")


def check_temperature(value: float) -> None:
    """Refuse a temperature that is no number above 0."""
    require(0 < value < math.inf, "temperature", value, "a number above 0")
