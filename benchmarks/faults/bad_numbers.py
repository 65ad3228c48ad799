"""Bad numbers: NaN and infinity in weights, gradients, statistics and images; the verdict says what happened."""

import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from byol.runtime.metrics import read_metrics
from faults.kills import at_call
from faults.product import FLAGS, UPDATES, byol, toy
from faults.trial import Trial, require

FAILED = 3
"""Exit code of a run that has diverged or collapsed."""
STEP = "byol.pretraining.train:TrainStep.__call__"
OPTIMIZER_STEP = "byol.pretraining.train:TrainStep.optimizer_step"
Spoil = Callable[[Any], None]


def trials(count: int, seed: int = 0) -> Iterator[Trial]:
    """Each place of a bad number, in the middle of a run and in its last update."""
    for name, (function, spoil) in PLACES.items():
        for when, call in (("in the middle", 5), ("in the last update", UPDATES)):
            yield Trial(
                "a number that is none, in the state of a run",
                f"{name}, {when}",
                lambda folder, f=function, s=spoil, c=call: diverged(folder, f, s, c),
            )
    for value in (math.nan, math.inf):
        yield Trial("a number that is none, in an image", str(value), lambda folder, v=value: in_an_image(folder, v))


def _weight(step: Any) -> None:
    _put(next(step.state.method.encoder.parameters()), math.nan)


def _target(step: Any) -> None:
    _put(next(step.state.method.target_encoder.parameters()), math.inf)


def _gradient(step: Any) -> None:
    _put(next(p.grad for p in step.state.method.parameters() if p.grad is not None), math.inf)


def _momentum(step: Any) -> None:
    memory = next(iter(step.state.optimizer.state.values()))
    _put(next(value for value in memory.values() if torch.is_tensor(value) and value.ndim), math.nan)


def _statistics(step: Any) -> None:
    buffers = step.state.method.encoder.named_buffers()
    _put(next(buffer for name, buffer in buffers if name.endswith("running_var")), math.nan)


@torch.no_grad()
def _put(tensor: Tensor, value: float) -> None:
    """Change the first of its values."""
    tensor[(0,) * tensor.ndim] = value


PLACES: dict[str, tuple[str, Spoil]] = {
    "a weight of the encoder": (STEP, _weight),
    "a weight of the target": (STEP, _target),
    "a gradient": (OPTIMIZER_STEP, _gradient),
    "the optimizer's momentum": (STEP, _momentum),
    "a running variance of batch norm": (STEP, _statistics),
}


def diverged(folder: Path, function: str, spoil: Spoil, call: int) -> str:
    """The run says that it diverged, exits with 3, and leaves no encoder that is not finite."""
    out, (data, _) = folder / "run", toy()
    flags = [flag for flag in FLAGS if flag != "--logging.no-stop-on-collapse"]
    ended = byol("pretrain", data, "--out", out, *flags, before=at_call(function, call, lambda step, *_: spoil(step)))
    verdict = json.loads((out / "verdict.json").read_text()) if (out / "verdict.json").is_file() else {}
    weights = out / "encoder.safetensors"
    finite = not weights.is_file() or all(
        bool(torch.isfinite(value).all()) for value in load_file(weights).values() if value.is_floating_point()
    )
    require(finite, f"an encoder that is not finite was left; exit code {ended.code}, verdict {verdict.get('word')}")
    require(ended.code == FAILED, f"exit code {ended.code}: {ended.said[-600:]}")
    require(verdict.get("word") == "diverged", f"verdict {verdict}")
    return f"exit code {FAILED} after update {verdict['step']}: {verdict['sentence']}"


def in_an_image(folder: Path, value: float) -> str:
    """A float image with such a pixel among whole ones: the run learns from finite numbers."""
    images, _ = toy()
    data, out = folder / "images", folder / "run"
    shutil.copytree(images, data)
    pixels = np.random.default_rng(0).random((20, 20, 3), dtype=np.float32)
    pixels[3, 4, 1] = value
    np.save(data / "red" / "bad.npy", pixels)
    ended = byol("pretrain", data, "--out", out, *FLAGS)
    require(ended.code == 0, f"exit code {ended.code}: {ended.said[-600:]}")
    lines = read_metrics(out / "metrics.jsonl")
    require(all(line["loss"] is not None for line in lines if "loss" in line), "the loss is no number")
    listed = (out / "bad_images.txt").read_text() if (out / "bad_images.txt").exists() else ""
    return f"passed over: {listed.strip().split(chr(9))[-1]}" if listed else "read as a finite number"
