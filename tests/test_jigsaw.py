"""Jigsaw: the permutations, the puzzle worked by hand, the loss in closed form."""

import math
from itertools import permutations

import pytest
import torch
from torch import Tensor, nn

from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.methods.jigsaw import DRAWN, Jigsaw, JigsawHead, distant_permutations, tile_side, with_fringes, without_color


def test_permutations_are_chosen_by_the_largest_sum_of_distances() -> None:
    every = list(permutations(range(4)))
    chosen = [every[0]]
    while len(chosen) < 12:
        left = [one for one in every if one not in chosen]
        sums = [sum(a != b for other in chosen for a, b in zip(one, other, strict=True)) for one in left]
        chosen.append(left[sums.index(max(sums))])
    assert distant_permutations(12, tiles=4).tolist() == [list(one) for one in chosen]


def test_the_first_nine_orders_differ_in_every_place_and_no_order_is_there_twice() -> None:
    orders = distant_permutations(100)
    assert orders[0].tolist() == list(range(9))
    assert all((orders[:9, place].unique().numel()) == 9 for place in range(9))
    assert len({tuple(order) for order in orders.tolist()}) == 100
    assert all(sorted(order) == list(range(9)) for order in orders.tolist())
    distances = (orders[:, None] != orders[None]).sum(2).float()
    assert distances[~torch.eye(100, dtype=torch.bool)].mean() > 8, "as the paper's Table of permutation sets"


@pytest.mark.parametrize(("view", "side"), [(225, 64), (96, 27), (32, 8), (16, 4)])
def test_sides_of_tiles(view: int, side: int) -> None:
    assert tile_side(view) == side


class Mean(nn.Module):
    """Images -> the mean of their first channel's square root of variance: two values that say little."""

    num_features = 2

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x[:, 0].mean((1, 2)), x[:, 0, 0, 0]], dim=1)


def method(orders: int = 5, gray: float = 0.0) -> Jigsaw:
    torch.manual_seed(0)
    return Jigsaw(Mean(), JigsawHead(2, 4, 6, orders), distant_permutations(orders), gray)


def test_tiles_are_put_in_the_order_that_is_to_be_told() -> None:
    learner = method()
    ramp = torch.arange(9.0).view(3, 3).repeat_interleave(5, 0).repeat_interleave(5, 1)
    corner = torch.zeros(15, 15)
    corner[::5, ::5] = 0.5 + torch.arange(9.0).view(3, 3)  # a mark that standardizing keeps in relation
    view = (ramp + corner)[None, None]
    draws = torch.zeros(1, sum(DRAWN.values()))
    draws[0, 0] = 0.7  # the fourth of five orders
    tiles, order = learner.puzzle(view, draws)
    assert order.tolist() == [3]
    assert tiles.shape == (1, 9, 1, 4, 4)
    straight, first = learner.puzzle(view, torch.zeros_like(draws))
    assert first.tolist() == [0]
    for place, tile in enumerate(learner.orders[3].tolist()):
        assert torch.equal(tiles[0, place], straight[0, tile])
    # one value of sixteen sticks out: (x - mean) / spread = 15 / sqrt(15) there, -1 / sqrt(15) elsewhere
    assert straight[0, 4, 0, 0, 0].item() == pytest.approx(math.sqrt(15), rel=1e-5)
    assert straight[0, 4, 0, 1, 1].item() == pytest.approx(-1 / math.sqrt(15), rel=1e-5)


def test_the_loss_is_ln_of_the_orders_without_knowledge() -> None:
    learner = method(orders=7)
    for parameter in learner.head.all[-1].parameters():
        nn.init.zeros_(parameter)
    view, draws = torch.randn(4, 1, 30, 30), torch.rand(4, sum(DRAWN.values()))
    assert learner(view, draws).item() == pytest.approx(math.log(7), rel=1e-6)


def test_gray_images_have_equal_channels_and_others_stay() -> None:
    images = torch.tensor([1.0, 2.0, 4.0]).view(1, 3, 1, 1).expand(2, 3, 2, 2)
    found = without_color(images, torch.tensor([True, False]))
    assert found[0].unique().item() == pytest.approx(0.2989 + 2 * 0.587 + 4 * 0.114, rel=1e-6)
    assert torch.equal(found[1], images[1])
    assert without_color(images[:, :1], torch.tensor([True, True])).shape == (2, 1, 2, 2)


def test_channels_are_shifted_by_themselves() -> None:
    images = torch.arange(225.0).expand(1, 3, 225, 225)  # each column its number
    draws = torch.tensor([[0.5, 0.5, 0.5, 0.0, 0.5, 0.99]])  # no shift down; 2 px left, none, 2 px right
    found = with_fringes(images, draws)
    assert found[0, :, 7, 100].tolist() == [102, 100, 98]
    assert found[0, :, 7, 0].tolist() == [2, 0, 0]
    small = torch.randn(2, 3, 32, 32)
    assert with_fringes(small, torch.rand(2, 6)) is small, "less than half a pixel"


def test_a_batch_has_one_view_without_colors() -> None:
    (spec,) = Jigsaw.views(replace(PretrainConfig(), method="jigsaw", image_size=96))
    assert (spec.size, spec.config.jitter, spec.config.gray, spec.config.blur, spec.config.flip) == (96, 0, 0, 0, 0.5)
    assert Jigsaw.draws(PretrainConfig()) == 26
