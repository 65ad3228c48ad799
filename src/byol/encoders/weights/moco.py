"""MoCo v1, v2 and v3, the released code: `state_dict` of a wrapped module with two encoders."""

from byol.encoders.weights.contents import Contents
from byol.encoders.weights.found import IMAGENET, Found, Stated, beside, epochs_in, rest, text, under

QUERY, MOMENTUM = "module.encoder_q.", "module.base_encoder."
V3_SMALL = "vit_small"
V3_SMALL_HEADS = 12
"""Attention heads of MoCo v3's ViT-S (vits.py: vit_small); timm's has 6, and the shapes of the weights do not tell."""


def find(contents: Contents) -> Found | None:
    """The query encoder, whose weights the gradient trains; the key encoder is its moving average."""
    state, top = contents.at("state_dict"), contents.top
    architecture = text(top.get("arch"))
    if any(key.startswith(QUERY) for key in state):
        deep = any(key.startswith((QUERY + "fc.2.", QUERY + "classifier.2.")) for key in state)
        words = {"module.encoder_k.": "key encoder", "module.queue": "queue"}
        return Found(
            layout="MoCo v2" if deep else "MoCo v1",
            weights=under(state, QUERY),
            part="the query encoder (module.encoder_q), the one that MoCo evaluates",
            left_out=(*rest(state, QUERY, words), *beside(top)),
            head="projection head",
            stated=Stated(architecture=architecture, normalization=IMAGENET, epochs=epochs_in(top)),
        )
    if any(key.startswith(MOMENTUM) for key in state):
        words = {"module.momentum_encoder.": "momentum encoder", "module.predictor.": "predictor"}
        heads = V3_SMALL_HEADS if architecture == V3_SMALL or _is_small_vit(contents) else None
        return Found(
            layout="MoCo v3",
            weights=under(state, MOMENTUM),
            part="the base encoder (module.base_encoder), the one that MoCo evaluates",
            left_out=(*rest(state, MOMENTUM, words), *beside(top)),
            head="projection head",
            stated=Stated(heads=heads, normalization=IMAGENET, epochs=epochs_in(top)),
        )
    return None


def _is_small_vit(contents: Contents) -> bool:
    token = contents.at("state_dict").get(MOMENTUM + "cls_token")
    return token is not None and token.shape[-1] == 384
