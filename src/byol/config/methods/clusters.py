"""Methods that name groups of images themselves, and learn to tell the names."""

from dataclasses import dataclass
from typing import ClassVar

from byol.config.checks import require
from byol.config.methods.base import MethodConfig


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
