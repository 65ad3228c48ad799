"""An encoder's layers in their order, and what of it is trained."""

from functools import cache

import torch
from torch import nn

from byol.config.adapt import Trained
from byol.config.encoder import EncoderSpec
from byol.encoders.build import make_encoder
from byol.encoders.modes import BATCH_NORMS
from byol.errors import UserError

NORMALIZATION = (*BATCH_NORMS, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
"""Layers that normalize; timm's own inherit from these."""
LAST_SHARE = 4
"""The last stages or blocks are one in so many: a ResNet's last stage of four, a small transformer's last three blocks
of twelve."""


def layers_of(encoder: nn.Module, stages: bool = False) -> dict[str, int]:
    """The number of the layer that each weight belongs to, from 0, the first, on.

    Args:
        encoder: an encoder of timm.
        stages: count stages, where an encoder has them, and not blocks.

    Raises:
        UserError: timm does not know the order of its layers.
    """
    from timm.models import group_parameters

    matcher = getattr(encoder, "group_matcher", None)
    if matcher is None:
        raise UserError(
            f"timm does not know the order of the layers of a {type(encoder).__name__}; leave --adapt.layer-decay and "
            "--adapt.trains last out."
        )
    return {name: int(layer) for name, layer in group_parameters(encoder, matcher(coarse=stages), reverse=True).items()}


def layer_rates(encoder: nn.Module, decay: float) -> dict[str, float]:
    """Factors on the rate of each weight: 1 in the last layer, and `decay` times the next one's in those before."""
    layers = layers_of(encoder)
    last = max(layers.values())
    return {name: decay ** (last - layer) for name, layer in layers.items()}


@cache
def has_batch_norm(spec: EncoderSpec) -> bool:
    """Whether an encoder has batch norm; transformers and ConvNeXts normalize each image by itself."""
    with torch.device("meta"):
        return any(isinstance(module, BATCH_NORMS) for module in make_encoder(spec.untrained()).modules())


def train_only(encoder: nn.Module, trained: Trained) -> None:
    """Hold the weights of an encoder that are not to be trained: they get no gradient.

    Raises:
        UserError: there are no such weights, or their order is not known.
    """
    if trained == "all":
        return
    names = _last(encoder) if trained == "last" else _normalizations(encoder)
    if not names:
        raise UserError(f"A {type(encoder).__name__} has no normalization layers to train; give --adapt.trains last.")
    for name, weight in encoder.named_parameters():
        weight.requires_grad_(name in names)


def _last(encoder: nn.Module) -> set[str]:
    layers = layers_of(encoder, stages=True)
    matrices = {layers[name] for name, weight in encoder.named_parameters() if weight.ndim > 1}
    later = sorted(matrices)[1:] or sorted(matrices)  # the first is the stem
    first = later[-max(1, len(later) // LAST_SHARE)]
    return {name for name, layer in layers.items() if layer >= first}


def _normalizations(encoder: nn.Module) -> set[str]:
    return {
        f"{path}.{name}" if path else name
        for path, module in encoder.named_modules()
        if isinstance(module, NORMALIZATION)
        for name, _ in module.named_parameters(recurse=False)
    }
