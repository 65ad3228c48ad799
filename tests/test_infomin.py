"""InfoMin: its views, and MoCo's loss."""

import torch

from byol.config.methods import InfoMinConfig
from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.methods.infomin import InfoMin
from byol.methods.moco import MoCo
from small_networks import online, views


def test_both_views_are_drawn_alike_and_strongly() -> None:
    config = replace(PretrainConfig(), method="infomin", image_size=48, augment__view1__vertical_flip=0.5)
    one, other = InfoMin.views(config)
    assert one == other
    found = one.config
    assert (one.size, found.area, found.vertical_flip) == (48, (0.2, 1.0), 0.5)
    assert (found.brightness, found.contrast, found.saturation, found.hue) == (0.8, 0.8, 0.8, 0.2)
    assert (found.jitter, found.gray, found.blur, found.solarize) == (0.8, 0.2, 0.5, 0)
    weaker = replace(config, method__strength=0.4, method__smallest=0.5)
    assert InfoMin.views(weaker)[0].config.hue == 0.1
    assert InfoMin.views(weaker)[0].config.area == (0.5, 1.0)


def test_its_loss_is_moco_s() -> None:
    losses = []
    for kind in (MoCo, InfoMin):
        networks = online()
        torch.manual_seed(5)
        losses.append(kind(*networks, queue=20, shuffle=False).double()(*views(6)))
    assert torch.equal(*losses)
    assert InfoMinConfig().temperature == 0.2
