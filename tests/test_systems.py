"""Every method, on photographs, through `byol.pretrain`: it trains, goes on as if it had never stopped, and gives an
encoder like any other."""

from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

import byol
from byol.config.methods import AnyMethodConfig
from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.data.sources.base import Source
from byol.data.sources.tensor import TensorSource
from byol.pretraining.callbacks import Callbacks
from byol.runtime.metrics import read_metrics

RUN: dict[str, Any] = {
    "encoder": "resnet10",
    "encoder__width": 0.25,
    "encoder__stem": "stride2",
    "image_size": 32,
    "batch_size": 8,
    "epochs": 2,
    "device": "cpu",
    "precision": "float32",
    "optim__name": "sgd",
    "data__workers": 1,
    "data__memory": "always",
    "logging__log_every": 1,
    "logging__health_every": 100,
    "logging__checkpoint_minutes": 1e-7,
    "logging__stop_on_collapse": False,
}
"""Two updates, each of which ends an epoch."""

NARROW = {
    "hidden": 32,
    "output": 16,
    "predictor_hidden": 8,
    "negatives": 16,
    "queue": 8,
    "splits": 2,
    "permutations": 10,
    "width": 32,
    "embedding": 16,
    "clusters": 3,
    "latent": 8,
    "heads": 2,
}
"""Sizes of heads and memories, where a method has them."""

TESTED_ELSEWHERE = ("byol", "infonce", "simclr", "moco", "simsiam", "vicreg", "multicrop", "supervised")
SYSTEMS = [kind.name for kind in get_args(AnyMethodConfig) if kind.name not in TESTED_ELSEWHERE]


class KilledError(Exception):
    """Stands for the end of a process."""


@pytest.fixture(scope="module")
def photographs() -> Source:
    """Eight patches of photographs."""
    source = byol.open_source("photos:train")
    return TensorSource(torch.stack([source.image(number) for number in range(0, 800, 100)]))


def settings(name: str) -> dict[str, Any]:
    """A run by a method's defaults, apart from its sizes."""
    method = replace(PretrainConfig(), method=name).method
    known = {f"method__{key}": value for key, value in NARROW.items() if hasattr(method, key)}
    return {**RUN, "method": name, **known}


def results(folder: Path) -> tuple[bytes, list[dict[str, Any]]]:
    """The weights, and every line of the metrics without its speed."""
    lines = [
        {key: value for key, value in line.items() if key != "images_per_second"}
        for line in read_metrics(folder / "metrics.jsonl")
    ]
    return (folder / "encoder.safetensors").read_bytes(), lines


@pytest.mark.parametrize("name", SYSTEMS)
def test_it_trains_goes_on_exactly_and_gives_an_encoder_like_any_other(
    name: str, photographs: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run: dict[str, Any] = {"recipe": "cifar10-cpu", "quiet": True, **settings(name)}
    outcome = byol.pretrain(photographs, out=tmp_path / "untouched", **run)
    watch = Callbacks.__call__

    def killed_after_the_first(self: Callbacks, loss: Tensor, *rest: Any) -> bool:
        if self.state.step == 2:
            raise KilledError
        return watch(self, loss, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(Callbacks, "__call__", killed_after_the_first)
        with pytest.raises(KilledError):
            byol.pretrain(photographs, out=tmp_path / "killed", **run)
    byol.resume(tmp_path / "killed", data=photographs, quiet=True)
    untouched, resumed = (results(tmp_path / folder) for folder in ("untouched", "killed"))
    assert [line["step"] for line in untouched[1] if "loss" in line] == [1, 2]
    assert resumed[1] == untouched[1]
    assert resumed[0] == untouched[0]
    encoder = outcome.encoder()
    start = byol.load_encoder(byol.pretrain(photographs, out=tmp_path / "start", **{**run, "epochs": 0}).folder)
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert encoder(images).shape == start(images).shape == (3, 128)
    assert not torch.equal(encoder.conv1.weight, start.conv1.weight), "the task reaches the first layer"
