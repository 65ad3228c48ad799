"""The target network: a copy that moves after the online one (arXiv:2006.07733, Section 3.1)."""

import copy

import torch
from torch import Tensor, nn


def make_target(
    encoder: nn.Module, projector: nn.Module, apart: tuple[nn.Module, nn.Module] | None = None
) -> tuple[nn.Module, nn.Module]:
    """A target that no gradient reaches: a copy of the online network (Appendix J), or the one that starts apart."""
    target_encoder, target_projector = apart or copy.deepcopy((encoder, projector))
    return target_encoder.requires_grad_(False), target_projector.requires_grad_(False)


@torch.no_grad()
def ema_update(target: tuple[nn.Module, nn.Module], online: tuple[nn.Module, nn.Module], tau: float | Tensor) -> None:
    """Move the target's weights to `tau * target + (1 - tau) * online` (Eq. 1).

    Batch-norm statistics are buffers, not weights: each network keeps its own. A tau on the weights' device, in double
    precision, is not read back from there.
    """
    targets: list[Tensor] = [p for module in target for p in module.parameters()]
    sources: list[Tensor] = [p for module in online for p in module.parameters()]
    if isinstance(tau, Tensor):
        ways = torch._foreach_sub(sources, targets)
        torch._foreach_mul_(ways, (1 - tau).to(targets[0].dtype))
        torch._foreach_add_(targets, ways)
    else:
        torch._foreach_lerp_(targets, sources, 1 - tau)
