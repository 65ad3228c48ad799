"""Whether captured steps move weights by the rates of each step, on any device."""

import torch

from building import build, make_loader
from byol.config.run import PretrainConfig
from byol.data.sources.open import TensorSource
from byol.pretraining.train import TrainStep
from byol.runtime.cuda_graph import Capture, capture
from byol.runtime.seeds import generator_of

STEPS = 8


def check_rates(config: PretrainConfig, device: torch.device, capture: Capture = capture) -> None:
    """A rate of 0 leaves every weight and lets the target come half of the way; the next rate moves weights alone."""
    state = build(config, 3, device)
    train_step = TrainStep(state, config, capture)
    images = torch.randint(0, 256, (8 * config.batch_size, 3, 12, 12), dtype=torch.uint8, generator=generator_of(2))
    loader = make_loader(TensorSource(images), config, device, 1, decoded=images)
    for step, batches in enumerate(loader.batches(0, STEPS)):
        online = [p.detach().clone() for p in state.method.encoder.parameters()]
        target = [p.detach().clone() for p in state.method.target_encoder.parameters()]
        moves = step % 2 == 0
        lr, tau = (1e-3, 1.0) if moves else (0.0, 0.5)
        train_step(batches, lr, {"tau": tau})
        same = [torch.equal(p, old) for p, old in zip(state.method.encoder.parameters(), online, strict=True)]
        assert not any(same) if moves else all(same), step
        for new, old, goal in zip(state.method.target_encoder.parameters(), target, online, strict=True):
            torch.testing.assert_close(new, old if moves else (old + goal) / 2)
