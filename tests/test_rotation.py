"""Rotation prediction: the turns, the loss in closed form, one view per image."""

import math

import pytest
import torch
from torch import Tensor, nn

from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.methods.rotation import Rotation, rotated


def test_the_four_turns_of_a_known_image() -> None:
    image = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(1, 1, 2, 2)
    turns = rotated(torch.cat([image, 10 * image])).squeeze(1)
    expected = [[[1, 2], [3, 4]], [[2, 4], [1, 3]], [[4, 3], [2, 1]], [[3, 1], [4, 2]]]
    for turn, one in enumerate(expected):
        assert turns[2 * turn].tolist() == one
        assert turns[2 * turn + 1].tolist() == [[10 * v for v in row] for row in one]


class TopLeft(nn.Module):
    """Tells how bright the four corners are: (N, 1, 2, 2) -> (N, 4), clockwise from the top left."""

    num_features = 4

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x[:, 0, 0, 0], x[:, 0, 0, 1], x[:, 0, 1, 1], x[:, 0, 1, 0]], dim=1)


def test_the_loss_is_ln_4_without_knowledge_and_0_with_all() -> None:
    method = Rotation(TopLeft())
    nn.init.zeros_(method.classifier.weight)
    nn.init.zeros_(method.classifier.bias)
    view = torch.zeros(3, 1, 2, 2)
    view[:, 0, 0, 0] = 1.0  # a bright corner, which a turn by 90 degrees takes to the bottom left
    assert method(view).item() == pytest.approx(math.log(4), abs=1e-6)
    with torch.no_grad():  # corners clockwise: a quarter turn moves the light one corner back
        method.classifier.weight.copy_(40 * torch.eye(4)[[0, 3, 2, 1]])
    assert method(view).item() == pytest.approx(0, abs=1e-6)


def test_a_batch_has_one_view_with_crop_and_flip_alone() -> None:
    config = replace(PretrainConfig(), method="rotation", image_size=48, augment__view1__area=(0.2, 1.0))
    (spec,) = Rotation.views(config)
    assert spec.size == 48
    assert spec.config.area == (0.2, 1.0)
    assert (spec.config.flip, spec.config.vertical_flip) == (0.5, 0)
    assert (spec.config.jitter, spec.config.gray, spec.config.blur, spec.config.solarize) == (0, 0, 0, 0)
