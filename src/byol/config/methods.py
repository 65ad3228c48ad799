"""The settings of each pretraining method: one dataclass per method, and the table of all of them.

`--method NAME` chooses one; its fields are `--method.x`. What `auto` and the loop must know without building a network
stands here; the methods themselves are in `byol.methods`.
"""

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
class InfoNCEConfig(PredictorConfig):
    """The InfoNCE family between BYOL and SimCLR (Section 5, Appendix F.4)."""

    name: ClassVar[str] = "infonce"
    beta: float = 1.0
    """Weight of the negatives, from 0 (none, as BYOL) to 1 (all, as SimCLR)."""
    temperature: float = 0.1
    """Divides the cosines under the exponential: alpha of Tables 5b and 19."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.beta <= 1, "beta", self.beta, "a weight from 0 to 1")
        _check_temperature(self.temperature)


@dataclass(frozen=True, kw_only=True)
class SimCLRConfig(ProjectorConfig):
    """SimCLR (arXiv:2002.05709)."""

    name: ClassVar[str] = "simclr"
    temperature: float = 0.1
    """Divides the cosines under the exponential; 0.1 is the best found for it (Table 19; arXiv:2002.05709, Table 5)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_temperature(self.temperature)


@dataclass(frozen=True, kw_only=True)
class MoCoConfig(ProjectorConfig, EMAConfig):
    """MoCo v2 (arXiv:1911.05722, Section 3; arXiv:2003.04297): its queue and its batch norm."""

    name: ClassVar[str] = "moco"
    temperature: float = 0.2
    """Divides the cosines under the exponential (arXiv:2003.04297)."""
    queue: int = 65536
    """Keys of earlier batches that serve as negatives; less than an epoch's images, or an image meets itself."""
    shuffle: bool = True
    """Keys see other batch-norm statistics than queries, so that these tell nothing: processes keep their own
    statistics and exchange images; one process splits its batch. Without it, one statistic over the whole batch."""
    splits: int = 8
    """Parts that one process splits a batch into for batch norm, for the 8 GPUs of MoCo."""

    def __post_init__(self) -> None:
        ProjectorConfig.__post_init__(self)
        EMAConfig.__post_init__(self)
        _check_temperature(self.temperature)
        require(self.queue >= 2, "queue", self.queue, "2 keys or more")
        require(self.splits >= 1, "splits", self.splits, "1 part or more")

    @property
    def views_in_memory(self) -> int:
        """The keys' view has no backward pass."""
        return 1


@dataclass(frozen=True, kw_only=True)
class SupervisedConfig(MethodConfig):
    """Learning from labels, with everything else alike."""

    name: ClassVar[str] = "supervised"
    reads_labels: ClassVar[bool] = True


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
class RotationConfig(MethodConfig):
    """Rotation prediction (arXiv:1803.07728)."""

    name: ClassVar[str] = "rotation"

    @property
    def views_in_memory(self) -> int:
        """One view of each image, in four turns."""
        return 4


@dataclass(frozen=True, kw_only=True)
class InstDiscConfig(MethodConfig):
    """Instance discrimination with a memory bank (arXiv:1805.01978): NPID."""

    name: ClassVar[str] = "instdisc"
    output: int = 128
    """Size of the vectors in the memory bank (Section 4.1)."""
    projector_lr: float = 1.0
    """Factor on the learning rate of the projector."""
    negatives: int = 4096
    """Images that each view is told from, drawn from the memory bank with replacement (Section 4.1)."""
    temperature: float = 0.07
    """Divides the cosines under the exponential (Section 4.2)."""
    momentum: float = 0.5
    """Share of itself that a vector of the memory bank keeps (released code)."""

    def __post_init__(self) -> None:
        for name in ("output", "negatives"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(0 <= self.projector_lr < math.inf, "projector_lr", self.projector_lr, "a factor of 0 or more")
        _check_temperature(self.temperature)
        require(0 <= self.momentum < 1, "momentum", self.momentum, "from 0 to below 1")

    @property
    def views_in_memory(self) -> int:
        """One view of each image."""
        return 1


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


def _check_temperature(value: float) -> None:
    require(0 < value < math.inf, "temperature", value, "a number above 0")


AnyMethodConfig = (
    BYOLConfig
    | InfoNCEConfig
    | SimCLRConfig
    | MoCoConfig
    | SupervisedConfig
    | SimSiamConfig
    | VICRegConfig
    | RotationConfig
    | InstDiscConfig
    | MultiCropConfig
)
"""The table of methods."""
