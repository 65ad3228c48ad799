"""Methods that name groups of images themselves, and learn to tell the names."""

import math
from dataclasses import dataclass
from typing import ClassVar

from byol.config.checks import require
from byol.config.methods.base import MethodConfig, check_temperature


@dataclass(frozen=True, kw_only=True)
class DeepClusterConfig(MethodConfig):
    """DeepCluster: clusters of features as labels (arXiv:1807.05520)."""

    name: ClassVar[str] = "deepcluster"
    clusters: int | None = None
    """k; by default one for each 128 images, 10000 at most, as for ImageNet (Section 4.1)."""
    components: int = 256
    """Principal components of the features that are clustered (Section 4)."""

    def __post_init__(self) -> None:
        enough = self.clusters is None or self.clusters >= 2
        require(enough, "clusters", self.clusters, "2 or more")
        require(self.components >= 1, "components", self.components, "1 or more")

    @property
    def views_in_memory(self) -> int:
        """One view of each image."""
        return 1


@dataclass(frozen=True, kw_only=True)
class SelfLAConfig(MethodConfig):
    """Self-labeling by simultaneous clustering and representation learning (arXiv:1911.05371)."""

    name: ClassVar[str] = "selfla"
    clusters: int | None = None
    """Labels of each head; by default one for each 128 images, 3000 at most (main.py of the released code)."""
    heads: int = 10
    """Labelings that are learned at once, each by a classifier of its own."""
    sharpness: float = 25.0
    """Exponent of the probabilities in the transport: lambda (main.py of the released code)."""

    def __post_init__(self) -> None:
        enough = self.clusters is None or self.clusters >= 2
        require(enough, "clusters", self.clusters, "2 or more")
        require(self.heads >= 1, "heads", self.heads, "1 or more")
        require(0 < self.sharpness < math.inf, "sharpness", self.sharpness, "a number above 0")

    @property
    def views_in_memory(self) -> int:
        """One view of each image."""
        return 1


@dataclass(frozen=True, kw_only=True)
class LocalAggregationConfig(MethodConfig):
    """Local aggregation: close neighbors among the background ones (arXiv:1903.12355)."""

    name: ClassVar[str] = "local-aggregation"
    output: int = 128
    """Size of the vectors in the memory bank."""
    projector_lr: float = 1.0
    """Factor on the learning rate of the projector."""
    background: int = 4096
    """Nearest images that are told from the close ones: k."""
    clusters: int | None = None
    """Clusters of each clustering; by default one for each 128 images, 30000 at most (exp_configs/la_final.json of the
    released code)."""
    clusterings: int = 3
    """Clusterings: an image is close to those of its cluster in any of them. 3 for AlexNet; the released code has 10
    for ResNets (exp_configs/la_final.json)."""
    temperature: float = 0.07
    """Divides the cosines under the exponential."""
    momentum: float = 0.5
    """Share of itself that a vector of the memory bank keeps."""

    def __post_init__(self) -> None:
        for name in ("output", "background", "clusterings"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(0 <= self.projector_lr < math.inf, "projector_lr", self.projector_lr, "a factor of 0 or more")
        enough = self.clusters is None or self.clusters >= 2
        require(enough, "clusters", self.clusters, "2 or more")
        check_temperature(self.temperature)
        require(0 <= self.momentum < 1, "momentum", self.momentum, "from 0 to below 1")

    @property
    def views_in_memory(self) -> int:
        """One view of each image."""
        return 1
