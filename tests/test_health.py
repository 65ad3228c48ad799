"""Measures of collapse and progress in closed form, and the verdict's words on constructed cases."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byol.methods.byol import BYOL
from byol.methods.heads import MLP
from byol.pretraining.health import Health, compare, effective_rank, measure, norms, represent_with, spread
from byol.pretraining.verdict import Course, judge


def test_spread_in_closed_form() -> None:
    assert spread(torch.eye(4)[[0, 0, 0]]) == 0.0
    # two opposite points: each is a distance of 1 from their mean
    assert spread(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])) == pytest.approx(1.0)
    # the axes of 4 dimensions: the mean is 1/4 everywhere, the mean squared distance to it 1 - 1/4
    assert spread(torch.eye(4)) == pytest.approx(math.sqrt(0.75))
    # two directions at an angle a: a distance of sin(a / 2) from their mean
    for angle in (0.1, 1.0, 2.5):
        pair = torch.tensor([[1.0, 0.0], [math.cos(angle), math.sin(angle)]])
        assert spread(pair) == pytest.approx(math.sin(angle / 2), rel=1e-5)
    directions = F.normalize(torch.randn(20_000, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    assert spread(directions) == pytest.approx(1.0, abs=1e-3)


def test_rank_in_closed_form() -> None:
    assert effective_rank(torch.ones(5, 3)) == 1.0
    line = torch.linspace(-1, 1, 9).view(-1, 1) * torch.tensor([1.0, 2.0, 3.0])
    assert effective_rank(line) == pytest.approx(1.0, abs=1e-4)
    # orthogonal columns of equal length: as many as there are
    square = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])
    for k in (1, 2, 3):
        assert effective_rank(square[: 2 * k] + 7.0) == pytest.approx(k, abs=1e-4)
    # singular values 3 and 1 after centring: shares 3/4 and 1/4
    two = torch.tensor([[3.0, 0], [-3, 0], [0, 1], [0, -1]])
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert effective_rank(two) == pytest.approx(math.exp(entropy), rel=1e-5)
    assert effective_rank(100 * two) == pytest.approx(math.exp(entropy), rel=1e-5)
    assert math.isnan(effective_rank(torch.tensor([[math.nan, 1.0], [0.0, 1.0]])))


def identity(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.flatten(1), x.flatten(1)


def test_measures_of_two_views() -> None:
    axes = torch.eye(6).view(6, 6, 1, 1)
    same = measure(identity, axes, 3 * axes)
    assert same.agreement == pytest.approx(1.0)
    assert same.match == 1.0
    assert same.chance == pytest.approx(1 / 6)
    shifted = measure(identity, axes, axes.roll(1, 0))
    assert (shifted.agreement, shifted.match) == (0.0, 0.0)
    half = axes.clone()
    half[[0, 1]] = axes[[1, 0]]
    assert measure(identity, axes, half).match == pytest.approx(4 / 6)
    assert measure(identity, axes, half).agreement == pytest.approx(4 / 6)


def test_norms_are_mean_lengths() -> None:
    images = torch.tensor([[3.0, 4.0], [0.0, 1.0]]).view(2, 2, 1, 1)
    found = norms(lambda x: (x.flatten(1), 10 * x.flatten(1)), images)
    assert found == {"norm/representation": pytest.approx(3.0), "norm/projection": pytest.approx(30.0)}


def test_looking_leaves_the_network_as_it_was() -> None:
    encoder = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(12), nn.Linear(12, 5))
    projector = MLP(5, 6, 4)
    encoder.train()
    projector.eval()
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    x = 5 + torch.randn(8, 3, 2, 2)
    features, projections = represent_with(encoder, projector)(x)
    assert (encoder.training, projector.training) == (True, False)
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())
    encoder.eval()  # evaluation mode: one image's features do not depend on the others
    torch.testing.assert_close(features, encoder(x))
    torch.testing.assert_close(projections, projector(encoder(x)))


def learn(predictor: nn.Module, tau: float, steps: int = 150) -> Health:
    """A little BYOL on noisy copies of 64 points, and a look at where it went."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 32))
    encoder.num_features = 32  # type: ignore[assignment]
    method = BYOL(encoder, MLP(32, 64, 16), predictor)
    optimizer = torch.optim.SGD(method.parameters(), lr=0.5, momentum=0.9)
    points = torch.randn(64, 32)

    def view() -> Tensor:
        return points + 0.3 * torch.randn_like(points)

    for _ in range(steps):
        optimizer.zero_grad()
        method(view(), view()).backward()
        optimizer.step()
        method.update_target(tau)
    return measure(represent_with(method.encoder, method.projector), view(), view())


def test_collapse_is_seen_where_nothing_prevents_it_and_only_there() -> None:
    without = learn(nn.Identity(), tau=0.0, steps=400)
    assert without.spread < 0.05
    assert judge(Course([without, without], [0.0], [0.1]), BYOL).word == "collapsed"
    whole = learn(MLP(16, 64, 16), tau=0.98)
    assert not judge(Course([whole, whole], [1.0], [0.1]), BYOL).failed, whole


def test_separation_is_in_deviations_of_other_cosines() -> None:
    """Four unit vectors in the plane, and turned by 60 degrees: own cosines 1/2, the others worked out by hand."""
    angles = torch.tensor([0.0, 90.0, 180.0, 270.0]).deg2rad()
    view1 = torch.stack([angles.cos(), angles.sin()], dim=1)
    view2 = torch.stack([(angles + math.pi / 3).cos(), (angles + math.pi / 3).sin()], dim=1)
    root = math.sqrt(3) / 2
    others = torch.tensor([-root, -0.5, root] * 4)  # cosines of 150, 240 and 330 degrees
    found = compare(view1, view1, view2)
    assert found.separation == pytest.approx((0.5 + 0.5 / 3) / others.std().item(), abs=1e-5)
    assert compare(view1, view1, view1).separation > found.separation
