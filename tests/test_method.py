"""BYOL itself: the loss in closed form, what learns and what does not, the target, and accumulation."""

import copy
import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from building import build, step_once
from byol.augment.draw import draw_view
from byol.augment.params import ViewParams
from byol.config.encoder import EncoderSpec
from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.data.batch import Batch, CropBatch
from byol.encoders.build import make_encoder
from byol.methods.byol import BYOL, distance
from byol.methods.heads import MLP
from byol.optim.lars import LARS
from byol.pretraining.setup import pipeline_of
from byol.pretraining.state import TrainState, build_optimizer
from byol.runtime.seeds import generator_of

CONFIG = PretrainConfig(
    image_size=8, batch_size=8, epochs=1, device="cpu", precision="float32", encoder=EncoderSpec(name="resnet18")
)
CONFIG = replace(CONFIG, encoder__width=0.125, encoder__stem="small", method__hidden=16, method__output=8)


class Dense(nn.Module):
    """An encoder without batch norm: images (N, C, H, W) -> (N, 6)."""

    num_features = 6

    def __init__(self, values: int = 12, norm: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(values, 6)
        self.norm = nn.BatchNorm1d(6) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.linear(x.flatten(1)))


def small_method(norm: bool = False) -> BYOL:
    """A method of a few values in float64; with batch norm or without."""
    torch.manual_seed(3)
    depth, hidden = (2, 10) if norm else (1, 0)
    method = BYOL(Dense(norm=norm), MLP(6, hidden, 4, depth), MLP(4, hidden, 4, depth))
    with torch.no_grad():  # apart from its online network, so that nothing agrees by chance
        for p in (*method.target_encoder.parameters(), *method.target_projector.parameters()):
            p.add_(0.3 * torch.randn_like(p))
    return method.double()


def views(n: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    both = torch.randn(2, n, 3, 2, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return both[0], both[1]


def test_distance_in_closed_form() -> None:
    p = torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    t = torch.tensor([[5.0, 0.0], [7.0, 0.0], [-0.1, 0.0], [1.0, math.sqrt(3)]], dtype=torch.float64)
    # the same direction, a right angle, the opposite direction, 60 degrees
    assert distance(p, t).tolist() == pytest.approx([0.0, 2.0, 4.0, 1.0], abs=1e-12)


@given(st.integers(0, 1000), st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
@settings(deadline=None, max_examples=30)
def test_distance_is_two_minus_two_cosines_at_any_length(seed: int, a: float, b: float) -> None:
    p, t = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    expected = 2 - 2 * torch.cosine_similarity(p, t)
    torch.testing.assert_close(distance(a * p, b * t), expected)


def test_loss_adds_the_two_directions_and_averages_the_batch() -> None:
    method = small_method()
    v1, v2 = views()
    p1, p2 = (method.predictor(method.projector(method.encoder(v))) for v in (v1, v2))
    t1, t2 = (method.target_projector(method.target_encoder(v)) for v in (v1, v2))
    cosines = torch.cosine_similarity(p1, t2) + torch.cosine_similarity(p2, t1)
    torch.testing.assert_close(method(v1, v2), (4 - 2 * cosines).mean())
    torch.testing.assert_close(method(v1, v2), method(v2, v1))
    assert (method(v1, v2) - method(v1, v1)).abs() > 1e-3


def test_loss_is_zero_where_the_prediction_is_right_and_eight_where_it_is_opposite() -> None:
    class Sign(nn.Module):
        def __init__(self, sign: float) -> None:
            super().__init__()
            self.sign = nn.Parameter(torch.tensor(sign, dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            return self.sign * x

    encoder = Dense().double()
    v, _ = views()
    for sign, loss in ((1.0, 0.0), (-1.0, 8.0)):
        method = BYOL(encoder, nn.Identity(), Sign(sign))
        assert method(v, v).item() == pytest.approx(loss, abs=1e-12)


def test_gradient_reaches_the_online_network_only() -> None:
    method = small_method(norm=True)
    assert not any(p.requires_grad for p in method.target_encoder.parameters())
    method(*views()).backward()
    for part in (method.encoder, method.projector, method.predictor):
        for name, p in part.named_parameters():
            if name in ("linear.bias", "0.bias", "norm.bias") or (part is method.projector and name == "1.bias"):
                continue  # what is added to every row before a batch norm moves nothing
            assert p.grad is not None, name
            assert p.grad.abs().max() > 1e-9, name
    for part in (method.target_encoder, method.target_projector):
        assert all(p.grad is None for p in part.parameters())


def test_gradient_takes_the_target_for_a_constant() -> None:
    method = small_method()
    v1, v2 = views()
    loss = method(v1, v2)
    (gradient,) = torch.autograd.grad(loss, [method.encoder.linear.weight])
    with torch.no_grad():
        t1, t2 = (method.target_projector(method.target_encoder(v)) for v in (v1, v2))
    p1, p2 = (method.predictor(method.projector(method.encoder(v))) for v in (v1, v2))
    constant = (4 - 2 * torch.cosine_similarity(p1, t2) - 2 * torch.cosine_similarity(p2, t1)).mean()
    (expected,) = torch.autograd.grad(constant, [method.encoder.linear.weight])
    torch.testing.assert_close(gradient, expected)


def test_each_view_is_a_batch_of_its_own_for_batch_norm() -> None:
    method = small_method(norm=True)
    v1, v2 = views()
    v2 = 3 * v2 + 5  # unlike the first, so that a joined batch would have other statistics
    before = method.encoder.norm.running_mean.clone()
    linear = method.encoder.linear
    mean1, mean2 = linear(v1.flatten(1)).mean(0), linear(v2.flatten(1)).mean(0)
    var1, var2 = linear(v1.flatten(1)).var(0), linear(v2.flatten(1)).var(0)
    method(v1, v2)
    torch.testing.assert_close(method.encoder.norm.running_mean, 0.9 * (0.9 * before + 0.1 * mean1) + 0.1 * mean2)
    torch.testing.assert_close(method.encoder.norm.running_var, 0.81 + 0.09 * var1 + 0.1 * var2)
    assert method.encoder.norm.num_batches_tracked == 2
    assert method.predictor[1].num_batches_tracked == 2


def test_target_uses_batch_statistics_and_keeps_its_own() -> None:
    method = small_method(norm=True).train()
    v1, v2 = views()
    assert method.target_encoder.training
    linear = method.target_encoder.linear
    expected = 0.09 * linear(v1.flatten(1)).mean(0) + 0.1 * linear(v2.flatten(1)).mean(0)
    method(v1, v2)
    own = method.target_encoder.norm.running_mean.clone()
    torch.testing.assert_close(own, expected)
    assert (own - method.encoder.norm.running_mean).abs().max() > 1e-3
    method.update_target(0.0)  # parameters are copied, buffers are not
    assert torch.equal(method.target_encoder.norm.running_mean, own)
    # batch statistics, not these: others in the buffers change nothing
    loss = method(v1, v2)
    method.target_encoder.norm.running_mean.fill_(100.0)
    torch.testing.assert_close(method(v1, v2), loss)


def test_target_is_a_moving_average_of_parameters() -> None:
    method = small_method(norm=True)
    online = [*method.encoder.parameters(), *method.projector.parameters()]
    target = [*method.target_encoder.parameters(), *method.target_projector.parameters()]
    assert len(online) == len(target)
    before = [p.clone() for p in target]
    untouched = [p.clone() for p in online]
    method.update_target(0.75)
    for old, new, source in zip(before, target, online, strict=True):
        torch.testing.assert_close(new, 0.75 * old + 0.25 * source)
    assert all(torch.equal(a, b) for a, b in zip(untouched, online, strict=True))
    still = [p.clone() for p in target]
    method.update_target(1.0)
    assert all(torch.equal(a, b) for a, b in zip(still, target, strict=True))
    method.update_target(0.0)
    assert all(torch.allclose(a, b, rtol=1e-15) for a, b in zip(online, target, strict=True))


def test_default_heads_are_the_papers() -> None:
    method = BYOL(make_encoder("resnet18", width=0.125))
    assert [tuple(p.shape) for p in method.projector.parameters() if p.ndim > 1] == [(4096, 64), (256, 4096)]
    assert [tuple(p.shape) for p in method.predictor.parameters() if p.ndim > 1] == [(4096, 256), (256, 4096)]


def test_target_starts_as_a_copy_or_apart() -> None:
    def pairs(start: str) -> list[tuple[Tensor, Tensor]]:
        method = build(replace(CONFIG, method__start=start), 3, torch.device("cpu")).method
        online = [*method.encoder.parameters(), *method.projector.parameters()]
        target = [*method.target_encoder.parameters(), *method.target_projector.parameters()]
        for a, b in zip(online, target, strict=True):
            assert a.data_ptr() != b.data_ptr()
        return [(a, b) for a, b in zip(online, target, strict=True) if a.ndim > 1]

    assert all(torch.equal(a, b) for a, b in pairs("copy"))
    assert not any(torch.equal(a, b) for a, b in pairs("apart"))


def test_start_depends_on_the_seed_alone() -> None:
    def weights(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(torch.randint(1000, ()).item())
        return build(replace(CONFIG, seed=seed), 3, torch.device("cpu")).method.state_dict()

    first, again, other = weights(1), weights(1), weights(2)
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["encoder.conv1.weight"], other["encoder.conv1.weight"])


def batches(micro: int, size: int, seed: int = 0) -> list[CropBatch]:
    """`micro` micro-batches that together hold the same `size` images and views, whatever their number."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(size, 3, 12, 12, generator=generator)
    both = CONFIG.augment.view1, CONFIG.augment.view2
    params = [draw_view(view, size, partial(generator_of, seed, n)) for n, view in enumerate(both)]

    def part(p: ViewParams, number: int) -> ViewParams:
        return p[number * size // micro : (number + 1) * size // micro]

    return [
        CropBatch((x, x), (part(params[0], i), part(params[1], i)), pipeline_of(CONFIG), whole=True)
        for i, x in enumerate(images.chunk(micro))
    ]


def state_without_batch_norm() -> TrainState:
    torch.manual_seed(5)
    method = BYOL(Dense(3 * 8 * 8), MLP(6, 0, 4, 1), MLP(4, 0, 4, 1))
    return TrainState(method, build_optimizer(method, CONFIG.optim))


@pytest.mark.parametrize("micro", [2, 4])
def test_micro_batches_equal_one_step_where_there_is_no_batch_norm(micro: int) -> None:
    whole, parts = state_without_batch_norm(), state_without_batch_norm()
    for seed in range(3):
        results = [step_once(state, batches(n, 8, seed), CONFIG, 0.3, 0.9) for state, n in ((whole, 1), (parts, micro))]
        for one, many in zip(*results, strict=True):
            torch.testing.assert_close(many, one, rtol=1e-5, atol=1e-6)
    for (name, one), many in zip(whole.method.named_parameters(), parts.method.parameters(), strict=True):
        torch.testing.assert_close(many, one, rtol=1e-5, atol=1e-6, msg=name)
    assert whole.step == parts.step == 3


def test_micro_batches_average_their_gradients_with_batch_norm() -> None:
    state = build(CONFIG, 3, torch.device("cpu"))
    parts = batches(2, 8)
    gradients = []
    for part in parts:
        method = copy.deepcopy(state.method)
        method(*part.augmented().views).backward()
        gradients.append([p.grad for p in method.parameters() if p.grad is not None])
    expected = torch.stack([((a + b) / 2).norm() for a, b in zip(*gradients, strict=True)]).norm()
    _, norm = step_once(state, parts, CONFIG, 0.1, 0.9)
    torch.testing.assert_close(norm, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("normalization", ["l2", "batch"])
def test_one_direction_after_the_other_is_both_at_once_bit_for_bit(normalization: str) -> None:
    config = replace(CONFIG, method__normalization=normalization)
    method = build(config, 3, torch.device("cpu")).method.train()
    other = copy.deepcopy(method)
    v1, v2 = (torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    whole = method(v1, v2)
    whole.backward()
    parts = []
    for way in other.terms(Batch((v1, v2))):
        parts.append(other(*way))
        parts[-1].backward()
    assert len(parts) == 2
    assert torch.equal(parts[0] + parts[1], whole)
    for (name, one), two in zip(method.named_parameters(), other.parameters(), strict=True):
        assert (one.grad is None) == (two.grad is None), name
        assert one.grad is None or torch.equal(one.grad, two.grad), name
    for (name, one), two in zip(method.named_buffers(), other.buffers(), strict=True):
        assert torch.equal(one, two), name  # batch norm saw the views in the same order


@pytest.mark.parametrize("kind", ["stop-gradient", "online"])
def test_a_target_that_is_the_online_network_takes_both_directions_at_once(kind: str) -> None:
    method = build(replace(CONFIG, method__target=kind), 3, torch.device("cpu")).method
    v1, v2 = torch.randn(2, 4, 3, 8, 8)
    ((one, two),) = method.terms(Batch((v1, v2)))
    assert one is v1
    assert two is v2


def test_a_step_moves_the_target_after_the_optimizer_with_the_tau_it_is_given() -> None:
    state = state_without_batch_norm()
    before = [p.clone() for p in state.method.target_encoder.parameters()]
    start = [p.clone() for p in state.method.encoder.parameters()]
    step_once(state, batches(1, 8), CONFIG, 50.0, 0.5)
    online = list(state.method.encoder.parameters())
    assert not torch.allclose(start[0], online[0])
    for old, new, source in zip(before, state.method.target_encoder.parameters(), online, strict=True):
        torch.testing.assert_close(new, 0.5 * old + 0.5 * source)
    assert all(p.grad is None for p in state.method.parameters())


def test_gradient_is_clipped_to_a_norm() -> None:
    config = replace(CONFIG, optim__clip=0.01, optim__name="sgd", optim__momentum=0.0, optim__weight_decay=0.0)
    state = state_without_batch_norm()
    state.optimizer = build_optimizer(state.method, config.optim)
    before = [p.clone() for p in state.method.parameters()]
    _, norm = step_once(state, batches(1, 8), config, 1.0, 1.0)
    assert norm > 0.02, "the norm reported is the one before clipping"
    moved = torch.stack([(a - b).norm() for a, b in zip(before, state.method.parameters(), strict=True)]).norm()
    assert moved.item() == pytest.approx(0.01, rel=1e-3)


def test_optimizers_share_the_groups_and_take_the_rate_of_the_step() -> None:
    method = small_method(norm=True)
    kinds = {"lars": LARS, "sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}
    for name, kind in kinds.items():
        optimizer = build_optimizer(method, replace(CONFIG, optim__name=name, optim__weight_decay=0.1).optim)
        assert type(optimizer) is kind
        weights, rest = optimizer.param_groups
        assert (weights["weight_decay"], rest["weight_decay"]) == (0.1, 0.0)
        assert all(p.ndim > 1 for p in weights["params"])
        assert all(p.ndim == 1 for p in rest["params"])
        assert sum(len(g["params"]) for g in optimizer.param_groups) == sum(
            p.requires_grad for p in method.parameters()
        )
    state = state_without_batch_norm()
    frozen = [p.clone() for p in state.method.parameters()]
    step_once(state, batches(1, 8), CONFIG, 0.0, 1.0)
    assert all(torch.equal(a, b) for a, b in zip(frozen, state.method.parameters(), strict=True))
