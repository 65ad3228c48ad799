"""Measures of collapse and progress in closed form, and the verdict's words on constructed cases."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byol.methods.base import Method
from byol.methods.byol import BYOL
from byol.methods.heads import MLP
from byol.methods.infonce import InfoNCE
from byol.methods.moco import MoCo
from byol.methods.simclr import SimCLR
from byol.methods.supervised import Supervised
from byol.pretraining.health import (
    SHRUNKEN_RANK,
    WEAK_MATCH,
    Health,
    effective_rank,
    judge,
    measure,
    norms,
    represent_with,
    spread,
)


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


def look(**changes: Any) -> Health:
    values = {"spread": 0.8, "rank": 20.0, "agreement": 0.7, "match": 0.9, "chance": 1 / 256}
    return Health(**{**values, **changes})


GOOD, FLAT, NARROW = look(), look(spread=0.01), look(rank=1.1)


def test_healthy() -> None:
    verdict = judge([FLAT, GOOD, GOOD], [2.0, 1.0], [3.0, 2.0])
    assert verdict.word == "healthy"
    assert not verdict.stops
    assert "90%" in verdict.sentence
    assert "256" in verdict.sentence
    assert "0.80" in verdict.sentence


@pytest.mark.parametrize("bad", [FLAT, NARROW, look(rank=math.nan, spread=math.nan)])
def test_collapsed(bad: Health) -> None:
    verdict = judge([GOOD, bad, bad], [1.0], [1.0])
    assert verdict.word == "collapsed"
    assert verdict.stops
    assert "--method.predictor-depth" in verdict.advice
    assert "--method.tau" in verdict.advice


@pytest.mark.parametrize("bad", [FLAT, NARROW])
def test_one_bad_look_is_no_collapse(bad: Health) -> None:
    assert judge([GOOD, bad], [1.0], [1.0]).word != "collapsed"
    assert judge([bad, GOOD], [1.0], [1.0]).word == "healthy"


@pytest.mark.parametrize(
    ("losses", "norms"),
    [([1.0, math.nan], [1.0]), ([1.0], [1.0, math.inf]), ([math.inf], [1.0]), ([1.0], [math.nan])],
)
def test_diverged(losses: list[float], norms: list[float]) -> None:
    verdict = judge([GOOD], losses, norms)
    assert verdict.word == "diverged"
    assert verdict.stops
    assert "--optim.lr" in verdict.advice


def test_weak_is_said_but_does_not_stop() -> None:
    few = WEAK_MATCH / 256
    verdict = judge([look(match=0.9 * few)], [1.0], [1.0])
    assert (verdict.word, verdict.stops) == ("weak", False)
    assert "train longer" in verdict.advice
    assert judge([look(match=1.1 * few)], [1.0], [1.0]).word == "healthy"
    assert WEAK_MATCH > 1, "better than chance"
    assert judge([look(match=1 / 256)], [1.0], [1.0]).word == "weak"
    assert judge([], [1.0], [1.0]).word == "weak"


@pytest.mark.parametrize(
    ("method", "predictor", "target"),
    [(BYOL, True, True), (InfoNCE, True, True), (MoCo, False, True), (SimCLR, False, False)],
)
def test_advice_names_what_the_method_has(method: type[Method], predictor: bool, target: bool) -> None:
    for bad in (FLAT, look(rank=0.9 * SHRUNKEN_RANK)):
        advice = judge([bad, bad], [1.0], [1.0], method).advice
        assert ("--method.predictor-depth" in advice, "--method.tau" in advice) == (predictor, target)
        assert advice[0].isupper()


def test_labels_may_leave_few_directions_and_images_of_a_class_alike() -> None:
    told = look(rank=2.5, match=1 / 256)
    assert judge([told, told], [1.0], [1.0], Supervised).word == "healthy"
    assert judge([FLAT, FLAT], [1.0], [1.0], Supervised).word == "collapsed"


def test_a_representation_of_few_directions_is_weak() -> None:
    """The look of a run whose predictor never learned: its features were worth less than an untrained network's."""
    verdict = judge([GOOD, look(spread=0.34, rank=2.7, match=0.03)], [0.4], [1.0])
    assert (verdict.word, verdict.stops) == ("weak", False)
    assert "few directions" in verdict.sentence
    assert "predictor" in verdict.advice
    assert judge([look(rank=1.01 * SHRUNKEN_RANK)], [0.4], [1.0]).word == "healthy"
    assert judge([look(rank=4.0, chance=1 / 8)], [0.4], [1.0]).word == "healthy", "eight images have seven directions"


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
    assert judge([without, without], [0.0], [0.1]).word == "collapsed"
    whole = learn(MLP(16, 64, 16), tau=0.98)
    assert judge([whole, whole], [1.0], [0.1]).word == "healthy", whole
