"""The memory bank: its loss against a computation by hand, and how it moves."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from byol.methods.memory_bank import MemoryBank, draws_each


def bank(images: int = 10, negatives: int = 7, momentum: float = 0.5) -> MemoryBank:
    torch.manual_seed(1)
    return MemoryBank(images, 4, negatives=negatives, temperature=0.1, momentum=momentum).double()


def unit(count: int, seed: int = 0) -> Tensor:
    values = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.normalize(values, dim=1)


@pytest.mark.parametrize(("negatives", "batch", "each"), [(4096, 256, 16), (7, 3, 3), (1, 8, 1)])
def test_a_batch_draws_its_negatives_together(negatives: int, batch: int, each: int) -> None:
    assert draws_each(negatives, batch) == each


def test_negatives_are_the_images_that_the_draws_name() -> None:
    memory = bank()
    draws = torch.tensor([[0.05, 0.95, 0.5], [0.99, 0.0, 0.31], [0.12, 0.7, 0.7]])
    expected = memory.vectors[[0, 9, 5, 9, 0, 3, 1]]  # the last two are more than are wanted
    assert torch.equal(memory.drawn(draws), expected)


def test_the_loss_agrees_with_a_computation_by_hand() -> None:
    memory, views, index = bank(), unit(3), [4, 0, 9]
    negatives = unit(7, seed=5)
    found = memory.loss(views, torch.tensor(index), negatives)

    def weight(row: int, other: Tensor) -> float:
        return math.exp(float(views[row] @ other) / 0.1)

    z = 10 * sum(weight(row, other) for row in range(3) for other in negatives) / 21
    total = 0.0
    for row, own in enumerate(index):
        p = weight(row, memory.vectors[own]) / z
        total -= math.log(p / (p + 0.7))
        total -= sum(math.log(1 - weight(row, other) / z / (weight(row, other) / z + 0.7)) for other in negatives)
    assert found.item() == pytest.approx(total / 3, rel=1e-6)
    assert memory.partition.item() == pytest.approx(z, rel=1e-6)
    memory.loss(unit(3, seed=8), torch.tensor(index), negatives)
    assert memory.partition.item() == pytest.approx(z, rel=1e-6), "estimated once"


def test_vectors_move_for_the_images_of_the_batch_alone() -> None:
    memory, views = bank(momentum=0.25), unit(2)
    before = memory.vectors.clone()
    memory.move(views, torch.tensor([3, 8]))
    torch.testing.assert_close(memory.vectors[[3, 8]], F.normalize(0.25 * before[[3, 8]] + 0.75 * views, dim=1))
    rest = [number for number in range(10) if number not in (3, 8)]
    assert torch.equal(memory.vectors[rest], before[rest])
    assert {"vectors", "partition"} == set(memory.state_dict())
