"""Weights into an encoder: every weight of the encoder comes from the file, or it is an error."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import timm
import torch
from timm.layers import resample_abs_pos_embed
from timm.models import adapt_input_conv
from torch import Tensor

from byol.config.encoder import EncoderSpec
from byol.encoders.build import make_encoder
from byol.encoders.names import SHALLOW
from byol.errors import UserError

HEADS = ("fc.", "head.", "classifier.", "head_dist.", "last_linear.")
"""How heads are called that lie among the weights of an encoder."""
FEW = 4
"""Names that a message lists."""


@dataclass(frozen=True)
class Fitted:
    """The weights of an encoder, ready to be loaded strictly."""

    state: dict[str, Tensor]
    heads: tuple[str, ...]
    """Names of weights that were left out because they are a head's."""
    notes: tuple[str, ...]
    """What was adapted, in sentences."""


def fit(weights: Mapping[str, Any], spec: EncoderSpec, source: str) -> Fitted:
    """The weights of a file for an encoder, by its names.

    A first layer for other channels, and positions for other image sizes, are adapted as timm does, and said.

    Args:
        weights: those of the file's encoder, with a head if there is one.
        spec: the encoder that they are for.
        source: what they are called in messages.

    Raises:
        UserError: names are missing or left over, or shapes differ.
    """
    with torch.device("meta"):
        network = make_encoder(spec.untrained())
    wanted = network.state_dict()
    given = {key: value for key, value in weights.items() if isinstance(value, Tensor)}
    if any(key in given for key in ("mask_token", "register_tokens")):
        given = _as_timm_names_dinov2(given)
    heads = tuple(key for key in given if key not in wanted and key.startswith(_heads_of(spec)))
    given = {key: value for key, value in given.items() if key not in heads}
    notes: list[str] = []
    for key in wanted:
        if key.endswith("num_batches_tracked"):  # PyTorch before 0.4.1 did not count, and no average depends on it
            given.setdefault(key, torch.zeros((), dtype=torch.int64))
    missing, extra = [key for key in wanted if key not in given], [key for key in given if key not in wanted]
    if missing or extra:
        raise UserError(
            f"The weights {source} do not fit the encoder {_described(spec)}: {_listed('missing', missing, extra)}; "
            "give the --encoder that they belong to, or another file."
        )
    prefix_tokens = int(getattr(network, "num_prefix_tokens", 1))
    positions_of_patches = bool(getattr(network, "no_embed_class", False))
    state: dict[str, Tensor] = {}
    wrong: list[str] = []
    for key, target in wanted.items():
        value = given[key].detach()
        value = value.to(target.dtype) if target.is_floating_point() else value
        if value.shape != target.shape and key == "pos_embed" and value.ndim == target.ndim == 3:
            grid = network.patch_embed.grid_size  # type: ignore[union-attr]
            before = 0 if positions_of_patches else prefix_tokens
            value = resample_abs_pos_embed(value, list(grid), num_prefix_tokens=before)  # type: ignore[arg-type]
            side = f"{grid[0]} x {grid[1]}"  # type: ignore[index]
            notes.append(f"the positions are resampled to {side} patches (timm.layers.resample_abs_pos_embed)")
        elif value.shape != target.shape and _differ_in_channels(value, target, spec):
            before, after = value.shape[1], target.shape[1]
            value = adapt_input_conv(after, value, before)
            way = "summed" if after == 1 else f"repeated and scaled by {before}/{after}"
            notes.append(f"the first layer {key} of {before} channels is {way} for {after} (timm's adapt_input_conv)")
        if value.shape != target.shape:
            wrong.append(f"{key} is {_shape(value)}, not {_shape(target)}")
        state[key] = value
    if wrong:
        raise UserError(
            f"The weights {source} do not fit the encoder {_described(spec)}: {_few(wrong)}; give the --encoder, "
            "--encoder.width and --encoder.stem that they belong to, or another file."
        )
    return Fitted(state, heads, tuple(notes))


def _heads_of(spec: EncoderSpec) -> tuple[str, ...]:
    """How the names of a network's classifier begin in timm, besides the usual ones."""
    known = None if spec.architecture in SHALLOW else timm.get_pretrained_cfg(spec.architecture)
    named = getattr(known, "classifier", None) or ()
    return (*HEADS, *(f"{name}." for name in ((named,) if isinstance(named, str) else named)))


def _differ_in_channels(value: Tensor, target: Tensor, spec: EncoderSpec) -> bool:
    """Whether a weight is that of a convolution of images with another number of channels."""
    if value.ndim != 4 or target.ndim != 4 or target.shape[1] != spec.channels:
        return False
    return value.shape[0] == target.shape[0] and value.shape[2:] == target.shape[2:]


def _as_timm_names_dinov2(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """DINOv2's weights by timm's names: no mask token, and registers to which no positions are added."""
    state = {key: value for key, value in given.items() if key != "mask_token"}
    if "register_tokens" in state:
        state["reg_token"] = state.pop("register_tokens")
        state["cls_token"] = state["cls_token"] + state["pos_embed"][:, :1]
        state["pos_embed"] = state["pos_embed"][:, 1:]
    return state


def _described(spec: EncoderSpec) -> str:
    width = f" of width {spec.width:g}" if spec.width != 1 else ""
    stem = f" with the stem {spec.stem}" if spec.stem != "standard" else ""
    return f"{spec.name!r}{width}{stem}"


def _listed(what: str, missing: list[str], extra: list[str]) -> str:
    parts = [f"{len(missing)} of its weights are {what} ({_few(missing)})"] if missing else []
    parts += [f"{len(extra)} are left over ({_few(extra)})"] if extra else []
    return ", and ".join(parts)


def _few(words: Iterable[str]) -> str:
    words = list(words)
    return ", ".join(words[:FEW]) + (f" and {len(words) - FEW} more" if len(words) > FEW else "")


def _shape(value: Tensor) -> str:
    return " x ".join(map(str, value.shape)) or "a single number"
