"""Weights of an encoder that the user names: wherever in a file all of its weights lie, by timm's names."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from byol.config.encoder import EncoderSpec
from byol.encoders.build import make_encoder
from byol.encoders.weights.contents import Contents, state_dicts
from byol.encoders.weights.found import Found, Stated, beside, epochs_in, rest, under
from byol.errors import UserError

ENOUGH = 0.5
"""Share of an encoder's weights that are its own: with fewer, it is another network; the rest is listed as missing."""


def find_named(contents: Contents, spec: EncoderSpec) -> Found | None:
    """The place of a file that holds the weights of an encoder; None where there is no such place.

    Raises:
        UserError: there are several, and nothing says which one is meant.
    """
    with torch.device("meta"):
        names = [name for name, _ in make_encoder(spec.untrained()).named_parameters()]
    places = [(path, state, prefix) for path, state in state_dicts(contents.top) for prefix in _prefixes(state, names)]
    if not places:
        return None
    said = ["/".join((*path, prefix.rstrip("."))).rstrip("/") for path, _, prefix in places]
    if len(places) > 1:
        raise UserError(
            f"{contents.path} holds {len(places)} networks that may be a {spec.name} ({', '.join(said[:4])}); save the "
            "state dict of the one that you mean, by torch.save(network.state_dict(), 'weights.pt')."
        )
    path, state, prefix = places[0]
    return Found(
        layout=f"state dict of a {spec.architecture}",
        weights=under(state, prefix),
        part=f"{said[0] or 'the network'}, the only one",
        left_out=(*(rest(state, prefix, {}) if prefix else ()), *beside(contents.top, *path[:1])),
        stated=Stated(epochs=epochs_in(contents.top)),
    )


def _prefixes(state: Mapping[str, Any], names: list[str]) -> list[str]:
    """The prefixes under which most of some weights lie."""
    keys = {key for key, value in state.items() if isinstance(value, Tensor)}
    ends = [key.removesuffix(names[0]) for key in keys if key.endswith(names[0])]
    whole = [prefix for prefix in ends if not prefix or prefix.endswith(".")]
    return sorted(p for p in whole if sum(p + name in keys for name in names) >= ENOUGH * len(names))
