"""SimSiam: the loss in closed form, the stop-gradient, the networks of a run."""

import math

import pytest
import torch
from torch import nn

from byol.config.encoder import EncoderSpec
from byol.config.methods import SimSiamConfig
from byol.methods.base import Ingredients, TrainingSet
from byol.methods.simsiam import SimSiam, normalized_mlp
from small_networks import gradients, online, predictor, views


def test_identical_views_and_an_identity_predictor_reach_the_least_loss() -> None:
    view, _ = views()
    method = SimSiam(*online(), nn.Identity())
    assert method(view, view).item() == pytest.approx(-1, abs=1e-12)


def test_the_loss_is_the_mean_negative_cosine_of_both_directions() -> None:
    view1, view2 = views()
    method = SimSiam(*online(), predictor())
    z = [method.projector(method.encoder(v)) for v in (view1, view2)]
    p = [method.predictor(one) for one in z]

    def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
        rows = [(x @ y / (x.norm() * y.norm())).item() for x, y in zip(a, b, strict=True)]
        return math.fsum(rows) / len(rows)

    expected = -(cosine(p[0], z[1]) + cosine(p[1], z[0])) / 2
    assert method(view1, view2).item() == pytest.approx(expected, rel=1e-12)


def test_no_gradient_flows_through_what_is_predicted() -> None:
    """The gradient is that of predicting constants, and differs from that of a loss without the stop."""
    view1, view2 = views()
    method = SimSiam(*online(), predictor())
    fixed = [method.projector(method.encoder(v)).detach() for v in (view1, view2)]
    p1, p2 = (method.predictor(method.projector(method.encoder(v))) for v in (view1, view2))
    cosines = nn.functional.cosine_similarity
    constant = -(cosines(p1, fixed[1]).mean() + cosines(p2, fixed[0]).mean()) / 2
    found = gradients(method, method(view1, view2))
    for name, expected in gradients(method, constant).items():
        torch.testing.assert_close(found[name], expected)
    z1, z2 = (method.projector(method.encoder(v)) for v in (view1, view2))
    free = -(cosines(method.predictor(z1), z2).mean() + cosines(method.predictor(z2), z1).mean()) / 2
    assert not torch.allclose(gradients(method, free)["encoder.linear.weight"], found["encoder.linear.weight"])


def test_projections_of_the_paper_s_projector_have_mean_0_and_deviation_1_over_the_batch() -> None:
    torch.manual_seed(0)
    out = normalized_mlp(6, 10, 4, 3).double()(torch.randn(64, 6, dtype=torch.float64))
    torch.testing.assert_close(out.mean(0), torch.zeros(4, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(out.var(0, unbiased=False), torch.ones(4, dtype=torch.float64), atol=1e-3, rtol=0)


def test_a_run_builds_the_paper_s_networks() -> None:
    config = SimSiamConfig()
    ingredients = Ingredients(EncoderSpec(name="resnet10", width=0.25), TrainingSet(10), (32, 32))
    method = SimSiam.build(config, ingredients)
    sizes = [(m.in_features, m.out_features) for m in method.projector.modules() if isinstance(m, nn.Linear)]
    assert sizes == [(128, 2048), (2048, 2048), (2048, 2048)]
    sizes = [(m.in_features, m.out_features) for m in method.predictor.modules() if isinstance(m, nn.Linear)]
    assert sizes == [(2048, 512), (512, 2048)]
    assert method.predictor[-1].bias is not None
