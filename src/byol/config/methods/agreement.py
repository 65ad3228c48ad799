"""Methods whose views agree without negatives: BYOL and its relatives."""

import math
from dataclasses import dataclass
from typing import ClassVar

from byol.config.checks import require
from byol.config.methods.base import Normalization, PredictorConfig, ProjectorConfig


@dataclass(frozen=True, kw_only=True)
class BYOLConfig(PredictorConfig):
    """Bootstrap Your Own Latent (arXiv:2006.07733)."""

    name: ClassVar[str] = "byol"
    normalization: Normalization = "l2"
    """How predictions and targets are scaled (Table 20): l2: to unit length; layer: less their own mean, to unit
    length; batch: each feature by its mean and spread over the batch; none: not at all."""

    @property
    def views_in_memory(self) -> int:
        """One with a target network: the two directions of the loss are back-propagated one after the other."""
        return 1 if self.target == "ema" else 2


@dataclass(frozen=True, kw_only=True)
class SimSiamConfig(ProjectorConfig):
    """SimSiam (arXiv:2011.10566): BYOL without a target network."""

    name: ClassVar[str] = "simsiam"
    hidden: int = 2048
    """Width of the projector's hidden layers (Section 3)."""
    output: int = 2048
    """Size of projections and predictions (Section 3)."""
    projector_depth: int = 3
    """Linear layers of the projector (Section 3)."""
    predictor_hidden: int = 512
    """Width of the predictor's hidden layer: a bottleneck (Section 3)."""
    predictor_lr: float = 1.0
    """Factor on the learning rate of the predictor."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.predictor_hidden >= 1, "predictor_hidden", self.predictor_hidden, "1 or more")
        require(0 <= self.predictor_lr < math.inf, "predictor_lr", self.predictor_lr, "a factor of 0 or more")


@dataclass(frozen=True, kw_only=True)
class VICRegConfig(ProjectorConfig):
    """VICReg (arXiv:2105.04906): no negatives, no target network, no predictor."""

    name: ClassVar[str] = "vicreg"
    hidden: int = 8192
    """Width of the expander's hidden layers (Section 4.2)."""
    output: int = 8192
    """Size of the embeddings (Section 4.2)."""
    projector_depth: int = 3
    """Linear layers of the expander (Section 4.2)."""
    invariance: float = 25.0
    """Weight of the squared distance of both views' embeddings: lambda (Section 4.2)."""
    variance: float = 25.0
    """Weight of the hinge that keeps each feature's deviation at 1: mu (Section 4.2)."""
    covariance: float = 1.0
    """Weight of the squared covariances of different features: nu (Section 4.2)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("invariance", "variance", "covariance"):
            require(0 <= getattr(self, name) < math.inf, name, getattr(self, name), "a weight of 0 or more")


@dataclass(frozen=True, kw_only=True)
class MultiCropConfig(PredictorConfig):
    """BYOL with multi-crop and a predictor for each kind of view (arXiv:2602.05845)."""

    name: ClassVar[str] = "multicrop"
    normalization: Normalization = "l2"
    """How predictions and targets are scaled, as for byol."""
    local_views: int = 2
    """Small views of each image; four are no better than two in the paper."""
    local_share: float = 96 / 224
    """Side of the small views over that of the large ones (224 and 96 px in the paper)."""
    local_size: int | None = None
    """Side of the small views in pixels, instead."""
    global_area: tuple[float, float] = (0.25, 1.0)
    """Share of the image's area that a large crop covers."""
    local_area: tuple[float, float] = (0.08, 0.25)
    """Share of the image's area that a small crop covers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.target != "online", "method.target", self.target, "'ema' or 'stop-gradient'")
        require(self.local_views >= 1, "local_views", self.local_views, "1 or more (byol has none)")
        require(0 < self.local_share <= 1, "local_share", self.local_share, "a share, 0 < share <= 1")
        fits = self.local_size is None or self.local_size >= 8
        require(fits, "local_size", self.local_size, "8 pixels or more")
        for name in ("global_area", "local_area"):
            low, high = getattr(self, name)
            require(0 < low <= high <= 1, name, (low, high), "two shares of the area, 0 < low <= high <= 1")
