"""Methods that tell an image from others: contrastive learning."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from byol.config.checks import require
from byol.config.methods.base import EMAConfig, MethodConfig, PredictorConfig, ProjectorConfig, check_temperature


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
        check_temperature(self.temperature)


@dataclass(frozen=True, kw_only=True)
class SimCLRConfig(ProjectorConfig):
    """SimCLR (arXiv:2002.05709)."""

    name: ClassVar[str] = "simclr"
    temperature: float = 0.1
    """Divides the cosines under the exponential; 0.1 is the best found for it (Table 19; arXiv:2002.05709, Table 5)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_temperature(self.temperature)


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
        check_temperature(self.temperature)
        require(self.queue >= 2, "queue", self.queue, "2 keys or more")
        require(self.splits >= 1, "splits", self.splits, "1 part or more")

    @property
    def views_in_memory(self) -> int:
        """The keys' view has no backward pass."""
        return 1


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
        check_temperature(self.temperature)
        require(0 <= self.momentum < 1, "momentum", self.momentum, "from 0 to below 1")

    @property
    def views_in_memory(self) -> int:
        """One view of each image."""
        return 1


@dataclass(frozen=True, kw_only=True)
class PIRLConfig(MethodConfig):
    """Pretext-invariant representation learning, with jigsaw (arXiv:1912.01991)."""

    name: ClassVar[str] = "pirl"
    output: int = 128
    """Size of the vectors in the memory bank; this and what follows as in VISSL (pirl_jigsaw_4node_resnet50.yaml)."""
    projector_lr: float = 1.0
    """Factor on the learning rate of both heads."""
    weight: float = 0.5
    """Share of the loss that is of the shuffled tiles; the rest is of the image itself: lambda."""
    negatives: int = 32000
    """Images that a batch is told from, drawn from the memory bank with replacement."""
    temperature: float = 0.07
    """Divides the cosines under the exponential."""
    momentum: float = 0.5
    """Share of itself that a vector of the memory bank keeps."""

    def __post_init__(self) -> None:
        for name in ("output", "negatives"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(0 <= self.projector_lr < math.inf, "projector_lr", self.projector_lr, "a factor of 0 or more")
        require(0 <= self.weight <= 1, "weight", self.weight, "a share from 0 to 1")
        check_temperature(self.temperature)
        require(0 <= self.momentum < 1, "momentum", self.momentum, "from 0 to below 1")


@dataclass(frozen=True, kw_only=True)
class InfoMinConfig(MoCoConfig):
    """InfoMin: MoCo v2 with views that have less in common (arXiv:2005.10243)."""

    name: ClassVar[str] = "infomin"
    strength: float = 0.8
    """Strength of brightness, contrast and saturation; that of hue is a quarter of it."""
    smallest: float = 0.2
    """Smallest share of the image's area that a crop covers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.strength <= 1, "strength", self.strength, "a strength from 0 to 1")
        require(0 < self.smallest <= 1, "smallest", self.smallest, "a share of the area, 0 < share <= 1")


@dataclass(frozen=True, kw_only=True)
class CMCConfig(MethodConfig):
    """Contrastive multiview coding of light and color (arXiv:1906.05849)."""

    name: ClassVar[str] = "cmc"
    output: int = 128
    """Size of the vectors in both memory banks (train_CMC.py of the released code)."""
    projector_lr: float = 1.0
    """Factor on the learning rate of both projectors."""
    negatives: int = 16384
    """Images that a batch is told from, drawn from a memory bank with replacement."""
    temperature: float = 0.07
    """Divides the cosines under the exponential."""
    momentum: float = 0.5
    """Share of itself that a vector of a memory bank keeps."""

    def __post_init__(self) -> None:
        for name in ("output", "negatives"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(0 <= self.projector_lr < math.inf, "projector_lr", self.projector_lr, "a factor of 0 or more")
        check_temperature(self.temperature)
        require(0 <= self.momentum < 1, "momentum", self.momentum, "from 0 to below 1")


@dataclass(frozen=True, kw_only=True)
class CPCConfig(MethodConfig):
    """Contrastive predictive coding of images (arXiv:1807.03748; v2: arXiv:1905.09272)."""

    name: ClassVar[str] = "cpc"
    directions: Literal[1, 4] = 4
    """Ways that patches are predicted: 1, downward (v1); 4, from every side (v2)."""
    steps: tuple[int, int] = (2, 5)
    """Nearest and farthest row that is predicted; row 1 overlaps the rows that it would be predicted from."""
    embedding: int = 64
    """Size of the vectors that are compared."""
    width: int = 256
    """Channels of the context network."""
    depth: int = 5
    """Layers of the context network; each sees one row more."""

    def __post_init__(self) -> None:
        near, far = self.steps
        require(1 <= near <= far <= 6, "steps", self.steps, "two rows, from 1 to 6, the nearer one first")
        for name in ("embedding", "width", "depth"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")

    @property
    def views_in_memory(self) -> int:
        """One view, in patches that overlap: three times its pixels."""
        return 3


@dataclass(frozen=True, kw_only=True)
class AMDIMConfig(MethodConfig):
    """Mutual information of an image's features and its places (arXiv:1906.00910; DIM: arXiv:1808.06670)."""

    name: ClassVar[str] = "amdim"
    across: bool = True
    """Places of the other view (AMDIM), or of the same one (local DIM)."""
    output: int = 256
    """Size of the vectors that are compared."""
    clip: float = 20.0
    """Scores are kept softly between minus and plus this (costs.py of the released code)."""
    penalty: float = 0.04
    """Weight of the squared scores (costs.py of the released code)."""

    def __post_init__(self) -> None:
        require(self.output >= 1, "output", self.output, "1 or more")
        require(0 < self.clip < math.inf, "clip", self.clip, "a number above 0")
        require(0 <= self.penalty < math.inf, "penalty", self.penalty, "a weight of 0 or more")
