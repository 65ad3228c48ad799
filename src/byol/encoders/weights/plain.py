"""A bare state dict of one network, with the names of torchvision or timm; also timm's files on the hub."""

from collections.abc import Mapping
from typing import Any

from byol.encoders.weights.contents import Contents, is_state
from byol.encoders.weights.found import (
    Found,
    Stated,
    beside,
    epochs_in,
    has_encoder,
    normalization_of,
    text,
    without_wrapper,
)
from byol.encoders.weights.lightly import by_torchvision_names

PLACES: tuple[tuple[str, ...], ...] = ((), ("state_dict",), ("model",), ("model_state_dict",))
"""Where programs keep the weights of their one network."""


def find(contents: Contents) -> Found | None:
    """The network; with timm's `config.json` beside it, that names it and its mean and deviation."""
    for place in PLACES:
        state = by_torchvision_names(without_wrapper(contents.at(*place)))
        hub = contents.beside if not place and "architecture" in contents.beside else {}
        if has_encoder(state) or (hub and is_state(state)):
            where = f" ({'/'.join(place)})" if place else ""
            return Found(
                layout="timm on the Hugging Face hub" if hub else "state dict of one network",
                weights=state,
                part=f"the network{where}, the only one",
                left_out=beside(contents.top, *place),
                stated=_stated(hub, contents.metadata) if hub else Stated(epochs=epochs_in(contents.top)),
            )
    return None


def _stated(hub: Mapping[str, Any], metadata: Mapping[str, str]) -> Stated:
    config = hub.get("pretrained_cfg")
    config = config if isinstance(config, Mapping) else hub
    size = config.get("input_size")
    return Stated(
        architecture=text(hub.get("architecture")),
        normalization=normalization_of(config),
        input_size=int(size[-1]) if isinstance(size, list) and size else None,
        license=text(config.get("license")) or text(metadata.get("license")),
    )
