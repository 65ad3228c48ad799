"""First weights: the official code's, and how large they are."""

import math

import torch
from torch import nn

from byol.encoders.modes import BATCH_NORMS


@torch.no_grad()
def initialize(module: nn.Module) -> None:
    """Draw a network's weights as the released code does, by dm-haiku's defaults.

    Convolutions and linear layers come from a normal of standard deviation 1/sqrt(fan_in) cut at two standard
    deviations; biases are 0, batch-norm scales 1 and offsets 0.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            sigma = 1 / math.sqrt(layer.weight[0].numel())
            nn.init.trunc_normal_(layer.weight, std=sigma, a=-2 * sigma, b=2 * sigma)
            if layer.bias is not None:
                layer.bias.zero_()
        elif isinstance(layer, BATCH_NORMS):
            layer.reset_parameters()


@torch.no_grad()
def scale_weights(module: nn.Module, factor: float) -> None:
    """Multiply the weights of a network's convolutions and linear layers."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.weight.mul_(factor)
