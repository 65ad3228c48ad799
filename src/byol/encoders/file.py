"""The product of a run: `encoder.safetensors` with the weights, `encoder.json` with how to use them.

With the standard stem and width 1 the keys are timm's, and for ResNets torchvision's, so the file loads there strictly.
"""

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from byol.config.axes import Axes
from byol.config.documents import read_document
from byol.config.encoder import EncoderSpec
from byol.config.reading import ReadingConfig
from byol.config.values import from_json, to_json
from byol.encoders.build import feature_count, make_encoder
from byol.encoders.hub import FILES, HUB, hub_file
from byol.encoders.weights.open import WeightsFile, open_weights, sha256
from byol.errors import UserError
from byol.runtime.checkpoint import save_tensors, write_atomically

WEIGHTS = "encoder.safetensors"
CARD = "encoder.json"
HOW_TO = "docs/encoder-file.md"
"""The page that describes both."""


@dataclass(frozen=True, kw_only=True)
class StartWeights:
    """The weights that an encoder began with."""

    name: str
    """The file's or the folder's, or timm's."""
    sha256: str | None = None
    """Of the file, in hexadecimal digits."""
    layout: str | None = None
    """Which program wrote it."""
    license: str | None = None
    """Where the file or timm states one."""


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
    finished: bool = True
    """Whether the run had ended; False in a run that goes on, which writes one with every checkpoint."""
    start: StartWeights | None = None
    """The weights that it began with; None where they were fresh."""
    reading: ReadingConfig = ReadingConfig()
    """How scans, volumes, videos and slides were read; evaluations read theirs alike."""
    axes: Axes = "auto"
    """What the axes of arrays were whose file does not say so; evaluations read theirs alike."""

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
        path: a run's folder, an `encoder.safetensors` with its `encoder.json` beside it, or a file of weights of
            another program, a folder from timm's hub, or `hf-hub:ORGANIZATION/NAME` (docs/weights.md).

    Raises:
        UserError: no such file, a file that is not recognized, or weights that do not fit their card.
    """
    return read_encoder(path)[0]


def read_encoder(path: str | Path) -> tuple[nn.Module, EncoderCard]:
    """A trained encoder, in evaluation mode, and its card; for another program's file, what is known of it.

    Args:
        path: as for `load_encoder`.

    Raises:
        UserError: as `load_encoder`.
    """
    path = hub_file(str(path)) if str(path).startswith(HUB) else Path(path)
    if not has_card(path):
        check_there(path)
        return from_weights(open_weights(path))
    weights, card = weights_of(path), card_of(path)
    encoder = make_encoder(card.encoder.untrained())
    try:
        state = load_file(weights)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{weights} cannot be read ({error}); it may be cut short: copy or write it again.") from error
    try:
        encoder.load_state_dict(state, strict=True)
    except RuntimeError as error:
        spec, beside = card.encoder, weights.with_suffix(".json").name
        raise UserError(
            f"{weights} does not fit its card {beside}, which says {spec.name} of width {spec.width:g} with "
            f"the stem {spec.stem}: it {misfit(state, encoder.state_dict())}; names are those of timm without the "
            f"classifier ({HOW_TO})."
        ) from error
    return encoder.eval(), card


def misfit(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """How the weights of a file differ from those that a network takes, in part of a sentence."""
    missing = [name for name in wanted if name not in given]
    strange = [name for name in given if name not in wanted]
    said = [f"lacks {_first(missing)}"] if missing else []
    said += [f"has {_first(strange)}, which the network lacks"] if strange else []
    if not said:
        for name, weight in wanted.items():
            if given[name].shape != weight.shape:
                return f"has {name} of shape {tuple(given[name].shape)} where {tuple(weight.shape)} is wanted"
    return " and ".join(said)


def _first(names: list[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def has_card(path: Path) -> bool:
    """Whether a path is that of an encoder of ours, with its card: a folder, or the file of its weights."""
    if path.is_dir():
        return (path / WEIGHTS).is_file() and (path / CARD).is_file()
    card = path.with_suffix(".json")
    if path.suffix != ".safetensors" or not path.is_file() or not card.is_file():
        return False
    try:
        content = json.loads(read_document(card))
    except (OSError, ValueError, RecursionError):
        return True  # reading it says what is wrong with it
    return isinstance(content, dict) and "encoder" in content


def weights_of(path: Path) -> Path:
    """The weights of an encoder of ours: in a run's folder, or the file itself."""
    return path / WEIGHTS if path.is_dir() else path


def card_of(path: Path) -> EncoderCard:
    """The card of an encoder of ours, without its weights.

    Raises:
        UserError: as `read_card`.
    """
    return read_card(weights_of(path).with_suffix(".json"))


def from_weights(file: WeightsFile) -> tuple[nn.Module, EncoderCard]:
    """The encoder of another program's file, in evaluation mode, and what is known of it."""
    encoder = make_encoder(file.spec.untrained())
    encoder.load_state_dict(file.fitted().state, strict=True)
    card = EncoderCard(
        encoder=file.spec,
        features=feature_count(encoder),
        method=file.found.layout,
        epochs=file.found.stated.epochs or 0.0,
        seed=0,
        images=0,
        start=StartWeights(
            name=file.path.name,
            sha256=sha256(file.path),
            layout=file.found.layout,
            license=file.found.stated.license,
        ),
    )
    return encoder.eval(), card


def check_there(path: Path) -> None:
    """See that a path leads to something that may hold weights.

    Raises:
        UserError: it does not; or a run that has written no encoder yet.
    """
    if not path.exists():
        raise UserError(f"There is no {path}; give a run's folder, its {WEIGHTS}, or a file of weights.")
    beside = path.with_suffix(".safetensors")
    if path.suffix == ".json" and beside.is_file():
        raise UserError(f"{path} is the card of an encoder; give the weights beside it, {beside}.")
    if not path.is_dir() or any((path / name).is_file() for name in FILES):
        return
    missing = [name for name in (WEIGHTS, CARD) if not (path / name).is_file()]
    hint = " Is the run still training? Its encoder comes with its first checkpoint." if len(missing) == 2 else ""
    raise UserError(f"There is no {path / missing[0]}; give a run's folder or its {WEIGHTS}.{hint}")


def read_card(path: Path) -> EncoderCard:
    """Read an `encoder.json`.

    Raises:
        UserError: it is no such file.
    """
    try:
        content = json.loads(read_document(path))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} does not describe an encoder: it is no JSON ({error}); see {HOW_TO}.") from error
    known = content if isinstance(content, dict) else {}
    required = [field.name for field in fields(EncoderCard) if field.default is MISSING]
    lacking = [name for name in required if name not in known]
    if lacking:
        raise UserError(f"{path} does not describe an encoder: it lacks {', '.join(lacking)}; see {HOW_TO}.")
    try:
        card = from_json(EncoderCard, _nested(known) if isinstance(known["encoder"], str) else known)
    except (ValueError, KeyError, TypeError) as error:
        said = str(error).rstrip(".")
        raise UserError(f"{path} does not describe an encoder: {said}; see {HOW_TO}.") from error
    if card.encoder.input_size is None:
        raise UserError(f"{path} does not describe an encoder: it lacks encoder.input_size; see {HOW_TO}.")
    return card


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    """The card of version 0.1's first months, in which the encoder's settings stood beside the others."""
    about = {key: flat[key] for key in ("features", "method", "epochs", "seed", "images")}
    spec = {key: flat[key] for key in ("width", "stem", "mean", "std")}
    return {"encoder": {"name": flat["encoder"], "input_size": flat["image_size"], **spec}, **about}
