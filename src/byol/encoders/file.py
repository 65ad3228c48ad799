"""The product of a run: `encoder.safetensors` with the weights, `encoder.json` with how to use them.

With the standard stem and width 1 the keys are timm's, and for ResNets torchvision's, so the file loads there strictly.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from byol.config.encoder import EncoderSpec
from byol.config.values import from_json, to_json
from byol.encoders.build import make_encoder
from byol.encoders.names import TIMM
from byol.errors import UserError, nearest
from byol.runtime.checkpoint import save_tensors, write_atomically

WEIGHTS = "encoder.safetensors"
CARD = "encoder.json"


@dataclass(frozen=True, kw_only=True)
class EncoderCard:
    """What must be known to use an encoder's weights, and how they were trained."""

    encoder: EncoderSpec
    """The network, and the images that it takes."""
    features: int
    """Length of its output."""
    method: str
    epochs: float
    seed: int
    images: int
    """How many it was trained on."""

    @property
    def image_size(self) -> int:
        """Side of the images that it is meant to look at, in pixels."""
        assert self.encoder.input_size is not None, "a card states the size"
        return self.encoder.input_size


def save_encoder(folder: Path, encoder: nn.Module, card: EncoderCard) -> Path:
    """Write an encoder and its card into a folder, atomically; returns the path of the weights."""
    path = folder / WEIGHTS
    write_atomically(folder / CARD, json.dumps(to_json(card), indent=2) + "\n")
    save_tensors(path, dict(encoder.state_dict()), {"format": "pt"})  # last: where it lies, all is there
    return path


def load_encoder(path: str | Path) -> nn.Module:
    """A trained encoder, in evaluation mode: normalized images (N, C, H, W) -> features (N, D).

    Args:
        path: a run's folder, or an `encoder.safetensors` with its `encoder.json` beside it.

    Raises:
        UserError: no such file, no card beside it, or weights that do not fit the card.
    """
    return read_encoder(path)[0]


def read_encoder(path: str | Path) -> tuple[nn.Module, EncoderCard]:
    """A trained encoder, in evaluation mode, and its card.

    Args:
        path: a run's folder, or an `encoder.safetensors` with its `encoder.json` beside it.

    Raises:
        UserError: no such file, no card beside it, or weights that do not fit the card.
    """
    path = Path(path)
    weights = path / WEIGHTS if path.is_dir() else path
    card_path = weights.with_suffix(".json")
    for file, what in ((weights, "the weights"), (card_path, "what must be known to load them")):
        if not file.is_file():
            hint = " Is the run still training? Its encoder comes with its first checkpoint." if path.is_dir() else ""
            raise UserError(f"There is no {file} ({what}); give a run's folder or its {WEIGHTS}.{hint}")
    card = read_card(card_path)
    encoder = make_encoder(card.encoder.untrained())
    try:
        encoder.load_state_dict(load_file(weights), strict=True)
    except (SafetensorError, RuntimeError, OSError) as error:
        raise UserError(f"{weights} does not fit its card {card_path.name}: {error}") from error
    return encoder.eval(), card


def read_card(path: Path) -> EncoderCard:
    """Read an `encoder.json`.

    Raises:
        UserError: it is no such file.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        return from_json(EncoderCard, _nested(content) if isinstance(content["encoder"], str) else content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} does not describe an encoder: {error}") from error


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    """The card of version 0.1's first months, in which the encoder's settings stood beside the others."""
    about = {key: flat[key] for key in ("features", "method", "epochs", "seed", "images")}
    spec = {key: flat[key] for key in ("width", "stem", "mean", "std")}
    return {"encoder": {"name": flat["encoder"], "input_size": flat["image_size"], **spec}, **about}


def start_encoder(spec: EncoderSpec) -> nn.Module:
    """Build an encoder with the weights that its spec names, or fresh ones.

    Raises:
        UserError: as `make_encoder`; or weights that cannot be had, or belong to another network.
    """
    encoder = make_encoder(spec)
    if spec.weights is None:
        return encoder
    if spec.weights == TIMM:
        state = pretrained_timm(spec.name, spec.channels, spec.native_size).state_dict()
    else:
        trained, card = read_encoder(spec.weights)
        state = trained.state_dict()
        if (card.encoder.architecture, card.encoder.width, card.encoder.stem) != (spec.name, spec.width, spec.stem):
            raise UserError(
                f"{spec.weights} holds a {card.encoder.name} of width {card.encoder.width:g} with the stem "
                f"{card.encoder.stem}; give the same --encoder, --encoder.width and --encoder.stem."
            )
    try:
        encoder.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise UserError(f"The weights {spec.weights!r} do not fit the encoder {spec.name!r}: {error}") from error
    return encoder


def pretrained_timm(name: str, channels: int, native_size: int | None = None) -> nn.Module:
    """A timm model with its pretrained weights, without its classifier.

    Args:
        name: timm's, with the tag of the weights or without.
        channels: of the images.
        native_size: side of the images that it is built for, in pixels; by default timm's own.

    Raises:
        UserError: no such model, no weights, or no network to fetch them through.
    """
    if not timm.is_model(name):
        raise UserError(f"timm has no model {name!r}.{nearest(name, timm.list_models())}")
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # a warning for each of six attempts
    size = {} if native_size is None else {"img_size": native_size}
    try:
        module: nn.Module = timm.create_model(name, pretrained=True, num_classes=0, in_chans=channels, **size)
    except Exception as error:  # whatever the hub's client raises without a network, without weights, or half way
        reason = " ".join(str(error).split())[:120].rstrip(" .")
        raise UserError(
            f"The pretrained weights of {name!r} cannot be reached ({reason}); check the network, or give "
            f"random:{name} for the same network untrained."
        ) from error
    return module
