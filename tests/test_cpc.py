"""CPC: patches of a numbered view, what the context knows, the loss against a computation by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byol.config.methods import CPCConfig
from byol.errors import UserError
from byol.methods.cpc import CPC, Context, patch_side, patches


@pytest.mark.parametrize(("view", "side"), [(256, 64), (224, 56), (32, 8), (16, 4)])
def test_sides_of_patches(view: int, side: int) -> None:
    assert patch_side(view) == side


def test_patches_overlap_by_half() -> None:
    found = patches(torch.arange(256.0).view(1, 1, 16, 16))[0, :, 0]  # row r, column c is 16 r + c
    assert found.shape == (49, 4, 4)
    assert found[0, 0].tolist() == [0, 1, 2, 3]
    assert found[1, 0].tolist() == [2, 3, 4, 5]
    assert found[7, 0].tolist() == [32, 33, 34, 35]
    assert found[48, -1, -1] == 255


def test_a_context_knows_its_row_and_those_above_alone() -> None:
    torch.manual_seed(0)
    context = Context(3, 8, 4, 5)
    grid = torch.randn(1, 7, 7, 3)
    changed = grid.clone()
    changed[0, 4] += 1
    same = (context(grid) - context(changed)).abs().amax((0, 2, 3)) < 1e-6
    assert same.tolist() == [True] * 4 + [False] * 3


class Flat(nn.Module):
    num_features = 2

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x[:, 0, 0, 0], x[:, 0].mean((1, 2))], dim=1)


def method(directions: int = 1, steps: tuple[int, int] = (2, 3)) -> CPC:
    torch.manual_seed(0)
    contexts: list[nn.Module] = [Context(2, 4, 2, (steps[1] - steps[0] + 1) * 3) for _ in range(directions)]
    return CPC(Flat(), nn.Linear(2, 3), contexts, steps)


def test_the_loss_agrees_with_a_computation_by_hand() -> None:
    learner, view = method(), torch.randn(2, 1, 16, 16)
    features = torch.stack([learner.encoder(p) for p in patches(view)]).view(2, 7, 7, 2)
    goals, predictions = learner.target(features), learner.contexts[0](features)
    terms = []
    for number, step in enumerate((2, 3)):
        for row in range(7 - step):
            every = goals[:, row + step].reshape(14, 3)
            for image in range(2):
                for column in range(7):
                    scores = every @ predictions[image, row, column, 3 * number : 3 * number + 3]
                    terms.append((scores.logsumexp(0) - scores[7 * image + column], step, row))
    # each row of each step counts the same, and all have as many places
    expected = torch.stack([term for term, _, _ in terms]).mean()
    torch.testing.assert_close(learner(view), expected, rtol=1e-5, atol=1e-5)


def test_the_loss_is_ln_of_the_places_without_knowledge() -> None:
    learner = method(directions=4)
    for parameter in learner.target.parameters():
        nn.init.zeros_(parameter)
    assert learner(torch.randn(3, 1, 16, 16)).item() == pytest.approx(math.log(21), rel=1e-6)


def test_four_directions_are_the_turned_grid() -> None:
    """With the same context for all, a turned view has the same loss."""
    learner = method(directions=4)
    for context in learner.contexts:
        context.load_state_dict(learner.contexts[0].state_dict())
    learner.encoder.forward = lambda x: F.adaptive_avg_pool2d(x[:, :1], 1).flatten(1).repeat(1, 2)  # type: ignore[method-assign]
    view = torch.randn(2, 1, 16, 16)
    torch.testing.assert_close(learner(view), learner(view.rot90(1, dims=(2, 3))))


def test_steps_that_are_none_are_refused() -> None:
    with pytest.raises(UserError, match=r"steps is \(3, 2\), but must be two rows, from 1 to 6"):
        CPCConfig(steps=(3, 2))
