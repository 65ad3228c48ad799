"""The loss, its gradient, and who is paired with whom."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import golden_names as golden
from byol.methods.byol import BYOL, distance

ARRAYS = golden.load("loss")
CASES = [str(name) for name in ARRAYS["case_names"]]
SYMMETRIC_CASES = [str(name) for name in ARRAYS["symmetric_case_names"]]


def rows_and_gradient(case: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    x = torch.from_numpy(ARRAYS[f"{case}/x"]).to(dtype).requires_grad_()
    y = torch.from_numpy(ARRAYS[f"{case}/y"]).to(dtype)
    rows = distance(x, y)
    (gradient,) = torch.autograd.grad(rows.mean(), x)
    return rows.detach(), gradient


def assert_gradients_close(ours: Tensor, official: NDArray, x: NDArray, of_largest: float, of_scale: float) -> None:
    """Row by row, because the rows of some cases differ in scale by many orders of magnitude."""
    x = x.astype(np.float64)
    for row, (g, expected) in enumerate(zip(golden.as_numpy(ours), official, strict=True)):
        rounding = of_scale / (len(x) * max(np.linalg.norm(x[row]), 1e-6))
        golden.assert_close(g, expected, of_largest * np.abs(expected).max() + rounding, f"gradient of row {row}")


@pytest.mark.parametrize("case", [case for case in CASES if f"{case}/loss_rows_float64" in ARRAYS])
def test_rows_and_gradient_in_double_precision(case: str) -> None:
    rows, gradient = rows_and_gradient(case, torch.float64)
    golden.assert_close(rows, ARRAYS[f"{case}/loss_rows_float64"], 1e-12)
    assert_gradients_close(gradient, ARRAYS[f"{case}/grad_x_of_mean_float64"], ARRAYS[f"{case}/x"], 1e-9, 1e-12)


@pytest.mark.parametrize("case", CASES)
def test_rows_and_gradient(case: str) -> None:
    rows, gradient = rows_and_gradient(case, torch.float32)
    golden.assert_close(rows, ARRAYS[f"{case}/loss_rows"], 2e-6)
    golden.assert_close(rows.mean(), ARRAYS[f"{case}/loss_mean"], 2e-6)
    assert_gradients_close(gradient, ARRAYS[f"{case}/grad_x_of_mean"], ARRAYS[f"{case}/x"], 1e-5, 1e-6)


def test_half_precision_predictions_are_compared_in_single() -> None:
    # This case lies on the bfloat16 grid, so nothing is lost on the way in.
    x, y = (torch.from_numpy(ARRAYS[f"bf16_scales/{key}"]) for key in "xy")
    assert torch.equal(x, x.bfloat16().float())
    golden.assert_close(distance(x.bfloat16(), y.bfloat16()), ARRAYS["bf16_scales/loss_rows"], 2e-6)


class Half(nn.Module):
    """One half of each row."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def forward(self, x: Tensor) -> Tensor:
        return x.chunk(2, dim=1)[self.number]


@pytest.mark.parametrize("case", SYMMETRIC_CASES)
def test_symmetric_loss_of_the_whole_method(case: str) -> None:
    """A "view" that carries its own prediction and target projection passes through `BYOL.forward` itself."""
    method = BYOL(nn.Identity(), nn.Identity(), Half(0))
    method.target_projector = Half(1)
    arrays = golden.section(ARRAYS, case)
    views = [
        torch.from_numpy(np.concatenate([arrays[f"pred{i}"], arrays[f"proj{i}"]], axis=1)).requires_grad_()
        for i in (1, 2)
    ]
    loss = method(*views)
    gradients = torch.autograd.grad(loss, views)
    golden.assert_close(loss, arrays["loss"], 2e-6)
    for i, gradient in enumerate(gradients, 1):
        prediction, projection = gradient.chunk(2, dim=1)
        assert_gradients_close(prediction, arrays[f"grad_pred{i}"], arrays[f"pred{i}"], 1e-5, 1e-6)
        assert not projection.any(), "the target got a gradient"
