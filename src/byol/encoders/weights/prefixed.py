"""Files of programs that are not known: a network at exactly one prefix is taken, of several none."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from byol.encoders.weights.contents import Contents, state_dicts
from byol.encoders.weights.found import FIRST_LAYERS, Found, beside, rest, under
from byol.errors import UserError


def find(contents: Contents) -> Found | None:
    """The only network in the file.

    Raises:
        UserError: there are several, and nothing says which one is the encoder.
    """
    places = [(path, state, prefix) for path, state in state_dicts(contents.top) for prefix in prefixes(state)]
    if not places:
        return None
    names = ["/".join((*path, prefix.rstrip("."))) for path, _, prefix in places]
    if len(places) > 1:
        raise UserError(
            f"{contents.path} is of an unknown layout and holds {len(places)} networks ({', '.join(names[:4])}); "
            "save the state dict of the one that you mean, by torch.save(network.state_dict(), 'weights.pt')."
        )
    path, state, prefix = places[0]
    return Found(
        layout="state dict of an unknown program",
        weights=under(state, prefix),
        part=f"{names[0] or 'the network'}, the only one",
        left_out=(*rest(state, prefix, {}), *beside(contents.top, *path[:1])),
    )


def prefixes(state: Mapping[str, Any]) -> list[str]:
    """The prefixes under which a whole ResNet or vision transformer lies in a state dict."""
    second = {"conv1.weight": "layer1.0.", "conv1.0.weight": "layer1.0.", "patch_embed.proj.weight": "blocks.0."}
    found = []
    for first in FIRST_LAYERS:
        for key, value in state.items():
            prefix = key.removesuffix(first)
            whole = any(other.startswith(prefix + second[first]) for other in state)
            if key.endswith(first) and (not prefix or prefix.endswith(".")) and isinstance(value, Tensor) and whole:
                found.append(prefix)
    return found
