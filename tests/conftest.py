"""What several tests share: small folders of images, and settings that train in seconds."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

DATA = Path(os.environ.get("BYOL_DATA", Path(__file__).parents[2] / "shared" / "data"))

TINY: dict[str, Any] = {
    "encoder": "resnet18",
    "image_size": 16,
    "batch_size": 16,
    "epochs": 2,
    "device": "cpu",
    "precision": "float32",
    "encoder__width": 0.125,
    "encoder__stem": "stride2",
    "method__hidden": 32,
    "method__output": 16,
    "data__workers": 2,
    "logging__log_every": 2,
    "logging__health_every": 4,
}
"""Settings of a run of a few seconds, for `byol.pretrain(..., recipe="cifar10-cpu", **TINY)`."""

WHOLE_IMAGES: dict[str, Any] = {
    f"augment__view{view}__{name}": value
    for view in (1, 2)
    for name, value in {
        "area": (1.0, 1.0),
        "aspect": (1.0, 1.0),
        "flip": 0.0,
        "jitter": 0.0,
        "gray": 0.0,
        "blur": 0.0,
        "solarize": 0.0,
    }.items()
}
"""Views that are the whole image, as it is."""


def without_heads(settings: dict[str, Any]) -> dict[str, Any]:
    """The same settings for a method that has no projector: supervised."""
    return {name: value for name, value in settings.items() if name not in ("method__hidden", "method__output")}


def flags(settings: dict[str, Any]) -> list[str]:
    """The same settings as they are typed on a command line."""
    typed: list[str] = []
    for name, value in settings.items():
        section, _, last = name.replace("__", ".").replace("_", "-").rpartition(".")
        flag = f"--{section}." if section else "--"
        typed += [flag + ("" if value else "no-") + last] if isinstance(value, bool) else [flag + last, str(value)]
    return typed


def picture(seed: int, height: int = 40, width: int = 36) -> Image.Image:
    """A smooth picture in color, another for every seed."""
    drawn = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(drawn).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 pictures of 40 x 36 pixels; no labels."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(64):
        picture(number).save(folder / f"{number:02d}.png")
    return folder


@pytest.fixture(scope="session")
def class_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """160 pictures of two classes, 20 x 20 pixels: reddish ones and bluish ones."""
    folder = tmp_path_factory.mktemp("classes")
    for name, channel in (("red", 0), ("blue", 2)):
        (folder / name).mkdir()
        for number in range(80):
            pixels = np.asarray(picture(number + 1000 * channel, 20, 20)).copy() // 2
            pixels[..., channel] += 120
            Image.fromarray(pixels).save(folder / name / f"{number:02d}.png")
    return folder


@pytest.fixture
def data_folder() -> Path:
    """The folder of real data sets that BYOL_DATA names."""
    if not DATA.is_dir():
        pytest.skip(f"no data sets at {DATA}; set BYOL_DATA")
    return DATA


@pytest.fixture(autouse=True)
def _same_threads() -> Any:
    """Leave the number of threads as it was: values to the last bit depend on it."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
