"""SeLa: the transport against an independent computation, balanced labels, the loss in closed form."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.errors import UserError
from byol.methods.base import TrainingSet
from byol.methods.selfla import SelfLA, balanced_labels, label_count


@dataclass
class Known:
    """Features that are given."""

    values: Tensor
    indices: Tensor


class Flat(nn.Module):
    num_features = 3

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


def test_labels_are_those_of_a_plain_sinkhorn() -> None:
    logits = torch.randn(40, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    matrix = logits.log_softmax(1).exp().numpy() ** 5
    for _ in range(3000):
        matrix /= matrix.sum(0, keepdims=True) * 4
        matrix /= matrix.sum(1, keepdims=True) * 40
    assert balanced_labels(logits.log_softmax(1), 5.0).tolist() == matrix.argmax(1).tolist()


def test_labels_are_balanced_although_one_is_likelier_for_all() -> None:
    logits = torch.randn(400, 4, generator=torch.Generator().manual_seed(1)) + torch.tensor([3.0, 0, 0, 0])
    assert np.bincount(logits.argmax(1), minlength=4)[0] > 300
    sizes = np.bincount(balanced_labels(logits.log_softmax(1), 25.0), minlength=4)
    assert sizes.min() >= 90
    assert sizes.max() <= 110


def test_the_loss_is_the_mean_over_heads_and_unread_images_have_none() -> None:
    torch.manual_seed(0)
    method = SelfLA(Flat(), images=5, labels=2, heads=2)
    values = torch.randn(4, 3)
    method.before_training(lambda: Known(values, torch.arange(4)))
    assert method.labels[:, 4].tolist() == [-1, -1]
    assert sorted(method.labels[0, :4].tolist()) == [0, 0, 1, 1]
    for head, (one, other) in enumerate(((1.0, 0.0), (0.0, 2.0))):
        classifier = method.classifiers[head]
        nn.init.zeros_(classifier.weight)
        with torch.no_grad():
            classifier.bias.copy_(torch.tensor([one, other]))
    method.labels[:, 0] = torch.tensor([0, 0])
    expected = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(2))) / 2
    assert method(torch.zeros(1, 1, 1, 3), torch.tensor([0])).item() == pytest.approx(expected, rel=1e-6)
    assert method(torch.zeros(1, 1, 1, 3), torch.tensor([4])).item() == 0


def test_the_number_of_labels() -> None:
    assert label_count(None, 1_281_167) == 3000
    assert label_count(None, 20_000) == 156
    config = replace(PretrainConfig(), method="selfla", method__clusters=100)
    with pytest.raises(UserError, match=r"^method\.clusters is 100, but there are 64 images; give 64 or less"):
        SelfLA.check(config, TrainingSet(64))
