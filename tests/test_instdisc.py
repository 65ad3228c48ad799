"""Instance discrimination: the loss against an independent computation, the memory bank, Z, checkpoints."""

import math

import pytest
import torch
from torch import nn

from byol.methods.instdisc import InstDisc
from small_networks import online, views


def method(images: int = 10, negatives: int = 7, **settings: float) -> InstDisc:
    torch.manual_seed(1)
    return InstDisc(*online(), images, negatives=negatives, **settings).double()  # type: ignore[arg-type]


def test_the_loss_agrees_with_a_computation_by_hand() -> None:
    learner, (view, _), index = method(), views(3), torch.tensor([4, 0, 9])
    bank = learner.bank.clone()
    torch.manual_seed(5)
    found = learner(view, index)
    torch.manual_seed(5)
    drawn = torch.randint(10, (3, 7)).tolist()
    v = nn.functional.normalize(learner.projector(learner.encoder(view)), dim=1).detach()

    def weight(row: int, image: int) -> float:
        return math.exp(float(v[row] @ bank[image]) / 0.07)

    z = 10 * sum(weight(row, image) for row in range(3) for image in drawn[row]) / 21
    noise = 7 / 10
    total = 0.0
    for row, own in enumerate(index.tolist()):
        p = weight(row, own) / z
        total -= math.log(p / (p + noise))
        for image in drawn[row]:
            p = weight(row, image) / z
            total -= math.log(1 - p / (p + noise))
    assert found.item() == pytest.approx(total / 3, rel=1e-9)
    assert learner.partition.item() == pytest.approx(z, rel=1e-9)


def test_the_bank_moves_for_the_batch_s_images_alone() -> None:
    learner, (view, _), index = method(momentum=0.25), views(2), torch.tensor([3, 8])
    bank = learner.bank.clone()
    learner(view, index)
    v = nn.functional.normalize(learner.projector(learner.encoder(view)), dim=1).detach()
    expected = nn.functional.normalize(0.25 * bank[index] + 0.75 * v, dim=1)
    torch.testing.assert_close(learner.bank[index], expected)
    rest = [n for n in range(10) if n not in (3, 8)]
    assert torch.equal(learner.bank[rest], bank[rest])


def test_z_is_estimated_once() -> None:
    learner, (view, other) = method(), views(2)
    learner(view, torch.tensor([0, 1]))
    first = learner.partition.clone()
    learner(other, torch.tensor([2, 3]))
    assert torch.equal(learner.partition, first)


def test_checkpoints_hold_the_bank_and_z() -> None:
    assert {"bank", "partition"} <= set(method().state_dict())


def test_repeated_updates_find_the_image_of_each_vector() -> None:
    """Trained to tell eight images apart, each view is nearest to its own image's vector."""
    torch.manual_seed(0)
    learner, (view, _), index = method(images=8, negatives=16), views(8), torch.arange(8)
    optimizer = torch.optim.SGD([*learner.encoder.parameters(), *learner.projector.parameters()], lr=0.05)
    losses = []
    for _ in range(60):
        loss = learner(view, index)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    v = nn.functional.normalize(learner.projector(learner.encoder(view)), dim=1)
    assert (v @ learner.bank.T).argmax(1).tolist() == list(range(8))
    assert losses[-1] < losses[0]
