"""The table of operations: a new one is an entry, and changes no number and no pixel of the others."""

import pytest
import torch
from torch import Tensor

from byol.augment import fused, ops
from byol.augment.fused import fused_views
from byol.augment.ops import Operation
from byol.augment.params import Numbers, Values
from byol.augment.views import make_views, make_views_of_one
from byol.config.views import AugmentConfig, Normalization, ViewConfig
from drawn import PLACES, draw, number

PLAIN = Normalization((0.0,) * 3, (1.0,) * 3)
T = AugmentConfig().view1


def _draw_invert(config: ViewConfig, count: int, generator: torch.Generator) -> Numbers:
    return {ops.APPLIED: torch.rand(count, generator=generator) < 0.5}


def _invert_all(x: Tensor, values: Values) -> Tensor:
    return torch.where(values[ops.APPLIED].view(-1, 1, 1, 1), 1 - x, x)


INVERT = Operation("invert", _draw_invert, lambda x, _: 1 - x, change_all=_invert_all)


@pytest.fixture
def with_invert(monkeypatch: pytest.MonkeyPatch) -> None:
    """One entry more, at the end of the chain."""
    monkeypatch.setattr(ops, "OPERATIONS", (*ops.OPERATIONS, INVERT))
    monkeypatch.setattr(fused, "compiled", lambda make, *of: make(*of))


def test_a_new_operation_changes_no_number_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    before = draw(T, 40, seed=3)
    monkeypatch.setattr(ops, "OPERATIONS", (INVERT, *ops.OPERATIONS))
    after = draw(T, 40, seed=3)
    assert "invert" in after.numbers
    for name in PLACES:
        assert torch.equal(number(before, name), number(after, name)), name


def test_without_an_operation_the_others_draw_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    before = draw(T, 40, seed=3)
    fewer = tuple(operation for operation in ops.OPERATIONS if operation.name != "color_jitter")
    monkeypatch.setattr(ops, "OPERATIONS", fewer)
    after = draw(T, 40, seed=3)
    assert set(before.numbers) - set(after.numbers) == {"color_jitter"}
    for name in ("area", "flip", "gray", "blur", "sigma", "solarize"):
        assert torch.equal(number(before, name), number(after, name)), name


@pytest.mark.usefixtures("with_invert")
def test_batch_single_image_and_fused_path_apply_a_new_operation() -> None:
    """Each gives the image of the old chain, inverted where that was drawn."""
    images = torch.rand(12, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    params = draw(T, 12, seed=5)
    inverted = params.numbers["invert"][ops.APPLIED]
    assert 0 < inverted.sum() < 12
    plain = type(params)({name: values for name, values in params.numbers.items() if name != "invert"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ops, "OPERATIONS", tuple(o for o in ops.OPERATIONS if o.name != "invert"))
        (old,) = make_views((images,), (plain,), PLAIN)
    expected = torch.where(inverted.view(-1, 1, 1, 1), 1 - old, old)
    (batch,) = make_views((images,), (params,), PLAIN)
    torch.testing.assert_close(batch, expected, rtol=0, atol=1e-6)
    (together,) = fused_views((images,), (params,), PLAIN)
    torch.testing.assert_close(together, expected, rtol=0, atol=1e-5)
    for i, values in enumerate(params.one_by_one()):
        out = torch.empty(1, 3, 24, 24)
        make_views_of_one((images[i : i + 1],), (values,), PLAIN, (out,))
        torch.testing.assert_close(out[0], expected[i], rtol=0, atol=1e-6)


def test_numbers_depend_on_seed_and_name_alone() -> None:
    whole, again = draw(T, 64, seed=1), draw(T, 64, seed=1)
    other = draw(T, 64, seed=2)
    for name in PLACES:
        assert torch.equal(number(whole, name), number(again, name)), name
    assert not torch.equal(number(whole, "area"), number(other, "area"))
    uniform = number(whole, "sigma"), number(whole, "area")
    assert abs(torch.corrcoef(torch.stack(uniform))[0, 1].item()) < 0.4, "operations draw independently"
