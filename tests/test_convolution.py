"""Convolutions whose weight gradients are matrix products give what PyTorch gives."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from byol.encoders.convolution import ConvolutionByProducts, ProductConv2d, speed_up_convolutions, weight_gradient

LAYERS = [
    # channels in and out, height and width, kernel, stride, padding
    ((3, 5), (7, 6), (3, 3), (1, 1), (1, 1)),
    ((3, 5), (7, 6), (3, 3), (2, 2), (1, 1)),
    ((4, 2), (2, 2), (3, 3), (1, 1), (1, 1)),
    ((4, 2), (1, 1), (3, 3), (1, 1), (1, 1)),
    ((4, 2), (1, 1), (3, 3), (2, 2), (1, 1)),
    ((4, 2), (5, 8), (1, 1), (2, 2), (0, 0)),
    ((4, 2), (6, 5), (5, 2), (3, 1), (2, 0)),
    ((4, 2), (3, 3), (2, 2), (1, 1), (2, 2)),
    ((2, 3), (4, 9), (4, 7), (2, 3), (0, 3)),
]


@pytest.mark.parametrize("layer", LAYERS)
def test_weight_gradient_is_that_of_autograd(layer: tuple[tuple[int, int], ...]) -> None:
    (inputs, outputs), size, kernel, stride, padding = layer
    x = torch.randn(3, inputs, *size, dtype=torch.float64)
    weight = torch.randn(outputs, inputs, *kernel, dtype=torch.float64, requires_grad=True)
    y = F.conv2d(x, weight, stride=stride, padding=padding)
    gradient = torch.randn_like(y)
    (expected,) = torch.autograd.grad(y, weight, gradient)
    torch.testing.assert_close(weight_gradient(x, gradient, kernel, stride, padding), expected)


@pytest.mark.parametrize("layer", LAYERS)
def test_gradients_agree_with_differences(layer: tuple[tuple[int, int], ...]) -> None:
    (inputs, outputs), size, kernel, stride, padding = layer
    x = torch.randn(2, inputs, *size, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(outputs, inputs, *kernel, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: ConvolutionByProducts.apply(a, b, stride, padding), (x, weight))


def test_a_worked_case() -> None:
    """A 2 x 2 image: the middle of a 3 x 3 kernel sees all four pixels, a corner one."""
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    gradient = torch.tensor([[[[10.0, 20.0], [30.0, 40.0]]]])
    found = weight_gradient(x, gradient, (3, 3), (1, 1), (1, 1))
    right = torch.tensor([[40.0, 110, 60], [140, 300, 140], [60, 110, 40]])
    right[0] = torch.tensor([1 * 40.0, 1 * 30 + 2 * 40, 2 * 30])
    right[1] = torch.tensor([1 * 20 + 3 * 40.0, 1 * 10 + 2 * 20 + 3 * 30 + 4 * 40, 2 * 10 + 4 * 30])
    right[2] = torch.tensor([3 * 20.0, 3 * 10 + 4 * 20, 4 * 10])
    assert found[0, 0].tolist() == right.tolist()


def a_network() -> nn.Sequential:
    """Two convolutions with few outputs for images of 8 px, one with many, and one with a bias."""
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.ReLU()),
        *(nn.Conv2d(32, 32, 3, stride=2, padding=1, bias=False), nn.ReLU()),
        *(nn.Conv2d(32, 64, 1, stride=2, bias=False), nn.ReLU()),
        nn.Conv2d(64, 16, 1),
    ).to(memory_format=torch.channels_last)


def gradients(network: nn.Module, images: torch.Tensor, mixed: bool) -> list[torch.Tensor]:
    network.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        loss = network(images).float().square().mean()
    loss.backward()
    return [p.grad.clone() for p in network.parameters() if p.grad is not None]


def test_only_plain_convolutions_change_and_keep_their_weights() -> None:
    network = a_network()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = torch.randn(4, 16, 8, 8)
    with torch.no_grad():
        outputs = network(images)
    speed_up_convolutions(network)
    assert [type(m) is ProductConv2d for m in network if isinstance(m, nn.Conv2d)] == [True, True, True, False]
    assert network.state_dict().keys() == before.keys()
    with torch.no_grad():
        assert torch.equal(network(images), outputs)
    again = copy.deepcopy(network)
    assert type(again[0]) is ProductConv2d
    assert again[0].weight is not network[0].weight


def test_groups_dilation_and_padding_by_name_are_left_alone() -> None:
    network = nn.Sequential(
        nn.Conv2d(4, 4, 3, groups=2, bias=False),
        nn.Conv2d(4, 4, 3, dilation=2, bias=False),
        nn.Conv2d(4, 4, 3, padding="same", bias=False),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect", bias=False),
    )
    speed_up_convolutions(network)
    assert {type(m) for m in network} == {nn.Conv2d}


def test_in_float32_not_one_bit_changes() -> None:
    plain, quick = a_network(), a_network()
    speed_up_convolutions(quick)
    images = torch.randn(4, 16, 8, 8)
    for a, b in zip(gradients(plain, images, False), gradients(quick, images, False), strict=True):
        assert torch.equal(a, b)


def test_in_bf16_gradients_differ_by_rounding_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, quick = a_network(), a_network()
    speed_up_convolutions(quick)
    images = torch.randn(4, 16, 8, 8)
    shapes = []

    def seen(x: torch.Tensor, gradient: torch.Tensor, *layer: tuple[int, int]) -> torch.Tensor:
        shapes.append(tuple(gradient.shape[1:]))
        return weight_gradient(x, gradient, *layer)

    monkeypatch.setattr("byol.encoders.convolution.weight_gradient", seen)
    exact, in_bf16, found = (
        gradients(plain, images, False),
        gradients(plain, images, True),
        gradients(quick, images, True),
    )
    assert shapes == [(64, 2, 2), (32, 4, 4)]  # 64 outputs of the first are too many
    for a, b, c in zip(exact, in_bf16, found, strict=True):
        assert c.dtype == torch.float32
        assert (c - a).norm() <= 1.5 * (b - a).norm() + 1e-3 * a.norm()


def test_frozen_weights_get_no_gradient_and_images_do() -> None:
    network = a_network()
    speed_up_convolutions(network)
    network[2].weight.requires_grad_(False)
    images = torch.randn(4, 16, 8, 8, requires_grad=True)
    gradients(network, images, True)
    assert network[2].weight.grad is None
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


@pytest.mark.parametrize(("channels", "side", "few"), [(64, 4, True), (64, 5, False), (512, 7, True), (512, 8, False)])
def test_many_channels_allow_more_outputs(channels: int, side: int, few: bool) -> None:
    layer = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
    layer.__class__ = ProductConv2d
    assert layer.has_few_outputs((side, side)) is few
