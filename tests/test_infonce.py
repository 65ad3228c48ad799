"""The InfoNCE family against its formula written out, and its two corners against BYOL and SimCLR."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from byol.config.methods import TargetKind
from byol.methods.base import Progress
from byol.methods.byol import BYOL
from byol.methods.infonce import InfoNCE, objective
from byol.methods.normalization import normalize
from byol.methods.simclr import SimCLR, nt_xent
from small_networks import gradients, online, predictor, views

KINDS: list[TargetKind] = ["ema", "stop-gradient", "online"]


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / a.norm() / b.norm())


def written_out(phi: Tensor, same: Tensor, other: Tensor, beta: float, alpha: float) -> float:
    """J(alpha, beta) of Appendix F.4, term by term."""
    count, total = len(phi), 0.0
    for i in range(count):
        total += 2 / count * cosine(phi[i], other[i])
        inner = sum(math.exp(cosine(phi[i], same[j]) / alpha) for j in range(count) if j != i)
        inner += sum(math.exp(cosine(phi[i], other[j]) / alpha) for j in range(count))
        total -= beta * 2 * alpha / count * math.log(inner)
    return total


@given(
    seed=st.integers(0, 1000),
    count=st.integers(2, 7),
    beta=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    alpha=st.sampled_from([0.03, 0.1, 0.3, 1.0, 10.0]),
)
@settings(deadline=None, max_examples=40)
def test_objective_is_its_formula(seed: int, count: int, beta: float, alpha: float) -> None:
    phi, same, other = torch.randn(3, count, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = objective(normalize(phi), normalize(same), normalize(other), beta=beta, alpha=alpha)
    assert found.item() == pytest.approx(written_out(phi, same, other, beta, alpha), rel=1e-10, abs=1e-10)


def apart(method: BYOL | InfoNCE) -> None:
    """Move the target away from the online network, so that nothing agrees by chance."""
    torch.manual_seed(8)
    with torch.no_grad():
        for p in (*method.target_encoder.parameters(), *method.target_projector.parameters()):
            p.add_(0.3 * torch.randn_like(p))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("norm", [False, True])
def test_without_negatives_it_is_byol_less_a_constant(kind: TargetKind, norm: bool) -> None:
    byol = BYOL(*online(norm), predictor(norm), target=kind)
    family = InfoNCE(*online(norm), predictor(norm), target=kind, beta=0.0)
    if kind == "ema":
        apart(byol), apart(family)
    v1, v2 = views()
    for _ in range(2):  # the second time around with targets that have moved
        theirs, ours = byol(v1, v2), family(v1, v2)
        assert ours.item() == pytest.approx(theirs.item() - 4, rel=1e-12)
        expected, found = gradients(byol, theirs), gradients(family, ours)
        assert expected.keys() == found.keys()
        assert max(g.abs().max() for g in expected.values()) > 1e-3
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-10, atol=1e-12, msg=name)
        byol.update_target(0.7), family.update_target(0.7)


@pytest.mark.parametrize("alpha", [0.1, 0.5])
@pytest.mark.parametrize("norm", [False, True])
def test_without_switches_it_is_simclr_times_two_alpha(alpha: float, norm: bool) -> None:
    family = InfoNCE(*online(norm), nn.Identity(), target="online", beta=1.0, temperature=alpha)
    simclr = SimCLR(*online(norm), temperature=alpha)
    ours, theirs = family(*views()) / (2 * alpha), simclr(*views())
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-12)
    expected, found = gradients(simclr, theirs), gradients(family, ours)
    assert max(g.abs().max() for g in expected.values()) > 1e-3
    assert expected.keys() == found.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-12, msg=name)


def test_both_directions_are_added() -> None:
    family = InfoNCE(*online(), predictor(), beta=0.5, temperature=0.2)
    apart(family)
    v1, v2 = views()
    p1, p2 = (family.predictor(family.projector(family.encoder(v))).detach() for v in (v1, v2))
    t1, t2 = (family.target_projector(family.target_encoder(v)) for v in (v1, v2))
    expected = -written_out(p1, t1, t2, 0.5, 0.2) - written_out(p2, t2, t1, 0.5, 0.2)
    assert family(v1, v2).item() == pytest.approx(expected, rel=1e-10)


def test_only_the_online_target_lets_the_gradient_through() -> None:
    """The gradient with a fixed target is that of a loss whose targets are constants."""
    v1, v2 = views()
    found = {}
    for kind in ("stop-gradient", "online"):
        family = InfoNCE(*online(), predictor(), target=kind, beta=1.0, temperature=0.3)
        found[kind] = gradients(family, family(v1, v2))
    family = InfoNCE(*online(), predictor(), target="online", beta=1.0, temperature=0.3)
    z = [family.projector(family.encoder(v)) for v in (v1, v2)]
    phi, psi = [normalize(family.predictor(x)) for x in z], [normalize(x).detach() for x in z]
    loss = sum(-objective(phi[i], psi[i], psi[1 - i], beta=1.0, alpha=0.3) for i in (0, 1))
    fixed = gradients(family, loss)
    for name, gradient in fixed.items():
        torch.testing.assert_close(found["stop-gradient"][name], gradient, rtol=1e-10, atol=1e-12)
    name = "encoder.linear.weight"
    assert (found["online"][name] - fixed[name]).abs().max() > 1e-2


@given(st.integers(0, 1000), st.integers(2, 7), st.sampled_from([0.05, 0.1, 0.5, 2.0]))
@settings(deadline=None, max_examples=30)
def test_nt_xent_is_twice_the_papers_mean(seed: int, count: int, temperature: float) -> None:
    """Eq. 1 and Algorithm 1 of arXiv:2002.05709, term by term."""
    z1, z2 = torch.randn(2, count, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    everyone = [*z1, *z2]
    mean = 0.0
    for i, z in enumerate(everyone):
        partner = everyone[(i + count) % (2 * count)]
        others = sum(math.exp(cosine(z, other) / temperature) for k, other in enumerate(everyone) if k != i)
        mean -= math.log(math.exp(cosine(z, partner) / temperature) / others) / (2 * count)
    assert nt_xent(z1, z2, temperature).item() == pytest.approx(2 * mean, rel=1e-10)


def test_nt_xent_in_closed_form() -> None:
    same = torch.ones(8, 3, dtype=torch.float64)
    assert nt_xent(same, 5 * same, 0.1).item() == pytest.approx(2 * math.log(15))
    axes = torch.eye(8, dtype=torch.float64)  # each view finds its partner at cosine 1, 14 others at 0
    expected = 2 * math.log(1 + 14 * math.exp(-1 / 0.5))
    assert nt_xent(axes, 3 * axes, 0.5).item() == pytest.approx(expected)
    half = nt_xent(axes.bfloat16(), axes.bfloat16(), 0.5)
    assert half.dtype == torch.float32


def test_methods_without_a_target_network_move_none() -> None:
    assert SimCLR(*online()).scheduled(Progress(0, 1)) == {}
    for method in (
        InfoNCE(*online(), predictor(), target="online"),
        BYOL(*online(), predictor(), target="stop-gradient"),
    ):
        before = {name: value.clone() for name, value in method.state_dict().items()}
        assert not any(name.startswith("target") for name in before)
        method.after_step({"tau": 0.0})
        assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())


@pytest.mark.parametrize("norm", [False, True])
def test_a_hard_copy_at_each_step_is_the_stopped_gradient(norm: bool) -> None:
    """tau = 0 (Table 5a) trains the online network as a target of kind stop-gradient does."""
    copied = BYOL(*online(norm), predictor(norm))
    stopped = BYOL(*online(norm), predictor(norm), target="stop-gradient")
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.3) for m in (copied, stopped)]
    for seed in range(4):
        for method, optimizer in zip((copied, stopped), optimizers, strict=True):
            optimizer.zero_grad()
            method(*views(8, seed)).backward()
            optimizer.step()
            method.update_target(0.0)
    weights = dict(copied.named_parameters())
    for name, weight in stopped.named_parameters():
        torch.testing.assert_close(weight, weights[name], rtol=1e-10, atol=1e-12, msg=name)


def test_an_online_target_pulls_both_ways() -> None:
    method = BYOL(*online(), predictor(), target="online")
    v1, v2 = views()
    z1, z2 = (method.projector(method.encoder(v)) for v in (v1, v2))
    cosines = torch.cosine_similarity(method.predictor(z1), z2) + torch.cosine_similarity(method.predictor(z2), z1)
    expected, found = gradients(method, (4 - 2 * cosines).mean()), gradients(method, method(v1, v2))
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-12, msg=name)
