"""Local aggregation: the loss against a computation by hand, neighbors, the bank and its clusters."""

import math
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from byol.methods.local_aggregation import LocalAggregation, cluster_count
from byol.methods.memory_bank import MemoryBank
from small_networks import online, views


@dataclass
class Known:
    """Features that are given."""

    values: Tensor
    indices: Tensor


def method(background: int = 4, clusterings: int = 2) -> LocalAggregation:
    torch.manual_seed(1)
    bank = MemoryBank(9, 4, negatives=1, temperature=0.2)
    settings = {"background": background, "clusters": 3, "clusterings": clusterings}
    return LocalAggregation(*online(), bank, **settings).double()


def test_the_loss_agrees_with_a_computation_by_hand() -> None:
    learner, (view, _), index = method(), views(3), [2, 0, 7]
    learner.labels.copy_(torch.tensor([[0, 1, 2, 0, 1, 2, 0, 1, 2], [0, 0, 0, 1, 1, 1, 2, 2, 2]]))
    bank = learner.bank.vectors.clone()
    found = learner(view, torch.tensor(index))
    v = F.normalize(learner.projector(learner.encoder(view)), dim=1).detach()
    total = 0.0
    for row, own in enumerate(index):
        weight = [math.exp(float(v[row] @ other) / 0.2) for other in bank]
        background = {own, *sorted(range(9), key=lambda j: -weight[j])[:4]}
        close = {j for j in background if j % 3 == own % 3 or j // 3 == own // 3}
        assert own in close
        total -= math.log(sum(weight[j] for j in close) / sum(weight[j] for j in background))
    assert found.item() == pytest.approx(total / 3, rel=1e-6)
    moved = F.normalize(0.5 * bank[index] + 0.5 * v, dim=1)
    torch.testing.assert_close(learner.bank.vectors[index], moved)


def test_the_loss_is_0_where_every_neighbor_is_close() -> None:
    learner, (view, _) = method(background=100), views(3)
    learner.labels.zero_()
    assert learner(view, torch.tensor([1, 4, 8])).item() == pytest.approx(0, abs=1e-12)


def test_the_bank_begins_with_the_vectors_of_the_first_weights_and_is_clustered() -> None:
    learner = method()
    values = torch.randn(8, 6, dtype=torch.float64)
    learner.before_training(lambda: Known(values, torch.arange(1, 9)))
    vectors = F.normalize(learner.projector(values), dim=1)
    torch.testing.assert_close(learner.bank.vectors[1:], vectors)
    assert learner.labels.shape == (2, 9)
    assert learner.labels.unique().tolist() == [0, 1, 2]
    seed = learner.seed.clone()
    learner.after_epoch(lambda: pytest.fail("no features are needed"))
    assert not torch.equal(learner.seed, seed)
    assert {"labels", "seed", "bank.vectors"} <= set(learner.state_dict())


def test_the_number_of_clusters() -> None:
    assert cluster_count(None, 20_000) == 156
    assert cluster_count(None, 10**9) == 30_000
    assert cluster_count(7, 20_000) == 7
