"""VISSL: `classy_state_dict` with the trunk's features; or what its own scripts extract, `model_state_dict`."""

from byol.encoders.weights.contents import Contents
from byol.encoders.weights.found import IMAGENET, Found, Stated, beside, rest, under
from byol.errors import UserError

FEATURES = "_feature_blocks."


def find(contents: Contents) -> Found | None:
    """The trunk.

    Raises:
        UserError: the file only points at the shards of a checkpoint.
    """
    top = contents.top
    if top.get("type") in ("shard_list", "slice_list"):
        raise UserError(
            f"{contents.path} is a VISSL checkpoint of the type {top['type']!r}, which points at other files; "
            "consolidate it with VISSL (type 'consolidated'), and give the result."
        )
    trunk = contents.at("classy_state_dict", "base_model", "model", "trunk")
    extracted = contents.at("model_state_dict")
    state = trunk or extracted
    if not any(key.startswith(FEATURES) for key in state):
        return None
    heads = contents.at("classy_state_dict", "base_model", "model", "heads")
    parts = contents.at("classy_state_dict")
    return Found(
        layout="VISSL",
        weights=under(state, FEATURES),
        part="the trunk's features (trunk/_feature_blocks), the only ones",
        left_out=(
            *rest(state, FEATURES, {}),
            *(("heads",) if heads else ()),
            *(("loss",) if parts.get("loss") else ()),
            *beside({**top, **parts}),
        ),
        stated=Stated(normalization=IMAGENET),
    )
