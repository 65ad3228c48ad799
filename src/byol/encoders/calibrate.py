"""Batch norm of a network that was never trained: its averages are those of no images until it has seen some."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from byol.encoders.modes import BATCH_NORMS, evaluating
from byol.runtime.device import autocast

CALIBRATION_IMAGES = 512
"""Images whose statistics are enough. With no weight changed they lift an untrained network's 20-NN accuracy from 44 to
54 % on the embedded photographs, and hardly on CIFAR-10 (docs/health.md; benchmarks/results/baseline.json)."""


@torch.no_grad()
def calibrate_batch_norm(network: nn.Module, batches: Iterable[Tensor], bf16: bool = False) -> None:
    """Set the running averages of a network's batch norm to the statistics of some images; no weight is changed.

    Everything but batch norm is in evaluation mode meanwhile, and every mode is restored.

    Args:
        network: takes the batches; nothing happens if it has no batch norm that keeps averages.
        batches: normalized images (N, C, H, W), N > 1; the averages are means over the batches.
        bf16: whether the network runs in mixed precision.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, BATCH_NORMS) and layer.track_running_stats]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    with evaluating(network):
        for layer in layers:
            layer.reset_running_stats()
            layer.train()
        try:
            for number, batch in enumerate(batches):
                for layer in layers:
                    layer.momentum = 1 / (number + 1)  # a plain mean over the batches
                with autocast(batch.device, bf16):
                    network(batch)
        finally:
            for layer, momentum in zip(layers, momenta, strict=True):
                layer.momentum = momentum
