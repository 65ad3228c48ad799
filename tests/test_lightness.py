"""CIE Lab against scikit-image, gray images, and an encoder that sees them alone."""

import numpy as np
import torch
from skimage.color import rgb2lab

from byol.config.encoder import EncoderSpec
from byol.encoders.build import make_encoder
from byol.methods.lightness import Colors, rgb_to_lab

NORMALIZATION = EncoderSpec().normalization


def test_lab_is_that_of_scikit_image() -> None:
    rgb = torch.rand(2, 3, 20, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rgb[0, :, 0, :4] = torch.tensor([[0.0, 1, 0.02, 0], [0, 1, 0.01, 0], [0, 1, 0.03, 1]])
    expected = np.moveaxis(rgb2lab(rgb.permute(0, 2, 3, 1).numpy()), -1, 1)
    np.testing.assert_allclose(rgb_to_lab(rgb).numpy(), expected, atol=0.02)  # of 100: their matrix has more digits


def test_white_is_100_and_grays_have_no_color() -> None:
    gray = torch.tensor([1.0, 0.5, 0.1]).view(3, 1, 1, 1).expand(3, 3, 1, 1)
    lab = rgb_to_lab(gray).view(3, 3)
    torch.testing.assert_close(lab[0], torch.tensor([100.0, 0, 0]), atol=0.01, rtol=0)
    assert lab[:, 1:].abs().max() < 0.01
    assert abs(lab[1, 0].item() - 53.389) < 0.01


def test_a_gray_image_has_luma_in_every_channel() -> None:
    colors = Colors(NORMALIZATION)
    rgb = torch.tensor([0.2, 0.6, 0.9]).view(1, 3, 1, 1)
    found = colors.rgb(colors.gray((rgb - colors.mean) / colors.std))
    luma = (0.2989 * 0.2 + 0.587 * 0.6 + 0.114 * 0.9) / 0.9999
    torch.testing.assert_close(found, torch.full((1, 3, 1, 1), luma))
    assert not colors.state_dict(), "constants are no state"


def test_an_encoder_that_sees_gray_alone_gives_an_image_and_its_gray_copy_the_same_features() -> None:
    torch.manual_seed(0)
    encoder = make_encoder("resnet10", width=0.25, stem="stride2").eval()
    colors = Colors(NORMALIZATION)
    images = torch.randn(4, 3, 32, 32)
    gray = colors.gray(images)
    assert not torch.allclose(encoder(images), encoder(gray), atol=1e-3)
    colors.see_gray_alone(encoder)
    once = encoder.conv1.weight.clone()
    torch.testing.assert_close(encoder(images), encoder(gray), atol=1e-5, rtol=1e-4)
    colors.see_gray_alone(encoder)
    torch.testing.assert_close(encoder.conv1.weight, once)  # a projection: twice is once
