"""Methods that solve a task: one made of the image itself, or the labels."""

import math
from dataclasses import dataclass
from typing import ClassVar

from byol.config.checks import require
from byol.config.methods.base import MethodConfig


@dataclass(frozen=True, kw_only=True)
class SupervisedConfig(MethodConfig):
    """Learning from labels, with everything else alike."""

    name: ClassVar[str] = "supervised"
    reads_labels: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class RotationConfig(MethodConfig):
    """Rotation prediction (arXiv:1803.07728)."""

    name: ClassVar[str] = "rotation"

    @property
    def views_in_memory(self) -> int:
        """One view of each image, in four turns."""
        return 4


@dataclass(frozen=True, kw_only=True)
class ExemplarConfig(MethodConfig):
    """Exemplar-CNN: every image is a class of its own (arXiv:1406.6909)."""

    name: ClassVar[str] = "exemplar"

    @property
    def views_in_memory(self) -> int:
        """One view of each image."""
        return 1


@dataclass(frozen=True, kw_only=True)
class JigsawConfig(MethodConfig):
    """Jigsaw puzzles (arXiv:1603.09246)."""

    name: ClassVar[str] = "jigsaw"
    permutations: int = 1000
    """Orders of the nine tiles that are told apart."""
    embedding: int = 512
    """Size of a tile's vector."""
    width: int = 4096
    """Width of the layer that sees all nine."""
    gray: float = 0.3
    """Share of the images that are gray, so that the colors' fringes do not tell a tile's place."""

    def __post_init__(self) -> None:
        require(2 <= self.permutations <= 10_000, "permutations", self.permutations, "from 2 to 10000 orders")
        for name in ("embedding", "width"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(0 <= self.gray <= 1, "gray", self.gray, "a share from 0 to 1")

    @property
    def views_in_memory(self) -> int:
        """One view, in tiles."""
        return 1


@dataclass(frozen=True, kw_only=True)
class ContextConfig(MethodConfig):
    """Context prediction: the place of a patch beside another (arXiv:1505.05192)."""

    name: ClassVar[str] = "context"
    patch: float = 0.25
    """Side of a patch over that of the view: 96 px, with gaps of half a patch between them (Section 3)."""
    jitter: float = 7 / 96
    """Farthest that a patch is shifted either way, over its side: 7 px of 96 (Section 3.1)."""
    width: int = 4096
    """Width of the layer that sees both patches: fc7 (Figure 3)."""
    projection: bool = True
    """Take the colors' component between green and magenta away, which tells the place by chromatic aberration."""

    def __post_init__(self) -> None:
        require(0 < self.patch <= 1 / 3, "patch", self.patch, "a share of the view's side up to a third")
        require(0 <= self.jitter <= 0.5, "jitter", self.jitter, "a share of a patch's side up to a half")
        require(self.width >= 1, "width", self.width, "1 or more")

    @property
    def views_in_memory(self) -> int:
        """One view, of which two patches."""
        return 1


@dataclass(frozen=True, kw_only=True)
class ColorizationConfig(MethodConfig):
    """Colorization: the colors of a gray image (arXiv:1603.08511)."""

    name: ClassVar[str] = "colorization"
    width: int = 512
    """Channels of the decoder's first block; each next one has half as many."""
    rebalance: float = 0.5
    """How much rare colors count more: 1 - lambda of Eq. 4; 0 counts all alike (Section 2.2)."""

    def __post_init__(self) -> None:
        require(self.width >= 1, "width", self.width, "1 or more")
        require(0 <= self.rebalance < 1, "rebalance", self.rebalance, "from 0 to below 1")

    @property
    def views_in_memory(self) -> int:
        """One view."""
        return 1


@dataclass(frozen=True, kw_only=True)
class InpaintingConfig(MethodConfig):
    """Context encoder: what is missing in holes of the image (arXiv:1604.07379)."""

    name: ClassVar[str] = "inpainting"
    holes: int = 4
    """Square holes in an image, which may overlap (Section 3.3: random block)."""
    hole: float = 0.25
    """Side of a hole over that of the view; four of a quarter are up to a quarter of the image (Section 3.3)."""
    width: int = 512
    """Channels of the decoder's first block; each next one has half as many."""

    def __post_init__(self) -> None:
        require(self.holes >= 1, "holes", self.holes, "1 or more")
        require(0 < self.hole < 1, "hole", self.hole, "a share of the view's side between 0 and 1")
        require(self.width >= 1, "width", self.width, "1 or more")

    @property
    def views_in_memory(self) -> int:
        """One view, and a decoder of it."""
        return 2


@dataclass(frozen=True, kw_only=True)
class VAEConfig(MethodConfig):
    """A variational autoencoder (arXiv:1312.6114)."""

    name: ClassVar[str] = "vae"
    latent: int = 128
    """Numbers that describe an image."""
    divergence: float = 1.0
    """Weight of the divergence from the standard normal: beta of beta-VAE; 1 is the evidence lower bound."""
    spread: float = 0.5
    """Standard deviation of the pixels around what the decoder paints, in normalized values."""
    width: int = 512
    """Channels of the decoder's first block; each next one has half as many."""

    def __post_init__(self) -> None:
        for name in ("latent", "width"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(0 <= self.divergence < math.inf, "divergence", self.divergence, "a weight of 0 or more")
        require(0 < self.spread < math.inf, "spread", self.spread, "a number above 0")
