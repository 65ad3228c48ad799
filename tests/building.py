"""Short ways to a state, a loader and a step, for tests."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.data.batch import Batch, CropBatch
from byol.data.loader import Loader, Storage
from byol.data.sources.base import Source
from byol.methods.base import Progress, TrainingSet
from byol.pretraining.setup import pipeline_of
from byol.pretraining.state import TrainState, build_state
from byol.pretraining.train import TrainStep
from byol.runtime.distributed import Member

CPU = torch.device("cpu")


def build(
    config: PretrainConfig, channels: int = 3, device: torch.device = CPU, classes: int | None = None
) -> TrainState:
    """The state of a run on images of so many channels, with labels where `classes` is given."""
    spec = config.encoder.for_channels(channels)
    labels = None if classes is None else list(range(classes))
    return build_state(replace(config, encoder=spec), TrainingSet(max(config.batch_size, 64), labels), device)


def make_loader(
    source: Source,
    config: PretrainConfig,
    device: torch.device = CPU,
    workers: int = 2,
    decoded: Tensor | list[Tensor] | None = None,
    **options: Any,
) -> Loader:
    """A loader of a run's own views; options are `rank`, `world_size`, `on_bad` and `prefetched`."""
    on_bad: Callable[[str], None] = options.pop("on_bad", lambda line: None)
    member = Member(options.pop("rank", 0), options.pop("world_size", 1))
    storage = Storage(source, workers, decoded, on_bad)
    config = replace(config, encoder=config.encoder.for_channels(source.channels))
    return Loader(storage, config, pipeline_of(config), device, member, **options)


def step_once(
    state: TrainState, batches: Sequence[CropBatch | Batch], config: PretrainConfig, lr: float, tau: float
) -> tuple[Tensor, Tensor]:
    """One update at a learning rate, and at a tau where the method has one; its loss and gradient norm."""
    train_step = TrainStep(state, replace(config, optim__accumulate=len(batches)))
    scheduled = dict.fromkeys(state.method.scheduled(Progress(0, 1)), tau)
    return train_step(batches, lr, scheduled)
