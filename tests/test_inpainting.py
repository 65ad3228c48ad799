"""Inpainting: the holes, the loss in closed form, and the layer between encoder and decoder."""

import pytest
import torch
from torch import Tensor, nn

from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.errors import UserError
from byol.methods.base import TrainingSet
from byol.methods.inpainting import ChannelwiseLinear, Inpainting


class Seen(nn.Module):
    """An encoder whose map is the image itself, which it remembers."""

    def forward_features(self, x: Tensor) -> Tensor:
        self.seen = x.clone()
        return x


def test_holes_are_where_they_are_drawn_and_may_overlap() -> None:
    method = Inpainting(Seen(), nn.Identity(), holes=2, side=2)
    draws = torch.tensor([[0.0, 0.5, 0.0, 0.99], [0.4, 0.4, 0.4, 0.4]])  # rows of two holes, then columns
    found = method.missing(torch.zeros(2, 3, 4, 4), draws)  # first rows and columns are 0, 1 or 2
    assert found[0, 0].int().tolist() == [[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0]]
    assert found[1, 0].int().tolist() == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]


def test_the_loss_is_the_squared_error_in_the_holes_alone() -> None:
    encoder = Seen()
    method = Inpainting(encoder, nn.Identity(), holes=1, side=2)
    view = torch.arange(32.0).view(2, 1, 4, 4)
    draws = torch.tensor([[0.0, 0.0], [0.5, 0.5]])
    loss = method(view, draws)
    holes = [0.0, 1, 4, 5, 21, 22, 25, 26]  # the decoder gives what it sees: 0 in the holes
    assert loss.item() == pytest.approx(sum(value**2 for value in holes) / 8, rel=1e-6)
    assert encoder.seen[0, 0, :2, :2].abs().sum() == 0
    assert torch.equal(encoder.seen[0, 0, 2:], view[0, 0, 2:])


def test_a_perfect_painter_has_no_loss() -> None:
    view = torch.randn(2, 3, 8, 8)

    class Knows(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return view

    assert Inpainting(Seen(), Knows(), holes=3, side=3)(view, torch.rand(2, 6)).item() == 0


def test_the_channelwise_layer_is_a_matrix_for_each_channel() -> None:
    torch.manual_seed(0)
    layer = ChannelwiseLinear(3, 2)
    maps = torch.randn(5, 3, 2, 2)
    weight, bias = layer.places.weight.view(3, 4, 4), layer.places.bias.view(3, 4)
    expected = torch.stack([maps[:, c].flatten(1) @ weight[c].T + bias[c] for c in range(3)], dim=1)
    torch.testing.assert_close(layer(maps).flatten(2), expected)


def test_an_encoder_without_maps_is_refused() -> None:
    config = replace(PretrainConfig(), method="inpainting", encoder="vit_tiny_patch16_224")
    with pytest.raises(UserError, match="needs an encoder with feature maps"):
        Inpainting.check(config, TrainingSet(64))
