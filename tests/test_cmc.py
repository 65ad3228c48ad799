"""CMC: what the two encoders see, the loss of both directions, and the banks."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byol.config.encoder import EncoderSpec
from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.errors import UserError
from byol.methods.base import TrainingSet
from byol.methods.cmc import CMC
from byol.methods.lightness import rgb_to_lab
from byol.methods.memory_bank import MemoryBank


class Convolution(nn.Module):
    """Images of some channels -> five features."""

    num_features = 5

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).mean((2, 3))


def method() -> CMC:
    torch.manual_seed(0)
    banks = MemoryBank(9, 4, negatives=6, temperature=0.1), MemoryBank(9, 4, negatives=6, temperature=0.1)
    light, color = ((Convolution(channels), nn.Linear(5, 4)) for channels in (3, 2))
    return CMC(light, color, banks, EncoderSpec().normalization)


def test_one_encoder_sees_light_and_the_other_color() -> None:
    learner = method()
    rgb = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    gray, color = learner.light_and_color((rgb - learner.colors.mean) / learner.colors.std)
    torch.testing.assert_close(color, rgb_to_lab(rgb)[:, 1:] / 25, atol=1e-4, rtol=1e-3)
    luma = (rgb * torch.tensor([0.2989, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True) / 0.9999
    torch.testing.assert_close(learner.colors.rgb(gray), luma.expand_as(gray))


def test_the_loss_is_that_of_both_directions_and_both_banks_move() -> None:
    learner, view = method(), torch.randn(3, 3, 4, 4)
    index, draws = torch.tensor([7, 1, 4]), torch.rand(3, 2)
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    found = learner(view, index, draws)
    after = {name: value.clone() for name, value in learner.state_dict().items()}
    learner.load_state_dict(before)
    gray, color = learner.light_and_color(view)
    light = F.normalize(learner.projector(learner.encoder(gray)), dim=1)
    colored = F.normalize(learner.color_projector(learner.color_encoder(color)), dim=1)
    drawn = (draws.flatten() * 9).long()
    one = learner.color_bank.loss(light, index, learner.color_bank.vectors[drawn])
    other = learner.light_bank.loss(colored, index, learner.light_bank.vectors[drawn])
    torch.testing.assert_close(found, one + other)
    for name, vectors in (("light_bank", light), ("color_bank", colored)):
        moved = F.normalize(0.5 * before[f"{name}.vectors"][index] + 0.5 * vectors, dim=1)
        torch.testing.assert_close(after[f"{name}.vectors"][index], moved)


def test_the_exported_encoder_sees_light_alone() -> None:
    learner, view = method(), torch.randn(2, 3, 4, 4)
    with torch.no_grad():
        learner.encoder.conv.weight.add_(torch.randn_like(learner.encoder.conv.weight))
    learner.after_step({})
    torch.testing.assert_close(learner.encoder(view), learner.encoder(learner.colors.gray(view)), atol=1e-5, rtol=1e-4)


def test_gray_images_are_refused_and_colors_are_kept() -> None:
    config = replace(PretrainConfig(), method="cmc", batch_size=256)
    with pytest.raises(UserError, match=r"^The method cmc needs images of color, but these have 1 channel; give"):
        CMC.check(replace(config, encoder=config.encoder.for_channels(1)), TrainingSet(64))
    (spec,) = CMC.views(config)
    assert (spec.config.gray, spec.config.solarize, spec.config.jitter) == (0, 0, 0.8)
    assert CMC.draws(config) == 64
