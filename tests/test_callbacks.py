"""What methods are told at the end of an epoch: once for each, and with features of all training images."""

import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import byol
from byol.augment.normalize import as_float
from byol.config.encoder import EncoderSpec
from byol.data.loader import Loader
from byol.data.sources.open import TensorSource
from byol.methods.base import Features, Progress
from byol.methods.byol import BYOL
from byol.pretraining import callbacks
from conftest import TINY


class Epochs:
    """Notes the updates after which a method was told that an epoch had ended, and the features that it was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, images: Tensor) -> None:
        self.images = images
        self.steps: list[int] = []
        self.updates = 0
        self.interrupt_at: int | None = None
        scheduled = BYOL.scheduled

        def count(method: BYOL, progress: Progress) -> dict[str, float]:
            if progress.total > 1:  # a step also asks for the names alone
                self.updates = progress.step + 1
            return scheduled(method, progress)

        monkeypatch.setattr(BYOL, "scheduled", count)
        monkeypatch.setattr(BYOL, "after_epoch", self._noter())

    def _noter(self) -> Callable[[BYOL, Callable[[], Features]], None]:
        def note(method: BYOL, features: Callable[[], Features]) -> None:
            self.steps.append(self.updates)
            found = features()
            assert method.encoder.training, "left in the mode it came in"
            assert found.indices.tolist() == list(range(len(self.images)))
            method.encoder.eval()
            with torch.no_grad():
                expected = method.encoder(normalized(self.images))
            method.encoder.train()
            torch.testing.assert_close(found.values, expected, rtol=1e-4, atol=1e-5)
            if self.updates == self.interrupt_at:
                signal.raise_signal(signal.SIGTERM)  # a shell may ignore SIGINT for what it starts in the background

        return note


def normalized(images: Tensor) -> Tensor:
    spec = EncoderSpec()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (spec.mean, spec.std))
    return (as_float(images) - mean) / std


def settings(batch: int, epochs: float) -> dict[str, Any]:
    return {**TINY, "batch_size": batch, "epochs": epochs, "encoder__input_size": 16}


def pictures(count: int) -> Tensor:
    return torch.randint(0, 256, (count, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("count", "batch", "epochs", "ends"),
    [
        (32, 8, 2, [4, 8]),  # batches end with the epochs
        (30, 8, 4, [4, 8, 12, 15]),  # three of them span two epochs
        (30, 8, 1, []),  # 3 updates, which see 24 images
    ],
)
def test_a_method_is_told_once_after_each_epoch(
    count: int, batch: int, epochs: float, ends: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = pictures(count)
    told = Epochs(monkeypatch, images)
    outcome = byol.pretrain(
        TensorSource(images), recipe="cifar10-cpu", out=tmp_path / "run", quiet=True, **settings(batch, epochs)
    )
    assert not outcome.interrupted
    assert told.updates == int(count * epochs) // batch
    assert told.steps == ends


def test_a_resumed_run_is_not_told_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures(30)
    told = Epochs(monkeypatch, images)
    told.interrupt_at = 4
    started = byol.pretrain(
        TensorSource(images), recipe="cifar10-cpu", out=tmp_path / "run", quiet=True, **settings(8, 4)
    )
    assert started.interrupted
    assert told.updates == 4
    assert told.steps == [4]
    finished = byol.resume(tmp_path / "run", data=TensorSource(images), quiet=True)
    assert not finished.interrupted
    assert told.updates == 15
    assert told.steps == [4, 8, 12, 15]


def test_without_a_terminal_a_line_says_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "SAY_SECONDS", 0.0)
    batches = Loader.batches

    def slow(self: Loader, first: int, last: int) -> Iterator[Any]:
        for batch in batches(self, first, last):
            time.sleep(0.2 if last > 1 else 0)  # the probe is one batch
            yield batch

    monkeypatch.setattr(Loader, "batches", slow)
    images = TensorSource(torch.randint(0, 256, (32, 3, 16, 16), dtype=torch.uint8))
    settings = {**TINY, "batch_size": 8, "epochs": 1, "logging__log_every": 2}
    byol.pretrain(images, recipe="cifar10-cpu", out=tmp_path / "run", quiet=True, **settings)
    said = (tmp_path / "run" / "log.txt").read_text()
    (first, last) = re.findall(
        r"after (\d) of 4 updates: loss [\d.]+, \d+ images/s, (\d+)% of the time waiting for images, about (.*) left",
        said,
    )
    assert (first[0], last[0]) == ("2", "4")
    assert int(first[1]) > 50, "0.4 seconds of waiting for two tiny updates"
    assert last[2] == "0 seconds"
