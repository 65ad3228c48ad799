"""Activation checkpointing: the backward pass computes activations again, for less memory and a third more work."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from types import MethodType

from timm.models.resnet import BasicBlock, Bottleneck
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from byol.errors import UserError
from byol.runtime.distributed import BatchNormAcrossProcesses

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, BatchNormAcrossProcesses)
"""Layers with running statistics."""


def checkpoint_activations(encoder: nn.Module, name: str) -> None:
    """Have an encoder keep its stem and the inputs of its blocks; what it learns stays the same.

    Args:
        encoder: a ResNet, or another timm model without batch norm that can do so by itself.
        name: what a message calls it.

    Raises:
        UserError: an encoder of neither kind.
    """
    blocks = [module for module in encoder.modules() if isinstance(module, BasicBlock | Bottleneck)]
    if blocks:
        for block in blocks:
            # bound to its block, so that a copy of the encoder calls its own
            block.forward = MethodType(_forward, block)
        return
    unsuited = UserError(
        f"optim.activation_checkpointing is for ResNets and for timm's encoders without batch norm, not for {name!r}; "
        "leave it out, or take more micro-batches (--optim.accumulate)."
    )
    if _batch_norms(encoder) or not hasattr(encoder, "set_grad_checkpointing"):
        raise unsuited
    try:
        encoder.set_grad_checkpointing(True)  # type: ignore[operator]
    except AssertionError as error:  # how timm says that a family cannot
        raise unsuited from error


def _forward(block: nn.Module, x: Tensor) -> Tensor:
    out: Tensor = checkpoint(
        partial(type(block).forward, block), x, use_reentrant=False, context_fn=partial(_first_and_again, block)
    )
    return out


def _first_and_again(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _apart_from_running_statistics(block)


@contextmanager
def _apart_from_running_statistics(block: nn.Module) -> Iterator[None]:
    """The recomputed forward pass must not update the running statistics again, so it writes to copies."""
    held = [(norm, dict(norm.named_buffers(recurse=False))) for norm in _batch_norms(block)]
    for norm, buffers in held:
        for name, value in buffers.items():
            setattr(norm, name, value.clone())
    try:
        yield
    finally:
        for norm, buffers in held:
            for name, value in buffers.items():
                setattr(norm, name, value)


def _batch_norms(module: nn.Module) -> list[nn.Module]:
    return [part for part in module.modules() if isinstance(part, BATCH_NORMS)]
