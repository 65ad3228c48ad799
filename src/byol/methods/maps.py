"""Feature maps: what an encoder knows of each place of an image, before it is averaged to one vector."""

import warnings
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from byol.config.encoder import EncoderSpec
from byol.config.run import PretrainConfig
from byol.encoders.build import make_encoder
from byol.errors import UserError


def feature_map(encoder: nn.Module, images: Tensor) -> Tensor:
    """The last feature map, (N, C, S, S) -> (N, D, h, w)."""
    found: Tensor = encoder.forward_features(images)  # type: ignore[operator]
    return found.permute(0, 3, 1, 2) if getattr(encoder, "output_fmt", "NCHW") == "NHWC" else found


def features_and_maps(encoder: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """The features (N, D), and the map of the stage before the last, (N, E, h, w), in one pass."""
    last, (before,) = encoder.forward_intermediates(images, indices=[-2])  # type: ignore[operator]
    features: Tensor = encoder.forward_head(last)  # type: ignore[operator]
    return features, before


@cache
def map_shape(spec: EncoderSpec, size: int) -> tuple[int, int] | None:
    """Channels and side of the last map of square images of a size; None where an encoder has no maps."""
    return _shape(spec, size, feature_map)


@cache
def early_map_shape(spec: EncoderSpec, size: int) -> tuple[int, int] | None:
    """The same of the map before the last stage."""
    return _shape(spec, size, lambda encoder, images: features_and_maps(encoder, images)[1])


def _shape(spec: EncoderSpec, size: int, passes: Callable[[nn.Module, Tensor], Tensor]) -> tuple[int, int] | None:
    with torch.device("meta"), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is wrong is the answer
        encoder = make_encoder(spec.untrained()).eval()
        try:
            found = passes(encoder, torch.empty(2, spec.channels, size, size))
        except (AssertionError, AttributeError, IndexError, RuntimeError, TypeError, ValueError):
            return None
    square = found.ndim == 4 and found.shape[2] == found.shape[3]
    return (found.shape[1], found.shape[2]) if square else None


def check_maps(config: PretrainConfig, shape: tuple[int, int] | None) -> None:
    """See that a run's encoder has feature maps, given their shape.

    Raises:
        UserError: it has none.
    """
    if shape is None:
        raise UserError(
            f"The method {config.method.name} needs an encoder with feature maps, but {config.encoder.name!r} has "
            "none; give a convolutional --encoder, such as resnet18."
        )
