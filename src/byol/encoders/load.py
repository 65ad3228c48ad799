"""An encoder by the name that a user types: a run, a file, a timm model, an untrained one, or bare pixels."""

import copy
import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import torch
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn

from byol.config.axes import Axes
from byol.config.encoder import EncoderSpec, Stem
from byol.config.reading import ReadingConfig
from byol.data.sources.digest import digest
from byol.data.sources.open import Source
from byol.data.transform import Transform
from byol.encoders.build import make_encoder
from byol.encoders.file import read_encoder
from byol.encoders.hub import HUB, pretrained_timm
from byol.encoders.names import TIMM, check_name, fixed_input_size
from byol.encoders.sizes import STEM_SIZES, fitted, unsupported_reason
from byol.errors import UserError, nearest

STEMS: tuple[Stem, ...] = get_args(Stem)
PIXELS_SIZE = 32
"""Side that images have for the `pixels` encoder: 3,072 values, as many as a ResNet-50 has features, about."""


@dataclass(frozen=True)
class LoadedEncoder:
    """An encoder, and all that an evaluation must know of it."""

    module: nn.Module
    """From normalized images (N, C, S, S) to features (N, D). Evaluations train copies, never this one."""
    transform: Transform
    name: str
    """What the user typed."""
    fingerprint: str
    """16 hexadecimal digits from the weights and the transform."""
    spec: EncoderSpec | None
    """None for pixels, which cannot be trained."""
    fresh: bool = False
    """Whether it was never trained and its batch norm has seen no images yet."""
    reading: ReadingConfig = ReadingConfig()
    """How the scans, volumes, videos and slides that it was trained on were read."""
    axes: Axes = "auto"
    """What the axes of the arrays that it was trained on were."""

    def untrained(self, seed: int = 0) -> "LoadedEncoder":
        """The same architecture with fresh weights.

        Raises:
            UserError: pixels have no weights.
        """
        spec = self._trainable().untrained()
        return replace(_untrained(f"random:{self.name}", spec, seed), reading=self.reading)

    def calibrated(self, calibrate: Callable[[nn.Module], None]) -> "LoadedEncoder":
        """The same weights after `calibrate` has set the averages of batch norm."""
        module = copy.deepcopy(self.module)
        calibrate(module)
        return _frozen(module, self.transform, self.name, self.spec)

    def copy(self) -> nn.Module:
        """A network with the same weights, to train further.

        Raises:
            UserError: pixels have no weights.
        """
        self._trainable()
        module = copy.deepcopy(self.module)
        for parameter in module.parameters():
            parameter.requires_grad_()
        return module

    def with_region(self, region: str) -> "LoadedEncoder":
        """The same encoder looking at another part of each image (`Transform.region`)."""
        transform = replace(self.transform, region=region)  # type: ignore[arg-type]
        return replace(self, transform=transform)

    def check(self, source: Source) -> None:
        """See that a source delivers images with the channels that the encoder takes.

        Raises:
            UserError: it does not.
        """
        if self.spec is not None and source.channels != self.spec.channels:
            raise UserError(
                f"{source.name} has images with {source.channels} channels, but the encoder {self.name} takes "
                f"{self.spec.channels}; open the data with channels={self.spec.channels}."
            )

    def _trainable(self) -> EncoderSpec:
        if self.spec is None:
            raise UserError("pixels have no weights to train; give a run, timm:NAME or random:NAME.")
        return self.spec


class Pixels(nn.Module):
    """The baseline that learns nothing: an image's own values are its features, (N, C, H, W) -> (N, C*H*W)."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


def open_encoder(name: str, *, channels: int = 3, seed: int = 0) -> LoadedEncoder:
    """An encoder by name.

    Args:
        name: one of
            a run's folder, or an exported `.safetensors` file with its `.json` beside it;
            another program's file of weights (docs/weights.md), or `hf-hub:ORGANIZATION/NAME`;
            `timm:NAME`, pretrained weights from the hub;
            `random:NAME`, untrained, with `@` and any of a stem, a width and a size after it, in any order:
            `random:resnet18@small/x0.5/32`, or `random:FOLDER` for the architecture of a run;
            `pixels`, or `pixels@48` for another side than 32.
        channels: of the images, for `random:NAME`, `timm:NAME` and `pixels`.
        seed: of untrained weights.

    Raises:
        UserError: there is nothing of that name, or its weights cannot be reached.
    """
    kind, colon, rest = name.partition(":")
    if name == "pixels" or name.startswith("pixels@"):
        return _pixels(name, channels)
    if kind == "timm" and colon:
        return _from_timm(rest, channels)
    if kind == "random" and colon:
        return _random(rest, channels, seed)
    if not name.startswith(HUB) and not Path(name).exists():
        word = nearest(kind, ("timm", "random", "pixels")) if colon or "/" not in name else ""
        raise UserError(
            f"There is no encoder {name!r}; give a run's folder, a file of weights, timm:NAME, random:NAME or "
            f"pixels.{word}"
        )
    module, card = read_encoder(name)
    return replace(_loaded(module, name, card.encoder), axes=card.axes, reading=card.reading)


def _loaded(module: nn.Module, name: str, spec: EncoderSpec) -> LoadedEncoder:
    return _frozen(module, Transform.of(spec), name, spec)


def _frozen(module: nn.Module, transform: Transform, name: str, spec: EncoderSpec | None) -> LoadedEncoder:
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    weights = (part for key, value in module.state_dict().items() for part in (key, _bytes(value)))
    network = None if spec is None else (spec.name, spec.width, spec.stem, spec.channels)
    return LoadedEncoder(module.eval(), transform, name, digest([repr(network), *weights]), spec)


def _untrained(name: str, spec: EncoderSpec, seed: int) -> LoadedEncoder:
    """A fresh network; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = make_encoder(spec)
    return replace(_loaded(module, name, spec), fresh=True)


def _bytes(value: Tensor) -> bytes:
    return value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _pixels(name: str, channels: int) -> LoadedEncoder:
    size = name.partition("@")[2] or str(PIXELS_SIZE)
    if not size.isdecimal() or int(size) < 1:
        raise UserError(f"{name!r} names no size; give pixels, or pixels@48 for images of 48 px.")
    transform = Transform(image_size=int(size), mean=(0.5,) * channels, std=(0.25,) * channels)
    return _frozen(Pixels(), transform, name, None)


def _from_timm(name: str, channels: int) -> LoadedEncoder:
    module = pretrained_timm(name, channels)
    data = resolve_model_data_config(module)
    spec = EncoderSpec.of(name, channels, weights=TIMM, input_size=int(data["input_size"][-1]))
    if len(data["mean"]) == channels:
        spec = dataclasses.replace(spec, mean=tuple(data["mean"]), std=tuple(data["std"]))
    return _loaded(module, f"timm:{name}", spec)


def _random(rest: str, channels: int, seed: int) -> LoadedEncoder:
    if Path(rest).exists():
        card = read_encoder(rest)[1]
        return replace(_untrained(f"random:{rest}", card.encoder.untrained(), seed), reading=card.reading)
    name, _, options = rest.partition("@")
    stem: Stem = "standard"
    width, size = 1.0, None
    for option in options.split("/") if options else []:
        if option in STEMS:
            stem = option
        elif option.isdecimal() and int(option) >= 8:
            size = int(option)
        elif option.startswith("x") and _positive(option[1:]):
            width = float(option[1:])
        else:
            raise UserError(
                f"{option!r} in random:{rest} is no option; give a stem ({', '.join(STEMS)}), a width such as x0.5, or "
                f"a size of 8 px or more.{nearest(option, STEMS)}"
            )
    size = size or fixed_input_size(name) or STEM_SIZES[stem]
    spec = EncoderSpec.of(name, channels, width=width, stem=stem, input_size=size)
    check_name(spec)
    spec = fitted(spec, size)
    if why := unsupported_reason(spec, size):
        raise UserError(f"The encoder {name!r} takes no images of {size} px ({why}); give another random:{name}@SIZE.")
    return _untrained(f"random:{rest}", spec, seed)


def _positive(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and float(text) > 0
    except ValueError:
        return False
