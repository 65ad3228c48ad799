"""Compiled networks train as plain ones do, within rounding."""

import shutil
import warnings

import pytest
import torch

from building import build, make_loader
from byol.bench.profile import ONLINE, TARGET, Updates, profile
from byol.config.encoder import EncoderSpec
from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.data.batch import Batch
from byol.data.sources.open import TensorSource
from byol.pretraining.train import TrainStep

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # the compiler's own
    pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler"),
]

CONFIG = PretrainConfig(
    image_size=16, batch_size=8, epochs=1, device="cpu", precision="float32", encoder=EncoderSpec(name="resnet10")
)
CONFIG = replace(CONFIG, encoder__width=0.25, method__hidden=16, method__output=8, optim__name="sgd")


def test_a_profile_watches_compiled_networks_from_outside() -> None:
    images = torch.randint(0, 256, (16, 3, 16, 16), dtype=torch.uint8)
    config = replace(CONFIG, optim__compile=True)
    loader = make_loader(TensorSource(images), config, workers=1, decoded=images)
    train_step = TrainStep(build(config), config)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Dynamo does not know")
        found = profile(train_step, loader, Updates(first=0, timed=2, scheduled={"tau": 1.0}))
    assert found.seconds[ONLINE] > 0
    assert found.seconds[TARGET] > 0
    assert train_step.state.method.encoder._compiled_call_impl.__name__ != "timed", "the watch came off"


def test_compiled_networks_give_the_losses_of_plain_ones() -> None:
    losses = {}
    for compiled in (False, True):
        config = replace(CONFIG, optim__compile=compiled)
        state = build(config)
        train_step = TrainStep(state, config)
        assert (state.method.encoder._compiled_call_impl is not None) == compiled
        views = torch.randn(2, 8, 3, 16, 16, generator=torch.Generator().manual_seed(1)).unbind()
        losses[compiled] = [train_step([Batch(views)], 0.05, {"tau": 0.9})[0].item() for _ in range(6)]
        names = list(state.method.state_dict())
        assert not any("_orig_mod" in name for name in names), "a checkpoint reads the same with and without"
    assert losses[True][0] == pytest.approx(losses[False][0], rel=1e-5)
    assert losses[True] == pytest.approx(losses[False], rel=1e-3)  # rounding grows from update to update
    assert losses[False][-1] < 0.9 * losses[False][0]
