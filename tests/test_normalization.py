"""The loss's normalizations (Table 20) against PyTorch's own layers without weights, and in closed form."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from byol.config.methods import Normalization
from byol.methods.byol import BYOL, distance
from byol.methods.normalization import NORMALIZATIONS, by_batch, by_layer, normalize
from small_networks import online, predictor, views


def rows(seed: int = 0) -> Tensor:
    return 3 + 2 * torch.randn(9, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def independent(kind: Normalization, x: Tensor) -> Tensor:
    """The same by other means."""
    size = x.shape[1]
    if kind == "l2":
        return F.normalize(x, dim=1)
    if kind == "layer":
        return F.layer_norm(x, (size,), eps=0.0) / math.sqrt(size)
    if kind == "batch":
        return F.batch_norm(x, None, None, training=True, eps=1e-30) / math.sqrt(size)
    return x


@pytest.mark.parametrize("kind", NORMALIZATIONS)
def test_values_and_gradients(kind: Normalization) -> None:
    x, weight = rows().requires_grad_(), rows(1)
    ours, theirs = NORMALIZATIONS[kind](x), independent(kind, x)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    (found,), (expected,) = (torch.autograd.grad((y * weight).sum(), x) for y in (ours, theirs))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_in_closed_form() -> None:
    x = torch.tensor([[1.0, 3.0], [1.0, 7.0]], dtype=torch.float64)
    root = math.sqrt(0.5)
    assert by_layer(x).flatten().tolist() == pytest.approx([-root, root, -root, root])
    # the first feature is the same everywhere, the second is two away from its mean of 5
    assert by_batch(x).flatten().tolist() == pytest.approx([0.0, -root, 0.0, root])
    torch.testing.assert_close(by_layer(rows()).norm(dim=1), torch.ones(9, dtype=torch.float64))
    torch.testing.assert_close(by_batch(rows()).square().sum(), torch.tensor(9.0, dtype=torch.float64))
    assert normalize(torch.zeros(2, 3)).tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize("kind", NORMALIZATIONS)
def test_half_precision_is_left_behind(kind: Normalization) -> None:
    x = rows().bfloat16()
    assert NORMALIZATIONS[kind](x).dtype == torch.float32
    torch.testing.assert_close(NORMALIZATIONS[kind](x), independent(kind, x.double()).float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", NORMALIZATIONS)
def test_the_method_compares_each_view_by_it(kind: Normalization) -> None:
    method = BYOL(*online(), predictor(), normalization=kind)
    method.update_target(1.0)
    v1, v2 = views()
    p1, p2 = (independent(kind, method.predictor(method.projector(method.encoder(v)))) for v in (v1, v2))
    t1, t2 = (independent(kind, method.target_projector(method.target_encoder(v))) for v in (v1, v2))
    expected = (p1 - t2).square().sum(1).mean() + (p2 - t1).square().sum(1).mean()
    torch.testing.assert_close(method(v1, v2), expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(distance(p1, t2, "none"), (p1 - t2).square().sum(1))
