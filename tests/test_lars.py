"""LARS against an implementation in NumPy, tensor by tensor, and its properties.

The official code's own values are held by test_golden_lars.py.
"""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from byol.config.optim import OptimConfig
from byol.encoders.build import make_encoder
from byol.methods.base import Method
from byol.methods.heads import MLP
from byol.optim.lars import LARS, parameter_groups
from byol.pretraining.state import build_optimizer


class Reference:
    """LARS of one tensor as the paper's Section 3.3 and the protocol of the official code describe it."""

    def __init__(self, weight: NDArray, decay: float, adapt: bool, momentum: float, trust: float) -> None:
        self.weight, self.decay, self.adapt = weight.astype(np.float64), decay, adapt
        self.momentum, self.trust = momentum, trust
        self.memory = np.zeros_like(self.weight)

    def step(self, gradient: NDArray, lr: float) -> None:
        g = gradient.astype(np.float64) + self.decay * self.weight
        size_w, size_g = np.sqrt((self.weight**2).sum()), np.sqrt((g**2).sum())
        if self.adapt and size_w > 0 and size_g > 0:
            g = g * (self.trust * size_w / size_g)
        self.memory = self.momentum * self.memory + g
        self.weight = self.weight - lr * self.memory


SHAPES = [(4, 3), (5,), (2, 3, 3, 3), (1, 1), (7,)]


@given(
    seed=st.integers(0, 10_000),
    decay=st.sampled_from([0.0, 1.5e-6, 0.3]),
    momentum=st.sampled_from([0.0, 0.5, 0.9]),
    trust=st.sampled_from([1e-3, 0.1]),
    scale=st.sampled_from([1e-4, 1.0, 1e3]),
)
@settings(deadline=None, max_examples=40)
def test_five_steps_agree_with_numpy(seed: int, decay: float, momentum: float, trust: float, scale: float) -> None:
    draw = np.random.default_rng(seed)
    module = nn.ParameterList(
        [nn.Parameter(torch.from_numpy(scale * draw.standard_normal(s))) for s in SHAPES]  # float64
    )
    with torch.no_grad():
        module[0].zero_()  # a tensor of norm 0 is not rescaled
    optimizer = LARS(parameter_groups(module, decay), lr=0.0, momentum=momentum, trust=trust)
    references = [
        Reference(p.detach().numpy().copy(), decay if p.ndim > 1 else 0.0, p.ndim > 1, momentum, trust) for p in module
    ]
    for step in range(5):
        lr = 0.3 / (step + 1)
        for p, reference in zip(module, references, strict=True):
            gradient = draw.standard_normal(tuple(p.shape)) * (0 if step == 2 else 1)
            p.grad = torch.from_numpy(np.asarray(gradient))
            reference.step(gradient, lr)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
    for p, reference in zip(module, references, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), reference.weight, rtol=1e-11, atol=1e-13 * scale)


def one_step(weight: torch.Tensor, gradient: torch.Tensor, **settings: Any) -> torch.Tensor:
    p = nn.Parameter(weight.clone())
    p.grad = gradient.clone()
    LARS([p], lr=1.0, **settings).step()
    return p.detach() - weight


@given(st.floats(1e-3, 1e3), st.integers(0, 1000))
@settings(deadline=None, max_examples=30)
def test_update_does_not_depend_on_the_scale_of_the_loss(scale: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight, gradient = torch.randn(2, 6, 4, generator=generator, dtype=torch.float64)
    plain, scaled = one_step(weight, gradient), one_step(weight, scale * gradient)
    torch.testing.assert_close(plain, scaled)
    # its length is the trust coefficient's share of the weight's
    assert plain.norm() / weight.norm() == pytest.approx(1e-3)
    # against the gradient
    torch.testing.assert_close(plain / plain.norm(), -gradient / gradient.norm())


def test_norm_is_taken_after_the_decay() -> None:
    weight, gradient = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 4.0]])
    # g + decay * w = (3, 4), of length 5; trust * 3 / 5 of it
    moved = one_step(weight, gradient, weight_decay=1.0, trust=0.1)
    torch.testing.assert_close(moved, -0.1 * 3 / 5 * torch.tensor([[3.0, 4.0]]))


def test_groups_of_a_network_leave_biases_and_norms_out() -> None:
    network = nn.ModuleDict({"encoder": make_encoder("resnet18", width=0.125), "head": MLP(64, 8, 4, depth=3)})
    adapted, excluded = parameter_groups(network, 0.5)
    assert (adapted["weight_decay"], adapted["adapt"]) == (0.5, True)
    assert (excluded["weight_decay"], excluded["adapt"]) == (0.0, False)
    kinds: dict[int, type] = {id(p): type(m) for m in network.modules() for p in m.parameters(recurse=False)}
    names = {id(p): name for name, p in network.named_parameters()}
    for p in adapted["params"]:
        assert kinds[id(p)] in (nn.Conv2d, nn.Linear)
        assert names[id(p)].endswith("weight")
    for p in excluded["params"]:
        assert kinds[id(p)] in (nn.BatchNorm1d, nn.BatchNorm2d) or names[id(p)].endswith("bias")
    found = [id(p) for p in adapted["params"] + excluded["params"]]
    assert sorted(found) == sorted(names), "every weight is in one group"


def test_frozen_weights_are_in_no_group() -> None:
    layer = nn.Linear(3, 2)
    layer.weight.requires_grad_(False)
    (group,) = parameter_groups(layer, 0.1)
    assert group["params"] == [layer.bias]


@pytest.mark.parametrize("name", ["lars", "sgd", "adamw"])
def test_heads_take_their_own_rate(name: str) -> None:
    """With factors of 2, 1/2 and 0, a part moves so many times as far as without; biases and norms too."""
    optim = OptimConfig(name=name, weight_decay=0.01)  # type: ignore[arg-type]
    moved = {}
    for predictor, projector in ((1.0, 1.0), (2.0, 0.5), (0.0, 1.0)):
        torch.manual_seed(2)
        parts = {"encoder": nn.Linear(8, 8), "projector": MLP(8, 6, 4), "predictor": MLP(4, 6, 4)}
        network = Method().double()
        for part, module in parts.items():
            setattr(network, part, module.double())
        network.lr_factors = {"projector": projector, "predictor": predictor}
        optimizer = build_optimizer(network, optim)
        assert len({id(p) for g in optimizer.param_groups for p in g["params"]}) == len(list(network.parameters()))
        before = {key: p.detach().clone() for key, p in network.named_parameters()}
        for p in network.parameters():
            p.grad = torch.randn_like(p)
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * group["rate"]
            assert group["adapt"] == all(p.ndim > 1 for p in group["params"])
            assert group["weight_decay"] == (0.01 if group["adapt"] else 0.0)
        optimizer.step()
        moved[predictor] = {key: p.detach() - before[key] for key, p in network.named_parameters()}
    for key, plain in moved[1.0].items():
        assert plain.abs().max() > 0
        part = key.partition(".")[0]
        torch.testing.assert_close(moved[2.0][key], {"predictor": 2, "projector": 0.5, "encoder": 1}[part] * plain)
        torch.testing.assert_close(moved[0.0][key], {"predictor": 0, "projector": 1, "encoder": 1}[part] * plain)


def test_a_weight_without_a_gradient_stays() -> None:
    moved, left = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    moved.grad = torch.ones(2, 2)
    LARS([moved, left], lr=1.0).step()
    assert torch.equal(left, torch.ones(2, 2))
    assert (moved < 1).all()


def test_memory_layout_follows_the_weight() -> None:
    weight = nn.Parameter(torch.randn(4, 3, 5, 5).contiguous(memory_format=torch.channels_last))
    weight.grad = torch.randn_like(weight)
    optimizer = LARS([weight], lr=1.0)
    optimizer.step()
    assert optimizer.state[weight]["momentum"].stride() == weight.stride()


class Operations(TorchDispatchMode):
    """Notes the operations that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def test_step_reads_nothing_back_and_does_not_grow_with_the_tensors() -> None:
    def operations(count: int) -> list[str]:
        weights = [nn.Parameter(torch.randn(3, 3)) for _ in range(count)]
        for weight in weights:
            weight.grad = torch.randn(3, 3)
        optimizer = LARS(weights, lr=0.1, weight_decay=0.1)
        optimizer.step()  # the memory is taken
        with Operations() as seen:
            optimizer.step()
        return seen.names

    few, many = operations(2), operations(40)
    assert not any("_local_scalar_dense" in name or "nonzero" in name for name in many), "a value went to the host"
    assert len(few) == len(many), "the number of operations grows with the tensors"
