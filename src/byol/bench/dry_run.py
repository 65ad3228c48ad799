"""One step of a method without numbers: on PyTorch's meta device, where tensors have a shape and nothing else."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.data.batch import Batch
from byol.errors import UserError
from byol.methods.base import Method, TrainingSet
from byol.methods.table import method_class
from byol.pretraining.state import build_state

META = torch.device("meta")
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
PRODUCTS = (*CONVOLUTIONS, nn.Linear)
"""Layers that multiply matrices."""
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
"""Layers that need statistics of the whole batch."""


@dataclass(frozen=True)
class Pass:
    """One call of a network of the method."""

    weights: int
    """Values of the network's parameters."""
    image_values: int
    """Values of the images that it is given: its inputs of four dimensions."""
    flops: int
    learns: bool
    """Whether gradients are enabled."""
    propagates: bool
    """Whether the backward pass reaches it."""


@dataclass(frozen=True)
class LayerCall:
    """One call of a layer of `PRODUCTS` or `NORMS`."""

    layer: nn.Module
    outputs: int
    """Values that it returns."""
    learns: bool
    propagates: bool


@dataclass(frozen=True)
class DryStep:
    """What a step calls, and its floating-point operations: two per multiply-add."""

    passes: tuple[Pass, ...]
    layers: tuple[LayerCall, ...]
    forward: int
    """Operations outside the backward pass, those of the loss among them."""
    backward: int


def build_on_meta(config: PretrainConfig, data: TrainingSet) -> Method:
    """The networks of a run with shapes only: no weights are drawn or read, no memory is taken."""
    plain = replace(
        config,
        encoder=config.encoder.untrained(),
        optim__activation_checkpointing=False,  # the limit computes nothing twice
        optim__cuda_graph=False,
    )
    with torch.random.fork_rng(devices=[]), META, _explained(config.method.name):
        return build_state(plain, data, META).method.train()


def batch_on_meta(config: PretrainConfig) -> Batch:
    """A micro-batch of a run, with shapes only."""
    method, images = method_class(config.method), config.batch_size // config.optim.accumulate
    views = [torch.empty(images, config.encoder.channels, v.size, v.size, device=META) for v in method.views(config)]
    numbers = torch.zeros(images, dtype=torch.long, device=META)
    return Batch(
        tuple(views),
        labels=numbers if "labels" in method.needs else None,
        index=numbers if "index" in method.needs else None,
        draws=torch.empty(images, method.draws(config), device=META) if "draws" in method.needs else None,
    )


def networks(method: Method) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """The networks that a method calls: owner, name there, and network; lists and dictionaries of them are opened."""
    for name, child in method.named_children():
        if isinstance(child, nn.ModuleList | nn.ModuleDict):
            yield from ((child, key, network) for key, network in child.named_children())
        else:
            yield method, name, child


def dry_step(method: Method, batch: Batch) -> DryStep:
    """Run the forward and backward pass of a micro-batch, and see what is called.

    The method may be on any device; one with memory computes the step, and its buffers change.

    Raises:
        UserError: the method needs values, and is on the meta device.
    """
    passes: list[Pass] = []
    layers: list[LayerCall] = []
    started: list[int] = []
    forward = backward = 0
    counter = FlopCounterMode(display=False)

    def start(network: nn.Module, inputs: tuple[Any, ...]) -> None:
        started.append(counter.get_total_flops())

    def end(network: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        flops = counter.get_total_flops() - started.pop()
        weights = sum(p.numel() for p in network.parameters())
        images = sum(x.numel() for x in _tensors(inputs) if x.dim() == 4)
        propagates = any(x.requires_grad for x in _tensors(output))
        passes.append(Pass(weights, images, flops, torch.is_grad_enabled(), propagates))

    def note(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        layers.append(LayerCall(layer, output.numel(), torch.is_grad_enabled(), output.requires_grad))

    with ExitStack() as hooks, counter, _explained(type(method).__name__):
        for _, _, network in networks(method):
            hooks.callback(network.register_forward_pre_hook(start).remove)
            hooks.callback(network.register_forward_hook(end).remove)
        for module in method.modules():
            if isinstance(module, PRODUCTS + NORMS):
                hooks.callback(module.register_forward_hook(note).remove)
        terms = method.terms(batch)
        for term in terms:
            loss = method(*term)
            before = counter.get_total_flops()
            loss.backward()
            backward += counter.get_total_flops() - before
        forward = counter.get_total_flops() - backward
    method.zero_grad()
    return DryStep(tuple(passes), tuple(layers), forward, backward)


def _tensors(values: Any) -> list[Tensor]:
    given = values if isinstance(values, tuple | list) else (values,)
    return [value for value in given if isinstance(value, Tensor)]


@contextmanager
def _explained(method: str) -> Iterator[None]:
    """Turn the error of an operation that needs values into one sentence."""
    try:
        yield
    except (RuntimeError, TypeError, ValueError) as error:
        why = " ".join(str(error).split())[:100] or type(error).__name__
        raise UserError(
            f"The limit of the method {method} cannot be counted, since its step does not run on shapes alone ({why}); "
            "give another --method."
        ) from error
