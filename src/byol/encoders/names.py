"""Names of encoders: timm's, ours, and the tag after a dot, by which timm names weights."""

import timm

from byol.config.encoder import EncoderSpec
from byol.config.views import Normalization
from byol.errors import UserError, nearest

SHALLOW: dict[str, tuple[str, tuple[int, ...]]] = {"resnet10": ("resnet18", (1, 1, 1, 1))}
"""ResNets that timm has no name for: the one they are cut from, and their residual blocks per stage."""

TIMM = "timm"
"""`EncoderSpec.weights` of the weights that timm has under the encoder's name."""


def check_name(spec: EncoderSpec) -> None:
    """See that there is an encoder of that name; and that its tag, if it has one, names weights that are loaded.

    Raises:
        UserError: there is none, or the tag would be passed over.
    """
    name, tag = spec.architecture, spec.tag
    if name not in SHALLOW and not timm.is_model(name):
        raise UserError(
            f"There is no encoder {spec.name!r}.{nearest(name, timm.list_models())} Any name of timm.list_models() "
            "will do."
        )
    if tag is None:
        return
    known = [full.partition(".")[2] for full in timm.list_pretrained(f"{name}.*")]
    if tag not in known:
        there = f"there are the tags {', '.join(known)}" if known else "it has none of this encoder"
        raise UserError(
            f"timm has no weights {spec.name!r}; {there}.{nearest(tag, known)} Give {name!r} for fresh weights."
        )
    if spec.weights != TIMM:
        raise UserError(
            f"{spec.name!r} names weights, which the name alone does not load; give {name!r} for fresh weights, with "
            f"--weights FILE for those of a file, or --weights {spec.name} for those of timm's hub."
        )


def timm_normalization(name: str) -> Normalization | None:
    """The mean and deviation with which timm's weights of a name were trained; None where timm does not know it."""
    architecture = name.partition(".")[0]
    known = timm.get_pretrained_cfg(name) if timm.is_model(architecture) else None
    return None if known is None else Normalization(tuple(known.mean), tuple(known.std))


def fixed_input_size(name: str) -> int | None:
    """Side of the images that an encoder is bound to, as timm says of most transformers; None of others."""
    architecture = name.partition(".")[0]
    known = timm.get_pretrained_cfg(architecture) if timm.is_model(architecture) else None
    return int(known.input_size[-1]) if known is not None and known.fixed_input_size else None
