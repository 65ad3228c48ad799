"""LARS as the official code has it, and which weights decay and adapt.

Per tensor (deepmind-research/byol at f5de0ed, utils/optimizers.py:87-188): weight decay is added to the gradient; the
sum is scaled by `trust * |weight| / |sum|`, or left alone where either norm is 0; the momentum gathers the result; the
learning rate multiplies the momentum. There is no epsilon, no clipping and no Nesterov step.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, overload

import torch
from torch import Tensor, nn

TRUST = 1e-3
"""LARS's trust coefficient (arXiv:2006.07733, Section 3.3; optimizers.py:147)."""

MOMENTUM = 0.9
"""Momentum (Section 3.3)."""


def parameter_groups(
    module: nn.Module, weight_decay: float, rates: Mapping[str, float] | None = None
) -> list[dict[str, Any]]:
    """Split the weights in two: those that decay and adapt, and the biases and normalization layers, which do neither.

    The official code leaves out every variable named `b` and every module with `norm` in its name
    (optimizers.py:30-35): in PyTorch, every tensor of fewer than two dimensions. Both groups keep their momentum.

    Args:
        module: whose weights.
        weight_decay: of those that decay.
        rates: factors on the learning rate of parts of the module by name, such as `{"predictor": 2.0}` (lambda and mu
            of Tables 21 and 22), or of layers and weights by their path; the longest name counts. Children of the
            module that are named apart are groups of their own, as are weights of another factor. Every group says its
            factor in `group["rate"]`, by which training multiplies the scheduled learning rate, and the child in
            `group["part"]`, empty for those that are not named.
    """
    named = dict(rates or {})
    parts: dict[tuple[str, float], list[nn.Parameter]] = {("", 1.0): []}
    for name, weight in module.named_parameters():
        if weight.requires_grad:
            path = _longest(name, named)
            parts.setdefault((path.partition(".")[0], named.get(path, 1.0)), []).append(weight)
    groups: list[dict[str, Any]] = []
    for (part, rate), weights in parts.items():
        about = {"rate": rate, "part": part}
        adapted = [p for p in weights if p.ndim > 1]
        excluded = [p for p in weights if p.ndim <= 1]
        groups.append({"params": adapted, "weight_decay": weight_decay, "adapt": True, **about})
        groups.append({"params": excluded, "weight_decay": 0.0, "adapt": False, **about})
    return [group for group in groups if group["params"]]


def _longest(name: str, named: Mapping[str, float]) -> str:
    """The longest of some paths that a weight lies below, or is; empty where there is none."""
    while name and name not in named:
        name = name.rpartition(".")[0]
    return name


class LARS(torch.optim.Optimizer):
    """Layer-wise adaptive rate scaling over groups that say with `adapt` whether a tensor's update is rescaled.

    The whole step is a handful of multi-tensor operations and never reads a norm back to the host.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        momentum: float = MOMENTUM,
        weight_decay: float = 0.0,
        trust: float = TRUST,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust, "adapt": True}
        super().__init__(params, defaults)

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every weight that has a gradient."""
        assert closure is None, "LARS evaluates nothing again"
        for group in self.param_groups:
            weights = [p for p in group["params"] if p.grad is not None]
            if not weights:
                continue
            updates: list[Tensor] = [p.grad for p in weights if p.grad is not None]
            if group["weight_decay"]:
                updates = list(torch._foreach_add(updates, weights, alpha=group["weight_decay"]))
            if group["adapt"]:
                updates = list(torch._foreach_mul(updates, self._ratios(weights, updates, group["trust"])))
            momenta = [self._momentum(p) for p in weights]
            torch._foreach_mul_(momenta, group["momentum"])
            torch._foreach_add_(momenta, updates)
            if isinstance(group["lr"], Tensor):  # as a number it would have to be read back from the device
                torch._foreach_sub_(weights, torch._foreach_mul(momenta, group["lr"]))
            else:
                torch._foreach_add_(weights, momenta, alpha=-group["lr"])
        return None

    @staticmethod
    def _ratios(weights: list[Tensor], updates: list[Tensor], trust: float) -> list[Tensor]:
        weight_norms = torch.stack(list(torch._foreach_norm(weights)))
        update_norms = torch.stack(list(torch._foreach_norm(updates)))
        both = (weight_norms > 0) & (update_norms > 0)
        return list(torch.where(both, trust * weight_norms / update_norms, 1.0).unbind())

    def _momentum(self, weight: Tensor) -> Tensor:
        state = self.state[weight]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weight, memory_format=torch.preserve_format)
        momentum: Tensor = state["momentum"]
        return momentum
