"""The weights that an encoder starts from: `--weights`, what it decides of the encoder, and the encoder with them."""

import dataclasses
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import timm
from torch import nn

from byol.config.encoder import EncoderSpec
from byol.config.renamed import current_name
from byol.encoders.build import make_encoder
from byol.encoders.file import StartWeights, card_of, check_there, has_card, read_encoder, weights_of
from byol.encoders.hub import HUB, cached_file, hub_file, pretrained_timm
from byol.encoders.names import TIMM, check_name, timm_normalization
from byol.encoders.weights.fit import Fitted, fit
from byol.encoders.weights.open import WeightsFile, for_channels, open_weights, sha256
from byol.errors import UserError, nearest

DECIDED = ("width", "stem", "padding", "heads", "mean", "std")
"""Settings of an encoder that a file of weights decides, besides the architecture."""
IMAGENET = ("imagenet", TIMM)
"""Words for the weights that timm has under the encoder's own name, which were trained on ImageNet."""


def start_encoder(spec: EncoderSpec) -> nn.Module:
    """Build an encoder with the weights that its spec names, or fresh ones.

    Raises:
        UserError: as `make_encoder`; or weights that cannot be had, or belong to another network.
    """
    encoder = make_encoder(spec)
    if spec.weights is not None:
        encoder.load_state_dict(_weights_of(spec).state, strict=True)
        describe_start(spec)  # noted while the file is there
    return encoder


def _weights_of(spec: EncoderSpec) -> Fitted:
    """The weights that a spec names, for its encoder."""
    assert spec.weights is not None
    if spec.weights in IMAGENET:
        state = pretrained_timm(spec.name, spec.channels, spec.native_size).state_dict()
        return fit(state, spec, repr(spec.weights))
    path = _path(spec.weights)
    if has_card(path):
        trained, card = read_encoder(path)
        _check_same(spec, card.encoder, spec.weights)
        return fit(trained.state_dict(), spec, repr(spec.weights))
    check_there(path)
    file = open_weights(path, spec)
    stated = file.found.stated
    if stated.stem or stated.heads or stated.padding or stated.spec:
        _check_same(spec, file.spec, spec.weights)
    return file.fitted(spec)


def _path(weights: str) -> Path:
    return hub_file(weights) if weights.startswith(HUB) else Path(weights).expanduser()


def _check_same(spec: EncoderSpec, other: EncoderSpec, source: str) -> None:
    """See that two encoders are the same network, which shapes do not always tell.

    Raises:
        UserError: they are not.
    """
    if any(
        getattr(spec, field) != getattr(other, field) for field in ("architecture", "width", "stem", "padding", "heads")
    ):
        if spec.padding != other.padding:
            raise UserError(f"{source} holds a network with the padding {other.padding!r}; give --encoder.padding too.")
        heads = f" and {other.heads} attention heads" if other.heads else ""
        flags = (
            ", --encoder.width, --encoder.stem and --encoder.heads" if heads else ", --encoder.width and --encoder.stem"
        )
        raise UserError(
            f"{source} holds a {other.name} of width {other.width:g} with the stem {other.stem}{heads}; give the same "
            f"--encoder{flags}."
        )


def with_start(settings: Mapping[str, Any], channels: int) -> dict[str, Any]:
    """The settings of a run with what its start weights decide: the encoder, its width, stem, mean and deviation.

    What the user gave besides stands.

    Args:
        settings: what the user gave, as keywords of `replace`.
        channels: of the images.

    Raises:
        UserError: there are no such weights, or they belong to another encoder than the one that was given.
    """
    given = {current_name(key): value for key, value in settings.items()}
    weights, named = given.get("encoder__weights"), given.get("encoder", given.get("encoder__name"))
    if not isinstance(weights, str) or isinstance(named, EncoderSpec):
        return dict(settings)
    if weights in IMAGENET:
        if named is not None:
            _check_pretrained(str(named))
        decided: dict[str, Any] = {"encoder__width": 1.0, "encoder__stem": "standard"}
        return {**decided, **given, "encoder__weights": TIMM}
    if weights.startswith(HUB) or Path(weights).expanduser().exists():
        spec = for_channels(_encoder_of(weights, given), channels)
        decided = {f"encoder__{field}": getattr(spec, field) for field in DECIDED}
        decided = {key: value for key, value in decided.items() if value is not None}
        place = weights if weights.startswith(HUB) else str(Path(weights).expanduser().resolve())
        return {"encoder": spec.architecture, **decided, **given, "encoder__weights": place}
    name = weights.removeprefix("timm:")
    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        likely = nearest(architecture, timm.list_models())
        raise UserError(
            f"There are no weights {weights!r}: no file or folder, and no encoder of timm; give a file, a run, "
            f"imagenet, a name such as resnet50.a1_in1k, or {HUB}ORGANIZATION/NAME.{likely}"
        )
    if named is not None and str(named).partition(".")[0] != architecture:
        raise UserError(
            f"The weights {weights!r} are those of {architecture}, not of {named}; leave --encoder out, or give "
            f"--weights imagenet for those of {named}."
        )
    check_name(EncoderSpec(name=name, weights=TIMM))
    _check_pretrained(name)
    given.pop("encoder__name", None)
    return {"encoder__width": 1.0, "encoder__stem": "standard", **given, "encoder": name, "encoder__weights": TIMM}


def with_timm_normalization(spec: EncoderSpec, given: frozenset[str]) -> EncoderSpec:
    """An encoder with the mean and deviation that its weights of timm were trained with, unless the user gave them."""
    if spec.weights != TIMM or "encoder__weights" not in given or {"encoder__mean", "encoder__std"} & given:
        return spec
    known = timm_normalization(spec.name)
    if known is None:
        return spec
    return for_channels(dataclasses.replace(spec, mean=known.mean, std=known.std), spec.channels)


def _check_pretrained(name: str) -> None:
    """See that timm has weights of an encoder.

    Raises:
        UserError: it has none.
    """
    architecture = name.partition(".")[0]
    if timm.is_model(architecture) and not timm.list_pretrained(f"{architecture}.*"):
        raise UserError(f"timm has no weights of {architecture!r}; give another --encoder, or a file of weights.")
    if not timm.is_model(architecture):
        likely = nearest(architecture, timm.list_models(pretrained=True))
        raise UserError(f"timm has no weights of {architecture!r}; give another --encoder, such as resnet18.{likely}")


def _encoder_of(weights: str, given: Mapping[str, Any]) -> EncoderSpec:
    """The encoder that a file's weights belong to; the one that was named, where the file does not tell."""
    path = _path(weights)
    if has_card(path):
        return card_of(path).encoder
    named = given.get("encoder", given.get("encoder__name"))
    check_there(path)
    if named is None:
        return open_weights(path).spec
    fields = ("width", "stem", "heads")
    settings = {field: given[f"encoder__{field}"] for field in fields if f"encoder__{field}" in given}
    spec = EncoderSpec(name=str(named), **settings)
    check_name(spec)
    return open_weights(path, spec).spec


def start_size(spec: EncoderSpec) -> int | None:
    """Side of the images that an encoder's start weights were trained with, in pixels; None where nothing tells."""
    if spec.weights is None:
        return None
    if spec.weights in IMAGENET:
        known = timm.get_pretrained_cfg(spec.name) if timm.is_model(spec.architecture) else None
        return None if known is None else int(known.input_size[-1])
    path = _path(spec.weights)
    if has_card(path):
        return card_of(path).image_size
    return open_weights(path, spec.untrained()).spec.input_size


def start_words(spec: EncoderSpec) -> tuple[str, ...]:
    """What is said of the weights that a run starts from: what they are, and what of them is left out or adapted."""
    if spec.weights is None:
        return ()
    if spec.weights in IMAGENET:
        return (f"weights of timm for {spec.name}, mean {_numbers(spec.mean)}, std {_numbers(spec.std)}",)
    path = _path(spec.weights)
    if has_card(path):
        card = card_of(path)
        return (f"weights {path}: {card.encoder.name}, trained by {card.method} for {card.epochs:g} epochs",)
    file = open_weights(path, spec)
    return (f"weights {path.name}: {file.found.layout}, {file.found.part}", *facts_of(file, spec))


def facts_of(file: WeightsFile, spec: EncoderSpec) -> tuple[str, ...]:
    """What of a file's weights is left out, adapted for an encoder, or assumed, in sentences."""
    notes = file.fitted(spec).notes
    left = (f"left out: {', '.join(file.left_out)}",) if file.left_out else ()
    assumed = tuple(f"assumed: {what}" for what in file.assumed)
    return (*left, *notes, *assumed)


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in values)


def describe_start(spec: EncoderSpec) -> StartWeights | None:
    """The weights that an encoder starts from, for its card; None where they are fresh."""
    return None if spec.weights is None else _describe(spec.weights, spec.name)


@cache
def _describe(weights: str, name: str) -> StartWeights:
    if weights in IMAGENET:
        known = timm.get_pretrained_cfg(name)
        file = cached_file(known.hf_hub_id) if known is not None and known.hf_hub_id else None
        full = f"{known.architecture}.{known.tag}" if known is not None and known.tag else name
        return StartWeights(
            name=f"timm:{full}",
            sha256=None if file is None else sha256(file),
            layout="timm on the Hugging Face hub",
            license=None if known is None else known.license,
        )
    path = _path(weights)
    if has_card(path):
        before = card_of(path).start
        license = None if before is None else before.license
        return StartWeights(name=path.name, sha256=sha256(weights_of(path)), layout="byol", license=license)
    about = open_weights(path, EncoderSpec(name=name))
    return StartWeights(
        name=weights if weights.startswith(HUB) else path.name,
        sha256=sha256(about.path),
        layout=about.found.layout,
        license=about.found.stated.license,
    )
