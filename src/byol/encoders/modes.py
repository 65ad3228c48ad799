"""Training mode and evaluation mode of networks, layer by layer."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
"""Layers that keep averages over batches; timm's own inherit from these."""


@contextmanager
def evaluating(*networks: nn.Module) -> Iterator[None]:
    """Networks in evaluation mode; afterwards each layer is in the mode that it was in."""
    before = {module: module.training for network in networks for module in network.modules()}
    for network in networks:
        network.eval()
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training


def hold_batch_norm(network: nn.Module) -> None:
    """Put a network's batch norm into evaluation mode: it normalizes by its averages, and keeps them."""
    for module in network.modules():
        if isinstance(module, BATCH_NORMS):
            module.eval()
