"""Colorization: bins, the soft encoding and the weights by hand, the loss in closed form, an encoder for any image."""

import math

import pytest
import torch
from torch import Tensor, nn

from byol.config.encoder import EncoderSpec
from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.errors import UserError
from byol.methods.base import TrainingSet
from byol.methods.colorization import Colorization, class_weights, color_bins, spread
from byol.methods.lightness import rgb_to_lab

NORMALIZATION = EncoderSpec().normalization


def test_bins_are_on_the_grid_and_hold_every_color() -> None:
    bins = color_bins()
    assert bins.shape == (261, 2)
    assert torch.equal(bins % 10, torch.zeros_like(bins))
    assert {(0.0, 0.0), (80.0, 70.0), (-90.0, 80.0)} <= {tuple(one) for one in bins.tolist()}  # gray, red, green
    rgb = torch.rand(1, 3, 100, 100, generator=torch.Generator().manual_seed(0))
    colors = rgb_to_lab(rgb)[0, 1:].flatten(1).T
    assert (torch.cdist(colors, bins).amin(1) <= math.sqrt(50) + 1e-3).all(), "half the diagonal of a bin"


def test_a_color_is_spread_over_its_nearest_bins_by_a_gaussian() -> None:
    bins = torch.tensor([[0.0, 0], [10, 0], [0, 10], [-10, 0], [0, -10], [90, 90]])
    nearest, weights = spread(torch.tensor([[2.0, 0.0]]), bins)
    squares = {0: 4, 1: 64, 2: 104, 4: 104, 3: 144}
    assert set(nearest[0].tolist()) == set(squares)
    assert nearest[0, 0] == 0
    total = sum(math.exp(-square / 50) for square in squares.values())
    for index, weight in zip(nearest[0].tolist(), weights[0].tolist(), strict=True):
        assert weight == pytest.approx(math.exp(-squares[index] / 50) / total, rel=1e-4)


def test_rare_colors_count_more_and_one_on_average() -> None:
    bins = torch.tensor([[0.0, 0], [100, 100]])  # so far apart that smoothing does nothing
    counts = torch.tensor([90.0, 10.0])
    found = class_weights(counts, bins, rebalance=0.5)
    raw = torch.tensor([1 / (0.45 + 0.25), 1 / (0.05 + 0.25)])
    torch.testing.assert_close(found, raw / (0.9 * raw[0] + 0.1 * raw[1]))
    assert (found * counts / 100).sum().item() == pytest.approx(1)
    torch.testing.assert_close(class_weights(counts, bins, rebalance=0.0), torch.ones(2))


class Nothing(nn.Module):
    """An encoder with maps of one value for each 4 x 4 pixels."""

    num_features = 1

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 4, stride=4)

    def forward_features(self, x: Tensor) -> Tensor:
        return self.conv(x)


def test_the_loss_is_ln_of_the_bins_without_knowledge() -> None:
    """With all weights 1; with rare colors weighed more the mean weight of the colors that were met is 1 too."""
    decoder = nn.Conv2d(1, 261, 1)
    for parameter in decoder.parameters():
        nn.init.zeros_(parameter)
    view = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    method = Colorization(Nothing(), decoder, NORMALIZATION, rebalance=0.0)
    assert method(view).item() == pytest.approx(math.log(261), rel=1e-5)
    assert method.counts.sum().item() == pytest.approx(8, rel=1e-5), "two images of four places"
    method(view)
    assert method.counts.sum().item() == pytest.approx(16, rel=1e-5)
    assert "counts" in method.state_dict()


def test_the_loss_agrees_with_a_computation_by_hand() -> None:
    method = Colorization(Nothing(), nn.Identity(), NORMALIZATION)
    logits = torch.randn(2, 261, generator=torch.Generator().manual_seed(3))
    colors = torch.tensor([[1.0, 2.0], [41.0, 28.0]])
    found = method.loss(logits, colors).item()
    nearest, weights = spread(colors, method.bins)
    rare = class_weights(method.counts, method.bins, 0.5)
    expected = 0.0
    for row in range(2):
        norm = math.log(sum(math.exp(value) for value in logits[row].tolist()))
        told = sum(w * (logits[row, q].item() - norm) for q, w in zip(nearest[row], weights[row].tolist(), strict=True))
        expected -= rare[nearest[row, 0]].item() * told / 2
    assert found == pytest.approx(expected, rel=1e-5)
    assert method.counts.sum().item() == pytest.approx(2, rel=1e-5)


def test_the_network_never_sees_a_color() -> None:
    encoder = Nothing()
    method = Colorization(encoder, nn.Conv2d(1, 261, 1), NORMALIZATION)
    view = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(encoder.conv(view), encoder.conv(method.colors.gray(view)), atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        encoder.conv.weight.add_(torch.randn_like(encoder.conv.weight))  # an optimizer's step
    method.after_step({})
    torch.testing.assert_close(encoder.conv(view), encoder.conv(method.colors.gray(view)), atol=1e-5, rtol=1e-4)


def test_gray_images_and_encoders_without_maps_are_refused() -> None:
    config = replace(PretrainConfig(), method="colorization")
    gray = replace(config, encoder=config.encoder.for_channels(1))
    with pytest.raises(UserError, match=r"needs images of color, but these have 1 channel; give another --method"):
        Colorization.check(gray, TrainingSet(64))
    with pytest.raises(UserError, match="needs an encoder with feature maps"):
        Colorization.check(replace(config, encoder="vit_tiny_patch16_224"), TrainingSet(64))
