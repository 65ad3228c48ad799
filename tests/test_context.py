"""Context prediction: patches worked by hand, the projection of colors, the loss in closed form."""

import math

import pytest
import torch
from torch import Tensor, nn

from byol.config.methods import ContextConfig
from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.errors import UserError
from byol.methods.context import PLACES, Context, Layout, without_green


class Flat(nn.Module):
    """Patches -> their first and last value."""

    num_features = 2

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x[:, 0, 0, 0], x[:, 0, -1, -1]], dim=1)


def test_the_layout_of_the_paper_and_of_small_views() -> None:
    """96 px with a gap of about half a patch, shifted by 7 px at most, in 384 px."""
    assert Layout.of(384, 0.25, 7 / 96) == Layout(side=96, jitter=7, stride=137)
    assert Layout.of(32, 0.25, 7 / 96) == Layout(side=8, jitter=1, stride=11)
    assert Layout.of(32, 1 / 3, 0.5) == Layout(side=10, jitter=1, stride=10)


@pytest.mark.parametrize(("view", "patch", "jitter"), [(384, 0.25, 7 / 96), (32, 0.25, 0.1), (17, 0.3, 0.5)])
def test_patches_never_overlap_and_never_leave_the_view(view: int, patch: float, jitter: float) -> None:
    layout = Layout.of(view, patch, jitter)
    assert layout.stride * 2 + 2 * layout.jitter + layout.side <= view
    assert layout.stride >= layout.side, "before they are shifted"


def test_the_patches_of_a_numbered_view() -> None:
    learner = Context(Flat(), nn.Linear(4, 8), Layout(side=2, jitter=1, stride=4))
    view = torch.arange(144.0).view(1, 1, 12, 12)  # row r, column c is 12 r + c
    draws = torch.tensor([[0.0, 0.5, 0.5, 0.5, 0.5], [0.5, 0.0, 0.99, 0.5, 0.0], [0.99, 0.5, 0.0, 0.99, 0.99]])
    patches, place = learner.patches(view.expand(3, 1, 12, 12), draws)
    assert place.tolist() == [0, 4, 7]
    corners = patches[:, :, 0, 0, 0].tolist()
    middle = 12 * 5 + 5  # stride 4, and the shift of 1 that is none
    assert corners[0] == [middle, 12 * 1 + 1], "above, to the left"
    assert corners[1] == [12 * 4 + 5, 12 * 6 + 8], "the middle up by one; to the right, down by one, left by one"
    assert corners[2] == [12 * 5 + 6, 12 * 8 + 10]
    assert patches[0, 1, 0].tolist() == [[13, 14], [25, 26]]
    assert (1, 1) not in PLACES
    assert len(set(PLACES)) == 8


def test_green_and_magenta_are_the_same_after_the_projection() -> None:
    colors = torch.tensor([[0.0, 1, 0], [1, 0, 1], [0.5, 0.5, 0.5], [1, 0, 0]]).view(4, 3, 1, 1)
    found = without_green(colors).view(4, 3)
    third = 1 / 3
    torch.testing.assert_close(found[0], torch.full((3,), third))  # green, less (-1, 2, -1) * 2 / 6
    torch.testing.assert_close(found[1], torch.full((3,), 2 * third))
    torch.testing.assert_close(found[2], torch.full((3,), 0.5))
    torch.testing.assert_close(found[3], torch.tensor([5 / 6, 1 / 3, -1 / 6]))
    gray = torch.randn(2, 1, 3, 3)
    assert without_green(gray) is gray


def test_the_loss_is_ln_8_without_knowledge_and_0_with_all() -> None:
    """In a ramp of columns, the second patch's value tells the column of its place."""
    learner = Context(Flat(), nn.Linear(4, 8), Layout(side=2, jitter=0, stride=4))
    view = torch.arange(144.0).view(1, 1, 12, 12).expand(8, 1, 12, 12)
    draws = torch.zeros(8, 5)
    draws[:, 0] = torch.arange(8) / 8 + 0.01
    nn.init.zeros_(learner.head.weight)
    nn.init.zeros_(learner.head.bias)
    assert learner(view, draws).item() == pytest.approx(math.log(8), rel=1e-6)
    corners = torch.tensor([48.0 * row + 4 * column for row, column in PLACES])  # what the first value is there
    with torch.no_grad():  # logits 100 (c x - c^2 / 2) are largest where x = c
        learner.head.weight[:, 2] = 100 * corners
        learner.head.bias.copy_(-50 * corners.square())
    assert learner(view, draws).item() == pytest.approx(0, abs=1e-6)


def test_a_batch_has_one_view_without_flips_and_colors() -> None:
    (spec,) = Context.views(replace(PretrainConfig(), method="context", image_size=64))
    assert (spec.size, spec.config.flip, spec.config.jitter, spec.config.blur) == (64, 0, 0, 0)


def test_patches_of_more_than_a_third_are_refused() -> None:
    with pytest.raises(UserError, match=r"patch is 0\.4, but must be a share of the view's side up to a third"):
        ContextConfig(patch=0.4)
