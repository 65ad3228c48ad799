"""OpenMMLab (mmselfsup, mmpretrain): `meta` with the config as text, and `state_dict` with a backbone."""

import re

from byol.encoders.weights.contents import Contents
from byol.encoders.weights.found import IMAGENET, Found, Stated, beside, has_encoder, rest, text, under
from byol.encoders.weights.stand_in import attributes
from byol.errors import UserError

PREFIX = "backbone."
WORDS = {
    "target_net.": "target network",
    "neck.": "neck",
    "head.": "head",
    "encoder_k.": "key encoder",
    "queue": "queue",
    "data_preprocessor.": "normalization",
}


def find(contents: Contents) -> Found | None:
    """The backbone: in its files of BYOL and MoCo the online one, which the gradient trains.

    Raises:
        UserError: a network whose weights do not mean the same in a network of ours.
    """
    top, state = contents.top, contents.at("state_dict")
    meta, extracted = top.get("meta"), "author" in top
    if not (
        (isinstance(meta, dict) and ({"mmengine_version", "mmcv_version", "cfg", "config"} & set(meta))) or extracted
    ):
        return None
    bare = extracted and has_encoder(state)
    if not bare and not any(key.startswith(PREFIX) for key in state):
        return None
    weights = dict(state) if bare else under(state, PREFIX)
    config = text(attributes(meta).get("cfg")) or text(attributes(meta).get("config")) or ""
    if any(key.startswith(("layers.", "patch_embed.projection")) for key in weights):
        raise UserError(
            f"{contents.path} is a transformer of OpenMMLab, whose layers have other names; convert it to timm's names "
            "with mmpretrain's tools, or give a ResNet."
        )
    if re.search(r"style['\"]?\s*[=:]\s*['\"]caffe", config):
        raise UserError(
            f"{contents.path} is a ResNet with style='caffe', whose strides lie in other layers than in a network of "
            "ours, so its weights would mean something else; give one with style='pytorch'."
        )
    return Found(
        layout="OpenMMLab (mmselfsup, mmpretrain)",
        weights=weights,
        part="the backbone, the only one" if bare else "the backbone (state_dict/backbone), the online one",
        left_out=(*(() if bare else rest(state, PREFIX, WORDS)), *beside(top)),
        stated=Stated(normalization=IMAGENET),
    )
