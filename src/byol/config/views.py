"""The settings of the data augmentation: T and T' of the paper."""

from dataclasses import dataclass

from byol.config.checks import require

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of ImageNet's channels in [0, 1] (official code, utils/dataset.py:63)."""
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Standard deviation of ImageNet's channels in [0, 1] (utils/dataset.py:63)."""


@dataclass(frozen=True, kw_only=True)
class ViewConfig:
    """How one view is made: T or T' of the paper (arXiv:2006.07733, Appendix B, Table 6).

    Color strengths have the official code's meaning (utils/augmentations.py), which is TensorFlow's, not
    torchvision's: brightness is added, contrast scales around each channel's mean, saturation scales S of HSV.
    """

    area: tuple[float, float] = (0.08, 1.0)
    """Share of the image's area that a crop covers, drawn uniformly."""
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    """Aspect ratio of a crop, drawn uniformly in its logarithm."""
    flip: float = 0.5
    """Probability of a horizontal flip."""
    vertical_flip: float = 0.0
    """Probability of a vertical flip: not in the paper; for images that have no up, as from above or a microscope."""
    jitter: float = 0.8
    """Probability of the four color operations, in random order."""
    brightness: float = 0.4
    """Most that is added to or taken from every value."""
    contrast: float = 0.4
    """Most that contrast differs from 1."""
    saturation: float = 0.2
    """Most that saturation differs from 1."""
    hue: float = 0.1
    """Largest turn of the hue, in turns."""
    gray: float = 0.2
    """Probability of losing all color."""
    blur: float = 1.0
    """Probability of a Gaussian blur."""
    sigma: tuple[float, float] = (0.1, 2.0)
    """Width of the blur in pixels, drawn uniformly."""
    solarize: float = 0.0
    """Probability of inverting every value from the threshold up."""
    solarize_threshold: float = 0.5

    def __post_init__(self) -> None:
        for name in ("flip", "vertical_flip", "jitter", "gray", "blur", "solarize"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "a probability from 0 to 1")
        for name in ("brightness", "contrast", "saturation", "hue"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "a strength from 0 to 1")
        low, high = self.area
        require(0 < low <= high <= 1, "area", self.area, "two shares of the area, 0 < low <= high <= 1")
        low, high = self.aspect
        require(0 < low <= high, "aspect", self.aspect, "two ratios, 0 < low <= high")
        low, high = self.sigma
        require(0 < low <= high, "sigma", self.sigma, "two widths in pixels, 0 < low <= high")


@dataclass(frozen=True)
class ViewSpec:
    """One of the views that a batch has."""

    config: ViewConfig
    """Its operations."""
    size: int
    """Its side in pixels."""


@dataclass(frozen=True)
class Normalization:
    """What is subtracted from each channel in [0, 1], and what it is then divided by."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """The data augmentation: how the two views of an image are drawn."""

    view1: ViewConfig = ViewConfig()
    """T: always blurred, never solarized."""
    view2: ViewConfig = ViewConfig(blur=0.1, solarize=0.2)
    """T': seldom blurred, solarized one time in five."""
