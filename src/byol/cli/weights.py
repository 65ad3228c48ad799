"""`byol weights`: what a file of weights is."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from byol.cli.parse import given, parse

if TYPE_CHECKING:
    from torch import nn

    from byol.config.encoder import EncoderSpec
    from byol.encoders.file import EncoderCard


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Say what a file of weights is: its layout, which part is the encoder, and which --encoder it fits."""

    file: Annotated[Positional[str], arg(metavar="FILE")]
    """A file of another program (docs/weights.md), a folder from timm's hub, a run, or hf-hub:ORGANIZATION/NAME."""
    encoder: Annotated[str | None, given("NAME", "what the weights show")] = None
    """Encoder to try them on, where they do not show which they belong to."""


def run(arguments: list[str]) -> int:
    """Print what is known of the file; the exit code."""
    command = parse(Weights, arguments, "byol weights", Weights.__doc__ or "")
    for key, value in describe(command.file, command.encoder):
        print(f"{key:14s}{value}")
    return 0


def describe(file: str, encoder: str | None = None) -> list[tuple[str, str]]:
    """What is known of a file of weights, as pairs of a word and what there is to say.

    Raises:
        UserError: it cannot be read safely, is not recognized, or does not fit the encoder.
    """
    from byol.config.encoder import EncoderSpec
    from byol.encoders.file import check_there, from_weights, has_card, read_encoder
    from byol.encoders.hub import HUB, hub_file
    from byol.encoders.weights.open import open_weights

    path = hub_file(file) if file.startswith(HUB) else Path(file).expanduser()
    check_there(path)
    if has_card(path):
        module, card = read_encoder(path)
        layout = f"encoder of a byol run ({card.method}, {card.epochs:g} epochs on {card.images} images)"
        begun = [] if card.start is None else [("start", f"{card.start.name}, sha256 {card.start.sha256}")]
        return [("layout", layout), ("encoder", "the whole file"), *begun, *_network(module, card), ("use", _use(file))]
    opened = open_weights(path, None if encoder is None else EncoderSpec(name=encoder))
    module, card = from_weights(opened)
    assert card.start is not None
    epochs = opened.found.stated.epochs
    return [
        ("layout", f"{opened.found.layout} ({opened.container})"),
        ("encoder", opened.found.part),
        ("left out", ", ".join(opened.left_out) or "nothing"),
        *([] if epochs is None else [("epochs", f"{epochs:g}")]),
        ("sha256", str(card.start.sha256)),
        *_network(module, card),
        *(("assumed", what) for what in opened.assumed),
        ("use", _use(file, encoder)),
    ]


def _network(module: "nn.Module", card: "EncoderCard") -> list[tuple[str, str]]:
    """What is known of a network and its input, of ours and of others."""
    from byol.encoders.build import feature_count, parameter_count

    for parameter in module.parameters():
        parameter.requires_grad_()
    size = f"{parameter_count(module) / 1e6:.2f} M parameters, {feature_count(module)} features"
    spec = card.encoder
    return [
        ("architecture", f"{_flags(spec)}: {size}"),
        ("input", f"{spec.channels} channels, {card.image_size} px"),
        ("mean", _numbers(spec.mean)),
        ("std", _numbers(spec.std)),
        ("license", (card.start.license if card.start is not None else None) or "not stated"),
    ]


def _use(file: str, encoder: str | None = None) -> str:
    named = "" if encoder is None else f" --encoder {encoder}"
    return f"byol pretrain DATA --weights {shlex.quote(file)}{named}"


def _flags(spec: "EncoderSpec") -> str:
    """The flags that name the encoder."""
    width = f" --encoder.width {spec.width:g}" if spec.width != 1 else ""
    stem = f" --encoder.stem {spec.stem}" if spec.stem != "standard" else ""
    padding = f" --encoder.padding {spec.padding}" if spec.padding != "symmetric" else ""
    heads = f" --encoder.heads {spec.heads}" if spec.heads is not None else ""
    return f"--encoder {spec.name}{width}{stem}{padding}{heads}"


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in values)
