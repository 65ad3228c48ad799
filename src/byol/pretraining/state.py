"""Everything that changes while a run goes on: the method's weights, the optimizer, the step."""

from dataclasses import dataclass
from inspect import signature

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from byol.config.adapt import AdaptConfig
from byol.config.optim import OptimConfig
from byol.config.run import PretrainConfig
from byol.encoders.convolution import speed_up_convolutions
from byol.encoders.layers import layer_rates, train_only
from byol.encoders.modes import hold_batch_norm
from byol.methods.base import Ingredients, Method, TrainingSet
from byol.methods.table import method_class
from byol.optim.lars import LARS, parameter_groups
from byol.runtime import distributed
from byol.runtime.activation_checkpointing import checkpoint_activations
from byol.runtime.seeds import seed_of

STARTED = ("encoder", "target_encoder")
"""Children of a method that have the start weights: other encoders, as CMC's of colors, are fresh."""
TRAINED_FREELY = AdaptConfig()
"""As encoders with fresh weights are."""


@dataclass
class TrainState:
    """Everything that changes while a run goes on; a checkpoint is this."""

    method: Method
    optimizer: torch.optim.Optimizer
    step: int = 0


def build_state(config: PretrainConfig, data: TrainingSet, device: torch.device) -> TrainState:
    """The networks and the optimizer of a run, at step 0."""
    torch.manual_seed(seed_of(config.seed, "weights"))
    chosen = method_class(config.method)
    sizes = tuple(view.size for view in chosen.views(config))
    method = chosen.build(config.method, Ingredients(config.encoder, data, sizes))
    if config.optim.activation_checkpointing:
        checkpoint_activations(method.encoder, config.encoder.name)
    train_only(method.encoder, config.adapt.trains)
    method = method.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if device.type == "cpu" and not config.optim.compile:
        speed_up_convolutions(method)
    if method.shared_batch_norm:
        distributed.synchronize_batch_norm(method, device)
    return TrainState(method, build_optimizer(method, config.optim, config.adapt))


def build_optimizer(method: Method, optim: OptimConfig, adapt: AdaptConfig = TRAINED_FREELY) -> torch.optim.Optimizer:
    """LARS, SGD or AdamW, each over the same groups of weights; the rate is set at every step."""
    rates = {name: factor for name, factor in method.lr_factors.items() if factor != 1}
    if adapt.has_own_rate:
        rates["encoder"] = 1.0
    if adapt.layer_decay != 1:
        rates |= {f"encoder.{name}": rate for name, rate in layer_rates(method.encoder, adapt.layer_decay).items()}
    groups = parameter_groups(method, optim.weight_decay, rates)
    if optim.name == "lars":
        return LARS(groups, lr=0.0, momentum=optim.momentum, trust=optim.trust)
    if optim.name == "sgd":
        # in a CUDA graph the rate is a tensor, which the fused step alone does not read back
        return torch.optim.SGD(groups, lr=0.0, momentum=optim.momentum, fused=optim.cuda_graph or None)
    # fused: one pass over the weights where there would be a dozen, and the same numbers within rounding
    betas = optim.momentum, optim.beta2
    return torch.optim.AdamW(groups, lr=0.0, betas=betas, fused=True, capturable=optim.cuda_graph)


def set_training_mode(network: nn.Module, method: Method, adapt: AdaptConfig) -> None:
    """Put a method, and what wraps it, in training mode, but for what its encoders keep.

    Args:
        network: the method, or DistributedDataParallel around it.
        method: whose encoders they are, online and target (`STARTED`).
        adapt: whether their batch norm stays in evaluation mode.
    """
    network.train()
    if adapt.keeps_averages:
        for name, child in method.named_children():
            if name in STARTED:
                hold_batch_norm(child)


def parallel(method: Method, device: torch.device, compiled: bool = False) -> nn.Module:
    """The method, its gradients averaged over the processes if there are several; `compiled`: by torch.compile."""
    for network in method.children() if compiled else ():
        network.compile(dynamic=False)  # the run's shapes never change
    if distributed.world_size() == 1:
        return method
    # batch-norm statistics are the same in every process already, so no buffers are sent
    known = signature(DistributedDataParallel.__init__).parameters
    setting = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # before torch 2.14
    devices = [device.index] if device.type == "cuda" else None
    options: dict[str, object] = {"device_ids": devices, "gradient_as_bucket_view": True, setting: False}
    return DistributedDataParallel(method, **options)  # type: ignore[arg-type]
