"""The runs of `verdicts.py`: how each is set up to learn, to collapse, to learn nothing, or to be misread."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from byol.config.methods import MoCoConfig, SimCLRConfig, VICRegConfig
from byol.config.values import replace
from byol.config.views import AugmentConfig, ViewConfig
from byol.data.sources.open import TensorSource
from byol.runtime.seeds import generator_of
from verdict_data import DataSet

SHORT = 6.0
"""Passes of most runs."""
STILL = ViewConfig(area=(1.0, 1.0), aspect=(1.0, 1.0), flip=0.0, jitter=0.0, gray=0.0, blur=0.0, solarize=0.0)
"""A view that is the image."""
COLOR_ONLY = ViewConfig(area=(1.0, 1.0), aspect=(1.0, 1.0), flip=0.0, blur=0.0)


@dataclass(frozen=True)
class Case:
    """One run."""

    name: str
    seed: int
    settings: dict[str, Any] = field(default_factory=dict)
    data: Callable[[DataSet], DataSet] = lambda data: data
    """What is done to the data first."""
    relabeled: bool = False
    """Whether that gives all parts other labels, of which the truth then is too."""
    starts_from: str = ""
    """The case, of the same set and seed 0, whose encoder it starts from."""


def cases() -> Iterator[Case]:
    """All runs of one data set, those first that others start from."""
    for epochs in (2.0, 6.0, 15.0, 40.0):
        for seed in range(3):
            yield Case(f"trained, {epochs:g} passes", seed, {"epochs": epochs})
    for seed in range(3):
        yield Case("one update", seed, {"epochs": 0.02})
    for seed in range(2):
        yield Case("rate of 1e-9", seed, {"epochs": SHORT, "optim__lr": 1e-9})
        yield Case("rate 300 times too small", seed, {"epochs": SHORT, "optim__lr": 1e-5})
        yield Case("rate 30 times too large", seed, {"epochs": SHORT, "optim__lr": 0.1})
        yield Case("rate 1000 times too large", seed, {"epochs": SHORT, "optim__lr": 4.0})
    yield from _collapses()
    for seed in range(2):
        yield Case("identical views", seed, {"epochs": SHORT, "augment": AugmentConfig(view1=STILL, view2=STILL)})
        yield Case("views of one crop", seed, {"epochs": SHORT, "augment": _color_only()})
    yield Case("one image", 0, {"epochs": SHORT}, _one_image)
    yield Case("sixteen images, many copies", 0, {"epochs": SHORT}, _copies)
    for seed in range(2):
        yield Case("shuffled labels", seed, {"epochs": SHORT}, _shuffled_labels, relabeled=True)
    yield Case("monitor among the training images", 0, {"epochs": SHORT}, _leak)
    yield Case("20 images", 0, {"epochs": 60.0, "batch_size": 16}, lambda data: _few(data, 20))
    yield Case("100 images", 0, {"epochs": 60.0, "batch_size": 32}, lambda data: _few(data, 100))
    yield Case("30 monitored images", 0, {"epochs": SHORT}, _few_queries)
    yield from _from_start_weights()
    for name, method in _others().items():
        for seed in range(2):
            yield Case(name, seed, {"epochs": SHORT, "method": method})
        yield Case(f"{name}, one update", 0, {"epochs": 0.02, "method": method})
    yield Case("VICReg without variance", 0, {"epochs": SHORT, "method": replace(_vicreg(), variance=0.0)})


def _collapses() -> Iterator[Case]:
    no_predictor = {"method__predictor_depth": 0}
    for optimizer, lr in (("adamw", None), ("sgd", 0.2), ("lars", 0.5)):
        for batch in (64, 256):
            rate = {} if lr is None else {"optim__lr": lr}
            settings = {"epochs": 2 * SHORT, "batch_size": batch, "optim__name": optimizer, **rate, **no_predictor}
            yield Case(f"no predictor, {optimizer}, batch {batch}", 0, settings)
    fast = {"method__tau": 0.0, "method__constant_tau": True}
    yield Case("no predictor, tau 0", 0, {"epochs": SHORT, **no_predictor, **fast})
    yield Case("no predictor, slow", 0, {"epochs": 2 * SHORT, "optim__lr": 1e-4, **no_predictor})
    yield Case("tau 0", 0, {"epochs": 2 * SHORT, **fast})
    yield Case("predictor that never learns", 0, {"epochs": 2 * SHORT, "method__predictor_lr": 0.0})
    yield Case("projections of two numbers", 0, {"epochs": SHORT, "method__output": 2})


def _from_start_weights() -> Iterator[Case]:
    start = "trained, 40 passes"
    yield Case("start kept", 0, {"epochs": 2.0, "optim__lr": 1e-9}, starts_from=start)
    yield Case("start trained on", 0, {"epochs": 20.0, "optim__lr": 5e-4}, starts_from=start)
    yield Case("start forgotten", 0, {"epochs": 2.0, "optim__lr": 0.1}, starts_from=start)
    yield Case("start forgotten, other views", 0, {"epochs": SHORT, "augment": _color_only()}, starts_from=start)


def _others() -> dict[str, Any]:
    return {
        "SimCLR": SimCLRConfig(hidden=512, output=128),
        "MoCo": MoCoConfig(hidden=512, output=128, queue=512),
        "VICReg": _vicreg(),
    }


def _vicreg() -> VICRegConfig:
    return VICRegConfig(hidden=512, output=512)


def _color_only() -> AugmentConfig:
    return AugmentConfig(view1=COLOR_ONLY, view2=COLOR_ONLY)


def _with_train(data: DataSet, rows: torch.Tensor) -> DataSet:
    assert data.train.labels is not None
    labels = [data.train.labels[row] for row in rows.tolist()]
    train = TensorSource(data.train.images[rows], labels, data.train.classes)
    return DataSet(data.name, train, data.monitor, data.test)


def _one_image(data: DataSet) -> DataSet:
    same = TensorSource(data.train.images[:1].repeat(len(data.train), 1, 1, 1))
    return DataSet(data.name, same, data.monitor, data.test)


def _copies(data: DataSet) -> DataSet:
    return _with_train(data, torch.arange(len(data.train)) % 16)


def _few(data: DataSet, count: int) -> DataSet:
    return _with_train(data, torch.arange(count))


def _few_queries(data: DataSet) -> DataSet:
    assert data.monitor.labels is not None
    few = TensorSource(data.monitor.images[:30], data.monitor.labels[:30], data.monitor.classes)
    return DataSet(data.name, data.train, few, data.test)


def _shuffled_labels(data: DataSet) -> DataSet:
    def shuffled(source: TensorSource) -> TensorSource:
        assert source.labels is not None
        order = torch.randperm(len(source), generator=generator_of("shuffled labels")).tolist()
        return TensorSource(source.images, [source.labels[row] for row in order], source.classes)

    return DataSet(data.name, shuffled(data.train), shuffled(data.monitor), shuffled(data.test))


def _leak(data: DataSet) -> DataSet:
    assert data.train.labels is not None
    count = len(data.monitor)
    copies = TensorSource(data.train.images[:count].clone(), data.train.labels[:count], data.train.classes)
    return DataSet(data.name, data.train, copies, data.test)
