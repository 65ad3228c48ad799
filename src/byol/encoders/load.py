"""An encoder by the name that a user types: a run, a file, a timm model, an untrained one, or bare pixels."""

import copy
import logging
import math
from dataclasses import dataclass, replace
from pathlib import Path

import timm
import torch
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn

from byol.config.views import IMAGENET_MEAN, IMAGENET_STD
from byol.data.sources.digest import digest
from byol.data.sources.open import Source
from byol.data.transform import Transform
from byol.encoders.build import Stem, make_encoder
from byol.encoders.file import WEIGHTS, read_encoder
from byol.errors import UserError, nearest

STEMS: tuple[Stem, ...] = ("standard", "stride2", "small")
STEM_SIZES: dict[Stem, int] = {"standard": 224, "stride2": 64, "small": 32}
"""Side of the images of an untrained encoder whose size was not given: what each stem is meant for."""
PIXELS_SIZE = 32
"""Side that images have for the `pixels` encoder: 3,072 values, as many as a ResNet-50 has features, about."""


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """What is needed to build the same network again, untrained."""

    encoder: str
    width: float = 1.0
    stem: Stem = "standard"
    in_chans: int = 3

    def build(self, seed: int) -> nn.Module:
        """An untrained network; the same seed gives the same weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return make_encoder(self.encoder, width=self.width, stem=self.stem, in_chans=self.in_chans)


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
    blueprint: Blueprint | None
    """None for pixels, which cannot be trained."""

    def untrained(self, seed: int = 0) -> "LoadedEncoder":
        """The same architecture with fresh weights.

        Raises:
            UserError: pixels have no weights.
        """
        blueprint = self._trainable()
        return _opened(blueprint.build(seed), self.transform, f"random:{self.name}", blueprint)

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
        if self.blueprint is not None and source.channels != self.blueprint.in_chans:
            raise UserError(
                f"{source.name} has images with {source.channels} channels, but the encoder {self.name} takes "
                f"{self.blueprint.in_chans}; open the data with channels={self.blueprint.in_chans}."
            )

    def _trainable(self) -> Blueprint:
        if self.blueprint is None:
            raise UserError("pixels have no weights to train; give a run, timm:NAME or random:NAME.")
        return self.blueprint


class Pixels(nn.Module):
    """The baseline that learns nothing: an image's own values are its features, (N, C, H, W) -> (N, C*H*W)."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


def open_encoder(spec: str, *, in_chans: int = 3, seed: int = 0) -> LoadedEncoder:
    """An encoder by name.

    Args:
        spec: one of
            a run's folder, or an exported `.safetensors` file with its `.json` beside it;
            `timm:NAME`, pretrained weights from the hub;
            `random:NAME`, untrained, with `@` and any of a stem, a width and a size after it, in any order:
            `random:resnet18@small/x0.5/32`, or `random:FOLDER` for the architecture of a run;
            `pixels`, or `pixels@48` for another side than 32.
        in_chans: channels of the images, for `random:NAME`, `timm:NAME` and `pixels`.
        seed: of untrained weights.

    Raises:
        UserError: there is nothing of that name, or its weights cannot be reached.
    """
    kind, colon, rest = spec.partition(":")
    if spec == "pixels" or spec.startswith("pixels@"):
        return _pixels(spec, in_chans)
    if kind == "timm" and colon:
        return _from_timm(rest, in_chans)
    if kind == "random" and colon:
        return _random(rest, in_chans, seed)
    if not Path(spec).exists():
        word = nearest(kind, ("timm", "random", "pixels")) if colon or "/" not in spec else ""
        raise UserError(
            f"There is no encoder {spec!r}; give a run's folder, an exported {WEIGHTS}, timm:NAME, random:NAME or "
            f"pixels.{word}"
        )
    module, blueprint, transform = _from_file(spec)
    return _opened(module, transform, spec, blueprint)


def _opened(module: nn.Module, transform: Transform, name: str, blueprint: Blueprint | None) -> LoadedEncoder:
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    weights = (part for key, value in module.state_dict().items() for part in (key, _bytes(value)))
    return LoadedEncoder(module.eval(), transform, name, digest([repr(blueprint), *weights]), blueprint)


def _bytes(value: Tensor) -> bytes:
    return value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _from_file(path: str) -> tuple[nn.Module, Blueprint, Transform]:
    module, card = read_encoder(path)
    blueprint = Blueprint(encoder=card.encoder, width=card.width, stem=card.stem, in_chans=card.in_chans)
    return module, blueprint, Transform(image_size=card.image_size, mean=card.mean, std=card.std)


def _pixels(spec: str, in_chans: int) -> LoadedEncoder:
    size = spec.partition("@")[2] or str(PIXELS_SIZE)
    if not size.isdecimal() or int(size) < 1:
        raise UserError(f"{spec!r} names no size; give pixels, or pixels@48 for images of 48 px.")
    transform = Transform(image_size=int(size), mean=(0.5,) * in_chans, std=(0.25,) * in_chans)
    return _opened(Pixels(), transform, spec, None)


def _from_timm(name: str, in_chans: int) -> LoadedEncoder:
    if not timm.is_model(name):
        raise UserError(f"timm has no model {name!r}.{nearest(name, timm.list_models())}")
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # a warning for each of six attempts
    try:
        module: nn.Module = timm.create_model(name, pretrained=True, num_classes=0, in_chans=in_chans)
    except Exception as error:  # whatever the hub's client raises without a network, without weights, or half way
        reason = " ".join(str(error).split())[:120].rstrip(" .")
        raise UserError(
            f"The pretrained weights of {name!r} cannot be reached ({reason}); check the network, or give "
            f"random:{name} for the same network untrained."
        ) from error
    data = resolve_model_data_config(module)
    matching = len(data["mean"]) == in_chans
    mean, std = (tuple(data["mean"]), tuple(data["std"])) if matching else _statistics(in_chans)
    transform = Transform(image_size=int(data["input_size"][-1]), mean=mean, std=std)
    return _opened(module, transform, f"timm:{name}", Blueprint(encoder=name, in_chans=in_chans))


def _random(rest: str, in_chans: int, seed: int) -> LoadedEncoder:
    if Path(rest).exists():
        _, blueprint, transform = _from_file(rest)
        return _opened(blueprint.build(seed), transform, f"random:{rest}", blueprint)
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
    blueprint = Blueprint(encoder=name, width=width, stem=stem, in_chans=in_chans)
    mean, std = _statistics(in_chans)
    transform = Transform(image_size=size or STEM_SIZES[stem], mean=mean, std=std)
    return _opened(blueprint.build(seed), transform, f"random:{rest}", blueprint)


def _positive(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and float(text) > 0
    except ValueError:
        return False


def _statistics(in_chans: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """ImageNet's mean and spread for three channels, else the middle and a quarter of the range."""
    return (IMAGENET_MEAN, IMAGENET_STD) if in_chans == 3 else ((0.5,) * in_chans, (0.25,) * in_chans)
