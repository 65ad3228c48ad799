"""EncoderSpec: everything that says which encoder is meant, in one place."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal, Self

from byol.config.checks import require
from byol.config.views import IMAGENET_MEAN, IMAGENET_STD, Normalization

Stem = Literal["standard", "stride2", "small", "padded"]
Padding = Literal["symmetric", "same"]
Init = Literal["timm", "official"]


@dataclass(frozen=True, kw_only=True)
class EncoderSpec:
    """An encoder: its architecture, its first weights, and the images it takes.

    The config of a run, the card of an exported encoder, evaluations, the monitor and the benchmarks all build
    encoders from one of these.
    """

    name: str = "resnet50"
    """Any timm model name, or resnet10; a tag after a dot only with the weights of timm that it names."""
    width: float = 1.0
    """Multiplies every channel of a ResNet, its stem too (Section 3.3); other families take 1 only."""
    stem: Stem = "standard"
    """First layer of a ResNet: standard 7x7 and max-pool; stride2: 3x3 stride 2; small: 3x3 stride 1, up to 64 px;
    padded: small with a padding of 2, as solo-learn's ResNets for CIFAR have it (solo/methods/base.py)."""
    padding: Padding = "symmetric"
    """How strided layers of a ResNet pad: alike on all sides, as timm and torchvision do, or as TensorFlow's SAME, as
    the official code does (docs/faithful.md)."""
    heads: int | None = None
    """Attention heads of a transformer; by default timm's. MoCo v3's ViT-S has 12 (moco-v3, vits.py), timm's has 6."""
    init: Init = "timm"
    """Initial weights: timm's own (He et al.), or the official code's truncated normal."""
    init_scale: float = 1.0
    """Multiplies the initial weights of convolutions and linear layers, the heads' too (Section 5 says that it hardly
    matters)."""
    zero_init_last: bool = False
    """Start residual blocks as the identity; the paper's results did not (README of the official code)."""
    weights: str | None = None
    """Weights to start from instead, as `--weights` takes them: `imagenet` for those that timm has under this name, a
    file, a run, or `hf-hub:...` (docs/weights.md); a head starts anew."""
    input_size: int | None = None
    """Side of the whole images that the trained encoder takes, in pixels; by default, and at least, that of the views.
    Crops show objects larger than whole images do: smaller views show them as large (arXiv:1906.06423), and cost
    less."""
    native_size: int | None = None
    """Side of the images that a network bound to one size is built for, in pixels; by default timm's. A run sets it to
    its image size where the network takes no such images otherwise."""
    mean: tuple[float, ...] = IMAGENET_MEAN
    """Mean of each channel in [0, 1], subtracted from the images."""
    std: tuple[float, ...] = IMAGENET_STD
    """Standard deviation of each channel in [0, 1], divided by after that."""

    def __post_init__(self) -> None:
        for name in ("width", "init_scale"):
            require(0 < getattr(self, name) < math.inf, name, getattr(self, name), "a number above 0")
        for name in ("input_size", "native_size"):
            size = getattr(self, name)
            require(size is None or size >= 8, name, size, "8 pixels or more")
        require(self.heads is None or self.heads >= 1, "heads", self.heads, "1 or more attention heads")
        require(len(self.mean) == len(self.std), "std", self.std, f"as many values as mean has ({len(self.mean)})")
        require(all(s > 0 for s in self.std), "std", self.std, "values above 0")

    @property
    def architecture(self) -> str:
        """The name without the tag of weights: what is built."""
        return self.name.partition(".")[0]

    @property
    def tag(self) -> str | None:
        """What the name says after a dot, by which timm names weights."""
        _, dot, tag = self.name.partition(".")
        return tag if dot else None

    @property
    def channels(self) -> int:
        """Channels of the images: as many as the normalization has values."""
        return len(self.mean)

    @property
    def normalization(self) -> Normalization:
        """Mean and standard deviation of the channels."""
        return Normalization(self.mean, self.std)

    @classmethod
    def of(cls, name: str, channels: int = 3, **settings: Any) -> Self:
        """An encoder for images of so many channels, with the usual normalization of such images."""
        return cls(name=name, **settings).for_channels(channels)

    def for_channels(self, channels: int) -> Self:
        """The same for images of so many channels: ImageNet's mean and deviation for three, else 0.5 and 0.25."""
        if channels == self.channels:
            return self
        known = (IMAGENET_MEAN, IMAGENET_STD) if channels == 3 else ((0.5,) * channels, (0.25,) * channels)
        return dataclasses.replace(self, mean=known[0], std=known[1])

    def untrained(self) -> Self:
        """The same network with fresh weights."""
        return dataclasses.replace(self, name=self.architecture, weights=None)
