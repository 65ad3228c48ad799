"""The target network: an exponential moving average of the online one (arXiv:2006.07733, Section 3.1)."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torchvision.ops import StochasticDepth

from byol.config.methods import EMAConfig, TargetKind
from byol.methods.base import Progress
from byol.optim import schedules


@dataclass(frozen=True)
class TauSchedule:
    """Share of itself that the target keeps, step by step."""

    base: float = 0.996
    """At the first step."""
    constant: bool = False
    """Whether it stays there instead of climbing to 1."""

    @classmethod
    def of(cls, config: EMAConfig) -> "TauSchedule":
        """The schedule of a method's settings."""
        return cls(config.tau, config.constant_tau)

    def at(self, progress: Progress) -> float:
        """tau of one step."""
        return self.base if self.constant else schedules.tau(progress.step, base=self.base, total_steps=progress.total)


LONGEST_RUN = TauSchedule()
"""That of the paper's 1000 epochs (Section 3.3)."""


Target = TargetKind | tuple[nn.Module, nn.Module]
"""What is predicted: a kind of target, or the encoder and projector that a moving average starts from."""


def kind_of(target: Target) -> TargetKind:
    """The kind of a target: networks are the start of a moving average."""
    return target if isinstance(target, str) else "ema"


def make_target(encoder: nn.Module, projector: nn.Module, target: Target = "ema") -> tuple[nn.Module, nn.Module]:
    """A target that no gradient reaches: a copy of the online network (Appendix J), or the one that starts apart.

    It drops nothing at random, whatever the online network drops.
    """
    apart = copy.deepcopy((encoder, projector)) if isinstance(target, str) else target
    target_encoder, target_projector = apart
    for network in apart:
        stop_dropping(network)
    return target_encoder.requires_grad_(False), target_projector.requires_grad_(False)


DROPPING = (_DropoutNd, StochasticDepth)
"""Layers with a probability `p` of dropping. timm's own, and functions that a network calls, go by an attribute whose
name has `drop` in it: `drop_prob`, `drop_rate`, `attn_drop_p`."""


def stop_dropping(network: nn.Module) -> None:
    """Set the probabilities of dropout and of drop path to 0, in training mode too.

    A target in training mode, as its batch norm needs, would otherwise be random: some families zero a fifth of the
    features themselves.
    """
    for module in network.modules():
        if isinstance(module, DROPPING):
            module.p = 0.0
        for name, value in vars(module).items():
            if "drop" in name and isinstance(value, float):
                setattr(module, name, 0.0)


@torch.no_grad()
def ema_update(target: tuple[nn.Module, nn.Module], online: tuple[nn.Module, nn.Module], tau: float | Tensor) -> None:
    """Move the target's weights to `tau * target + (1 - tau) * online` (Eq. 1).

    Batch-norm statistics are buffers, not weights: each network keeps its own. A tau on the weights' device, in double
    precision, is not read back from there.
    """
    targets: list[Tensor] = [p for module in target for p in module.parameters()]
    sources: list[Tensor] = [p for module in online for p in module.parameters()]
    if isinstance(tau, Tensor):  # no public function takes it without reading it back
        steps = torch._foreach_sub(sources, targets)
        torch._foreach_mul_(steps, (1 - tau).to(targets[0].dtype))
        torch._foreach_add_(targets, steps)
    else:
        get_ema_multi_avg_fn(tau)(targets, sources, 0)  # type: ignore[no-untyped-call]
