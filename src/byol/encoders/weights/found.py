"""Where a file has an encoder's weights: what every layout answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from byol.config.encoder import EncoderSpec, Padding, Stem
from byol.config.views import IMAGENET_MEAN, IMAGENET_STD, Normalization

IMAGENET = Normalization(IMAGENET_MEAN, IMAGENET_STD)


@dataclass(frozen=True, kw_only=True)
class Stated:
    """What a file or its layout states besides the weights; None where it states nothing."""

    spec: EncoderSpec | None = None
    """The whole encoder: of our own files."""
    architecture: str | None = None
    """A name of timm's, or one that torchvision shares with it."""
    normalization: Normalization | None = None
    heads: int | None = None
    """Attention heads, which the shapes of a transformer's weights do not show."""
    stem: Stem | None = None
    padding: Padding | None = None
    input_size: int | None = None
    """Side of the images, in pixels."""
    license: str | None = None
    epochs: float | None = None


@dataclass(frozen=True, kw_only=True)
class Found:
    """An encoder in a file."""

    layout: str
    """Which program writes such files."""
    weights: Mapping[str, Any]
    """By the names of torchvision's and timm's networks; with the heads, if they lie there."""
    part: str
    """Which part of the file that is, and why that one."""
    left_out: tuple[str, ...] = ()
    """The other parts."""
    head: str = "classifier"
    """What a head among the weights is."""
    stated: Stated = field(default_factory=Stated)


def under(state: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The entries of a state dict under a prefix, without it."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def without_wrapper(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """A state dict without the `module.` of DistributedDataParallel, or the `_orig_mod.` of torch.compile."""
    for wrapper in ("module.", "_orig_mod."):
        if state and all(key.startswith(wrapper) for key in state if "." in key):
            state = {key.removeprefix(wrapper): value for key, value in state.items()}
    return state


def rest(state: Mapping[str, Any], taken: str, words: Mapping[str, str]) -> tuple[str, ...]:
    """What a state dict has besides the prefix that was taken: in the words of a table, else by its first name."""
    others = (key for key in state if not key.startswith(taken))
    said = (next((what for begin, what in words.items() if key.startswith(begin)), key.split(".")[0]) for key in others)
    return tuple(dict.fromkeys(said))


TRAINING = {
    "optimizer": "optimizer",
    "optimizer_states": "optimizer",
    "scaler": "gradient scaler",
    "amp_scaler": "gradient scaler",
    "fp16_scaler": "gradient scaler",
    "queue": "queue",
    "state_dict_ema": "moving average",
    "model_ema": "moving average",
    "lr_schedulers": "learning-rate schedules",
    "lr_scheduler": "learning-rate schedule",
    "message_hub": "training log",
    "dino_loss": "center of the loss",
}
"""Parts of a training checkpoint beside the weights, and what they are called."""


def beside(top: Mapping[str, Any], *taken: str) -> tuple[str, ...]:
    """What a training checkpoint holds besides the parts that were taken; plain numbers and words are not listed."""
    return tuple(dict.fromkeys(TRAINING[key] for key in top if key in TRAINING and key not in taken))


def epochs_in(top: Mapping[str, Any]) -> float | None:
    """How many epochs a training checkpoint says it has behind it."""
    said = top.get("epoch")
    return float(said) if isinstance(said, int | float) and not isinstance(said, bool) else None


def text(value: Any) -> str | None:
    """A value if it is a text that says something."""
    return value if isinstance(value, str) and value else None


def normalization_of(said: Mapping[str, Any]) -> Normalization | None:
    """The mean and deviation of each channel, where a file says both."""
    mean, std = said.get("mean"), said.get("std")
    if not (isinstance(mean, list | tuple) and isinstance(std, list | tuple) and len(mean) == len(std) > 0):
        return None
    return Normalization(tuple(map(float, mean)), tuple(map(float, std)))


def has_encoder(state: Mapping[str, Any]) -> bool:
    """Whether the names at the top of a state dict are those of a ResNet or of a vision transformer."""
    return any(isinstance(state.get(key), Tensor) for key in FIRST_LAYERS)


FIRST_LAYERS = ("conv1.weight", "patch_embed.proj.weight", "conv1.0.weight")
