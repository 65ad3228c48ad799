"""VICReg: each term in closed form, and against an independent computation."""

import numpy as np
import pytest
import torch
from torch import nn

from byol.config.encoder import EncoderSpec
from byol.config.methods import VICRegConfig
from byol.methods.base import Ingredients, TrainingSet
from byol.methods.vicreg import EPSILON, VICReg, covariance, variance
from small_networks import online, views


def test_the_variance_term_in_closed_form() -> None:
    """Constant features are 1 - sqrt(epsilon) short of a deviation of 1; a deviation of 1 or more costs nothing."""
    assert variance(torch.ones(5, 3, dtype=torch.float64)).item() == pytest.approx(1 - EPSILON**0.5, abs=1e-12)
    wide = torch.tensor([[-1.0, 2.0], [1.0, -2.0]], dtype=torch.float64)  # variances 2 and 8
    assert variance(wide).item() == 0
    narrow = torch.tensor([[-0.1], [0.1]], dtype=torch.float64)  # variance 0.02
    assert variance(narrow).item() == pytest.approx(1 - (0.02 + EPSILON) ** 0.5, abs=1e-12)


def test_the_covariance_term_in_closed_form() -> None:
    """Two equal features of variance 2: each of the two covariances is 2, so (4 + 4) / 2 features."""
    z = torch.tensor([[-1.0, -1.0], [1.0, 1.0]], dtype=torch.float64)
    assert covariance(z).item() == pytest.approx(4.0, abs=1e-12)
    apart = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    assert covariance(apart).item() == pytest.approx(0.0, abs=1e-12)


def test_the_loss_agrees_with_numpy() -> None:
    view1, view2 = views(8)
    method = VICReg(*online(), invariance=3.0, variance=5.0, covariance=0.5)
    z = [method.projector(method.encoder(v)).detach().numpy() for v in (view1, view2)]
    spread = np.mean([np.maximum(0, 1 - np.sqrt(one.var(axis=0, ddof=1) + EPSILON)).mean() for one in z])
    crossed = 0.0
    for one in z:
        matrix = np.cov(one.T)
        crossed += ((matrix**2).sum() - (np.diag(matrix) ** 2).sum()) / one.shape[1]
    expected = 3.0 * ((z[0] - z[1]) ** 2).mean() + 5.0 * spread + 0.5 * crossed
    assert method(view1, view2).item() == pytest.approx(float(expected), rel=1e-10)


def test_a_run_builds_the_paper_s_expander() -> None:
    ingredients = Ingredients(EncoderSpec(name="resnet10", width=0.25), TrainingSet(10), (32, 32))
    method = VICReg.build(VICRegConfig(hidden=64, output=48), ingredients)
    sizes = [(m.in_features, m.out_features) for m in method.projector.modules() if isinstance(m, nn.Linear)]
    assert sizes == [(128, 64), (64, 64), (64, 48)]
    assert (VICRegConfig().hidden, VICRegConfig().output, VICRegConfig().projector_depth) == (8192, 8192, 3)
    assert (method.invariance, method.variance, method.covariance) == (25, 25, 1)
