"""A bare state dict of one network, with the names of torchvision or timm; also timm's files on the hub."""

from collections.abc import Mapping
from typing import Any

from byol.config.views import Normalization
from byol.encoders.weights.contents import Contents, is_state
from byol.encoders.weights.found import Found, Stated, beside, epochs_in, has_encoder, text, without_wrapper
from byol.encoders.weights.lightly import is_numbered, named

PLACES: tuple[tuple[str, ...], ...] = ((), ("state_dict",), ("model",), ("model_state_dict",))
"""Where programs keep the weights of their one network."""


def find(contents: Contents) -> Found | None:
    """The network; with timm's `config.json` beside it, that names it and its mean and deviation."""
    for place in PLACES:
        state = without_wrapper(contents.at(*place))
        if is_numbered(state):
            state = named(state)
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
    mean, std, size = config.get("mean"), config.get("std"), config.get("input_size")
    known = isinstance(mean, list) and isinstance(std, list) and len(mean) == len(std) > 0
    return Stated(
        architecture=text(hub.get("architecture")),
        normalization=Normalization(tuple(map(float, mean)), tuple(map(float, std))) if known else None,  # type: ignore[arg-type]
        input_size=int(size[-1]) if isinstance(size, list) and size else None,
        license=text(config.get("license")) or text(metadata.get("license")),
    )
