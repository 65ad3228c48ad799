"""The product of a run: `encoder.safetensors` with the weights, `encoder.json` with how to use them.

With the standard stem and width 1 the keys are timm's, and for ResNets torchvision's, so the file loads there strictly.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from byol.encoders.build import Stem, make_encoder
from byol.errors import UserError
from byol.runtime.checkpoint import save_tensors, write_atomically

WEIGHTS = "encoder.safetensors"
CARD = "encoder.json"


@dataclass(frozen=True, kw_only=True)
class EncoderCard:
    """What must be known to use an encoder's weights."""

    encoder: str
    """timm name, or resnet10."""
    width: float
    stem: Stem
    in_chans: int
    image_size: int
    """Side of the images that it is meant to look at, in pixels."""
    mean: tuple[float, ...]
    """Subtracted from each channel of an image in [0, 1]."""
    std: tuple[float, ...]
    """What each channel is divided by after that."""
    features: int
    """Length of its output."""
    method: str
    epochs: float
    seed: int
    images: int
    """How many it was trained on."""


def save_encoder(folder: Path, encoder: nn.Module, card: EncoderCard) -> Path:
    """Write an encoder and its card into a folder, atomically; returns the path of the weights."""
    path = folder / WEIGHTS
    write_atomically(folder / CARD, json.dumps(asdict(card), indent=2) + "\n")
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
            hint = " Is the run still training? Its encoder is written at the end." if path.is_dir() else ""
            raise UserError(f"There is no {file} ({what}); give a run's folder or its {WEIGHTS}.{hint}")
    card = read_card(card_path)
    encoder = make_encoder(card.encoder, width=card.width, stem=card.stem, in_chans=card.in_chans)
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
        return EncoderCard(**{**content, "mean": tuple(content["mean"]), "std": tuple(content["std"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} does not describe an encoder: {error}") from error
