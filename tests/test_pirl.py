"""PIRL: its two losses, the shuffled tiles, and the memory bank that moves to the view."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.methods.memory_bank import MemoryBank
from byol.methods.pirl import PIRL, TilesHead, tile_side


class Pool(nn.Module):
    """Images -> each channel's mean and first value: six numbers for three channels."""

    num_features = 6

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.mean((2, 3)), x[:, :, 0, 0]], dim=1)


def method(weight: float = 0.5) -> PIRL:
    torch.manual_seed(2)
    bank = MemoryBank(10, 4, negatives=6, temperature=0.1, momentum=0.25)
    return PIRL(Pool(), nn.Linear(6, 4), TilesHead(6, 4), bank, weight).double()


def batch() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    view, other = (torch.randn(3, 3, 12, 12, generator=generator, dtype=torch.float64) for _ in range(2))
    return view, other, torch.tensor([4, 0, 9]), torch.rand(3, 29, generator=generator)


@pytest.mark.parametrize(("view", "side"), [(255, 64), (32, 7), (16, 3)])
def test_sides_of_tiles(view: int, side: int) -> None:
    assert tile_side(view) == side


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_loss_is_that_of_view_and_tiles_weighed(weight: float) -> None:
    learner, (view, other, index, draws) = method(weight), batch()
    start = {name: value.clone() for name, value in learner.bank.state_dict().items()}
    found = learner(view, other, index, draws)
    learner.bank.load_state_dict(start)
    f = F.normalize(learner.projector(learner.encoder(view)), dim=1)
    tiles = learner.shuffled(other, draws[:, :27])
    g = F.normalize(learner.jigsaw(torch.stack([learner.encoder(tiles[:, k]) for k in range(9)], dim=1)), dim=1)
    negatives = learner.bank.vectors[(draws[:, 27:].flatten() * 10).long()]
    assert len(negatives) == 6
    of_tiles = learner.bank.loss(g, index, negatives)
    of_view = learner.bank.loss(f, index, negatives)
    torch.testing.assert_close(found, weight * of_tiles + (1 - weight) * of_view)


def test_the_bank_moves_to_the_view_and_not_to_the_tiles() -> None:
    learner, (view, other, index, draws) = method(), batch()
    before = learner.bank.vectors.clone()
    learner(view, other, index, draws)
    f = F.normalize(learner.projector(learner.encoder(view)), dim=1)
    torch.testing.assert_close(learner.bank.vectors[index], F.normalize(0.25 * before[index] + 0.75 * f, dim=1))


def test_tiles_are_shuffled_as_drawn() -> None:
    images = torch.arange(9.0).view(3, 3).repeat_interleave(4, 0).repeat_interleave(4, 1).view(1, 1, 12, 12)
    keys = torch.tensor([[0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]])
    tiles = method().shuffled(images, torch.cat([torch.zeros(1, 18), keys], dim=1))
    assert tiles[0, :, 0, 0, 0].tolist() == [8, 7, 6, 5, 4, 3, 2, 1, 0]


def test_each_image_draws_its_share_of_the_negatives_of_a_micro_batch() -> None:
    config = replace(PretrainConfig(), method="pirl", batch_size=256)
    assert PIRL.draws(config) == 27 + 125
    assert PIRL.draws(replace(config, optim__accumulate=2)) == 27 + 250
