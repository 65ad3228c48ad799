"""Exemplar: the loss in closed form, and one view of each image."""

import math

import pytest
import torch
from torch import Tensor, nn

from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.methods.exemplar import Exemplar


class Flat(nn.Module):
    """Images (N, 1, 1, 3) -> their three values."""

    num_features = 3

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


def test_the_loss_is_that_of_a_softmax_over_all_images() -> None:
    method = Exemplar(Flat(), images=4)
    weights = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]])
    with torch.no_grad():
        method.classifier.weight.copy_(weights)
        method.classifier.bias.zero_()
    view = torch.tensor([[2.0, 0, 0], [0, 0, 1]]).view(2, 1, 1, 3)
    first = math.log(math.exp(2) + 3)  # image 3 has the logit 0
    second = math.log(math.exp(1) + 3) - 1  # image 2 has the logit 1
    assert method(view, torch.tensor([3, 2])).item() == pytest.approx((first + second) / 2, rel=1e-6)
    nn.init.zeros_(method.classifier.weight)
    assert method(view, torch.tensor([0, 1])).item() == pytest.approx(math.log(4), rel=1e-6)


def test_a_batch_has_one_view_by_t() -> None:
    config = replace(PretrainConfig(), method="exemplar", image_size=48)
    (spec,) = Exemplar.views(config)
    assert (spec.size, spec.config) == (48, config.augment.view1)
