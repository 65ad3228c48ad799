"""SimSiam, the released code: `state_dict` of a wrapped module with one encoder and a predictor."""

from byol.encoders.weights.contents import Contents
from byol.encoders.weights.found import IMAGENET, Found, Stated, beside, epochs_in, rest, text, under

PREFIX = "module.encoder."


def find(contents: Contents) -> Found | None:
    """The encoder; SimSiam has one, and its projector lies in the place of the classifier."""
    state, top = contents.at("state_dict"), contents.top
    if not any(key.startswith(PREFIX) for key in state) or not any(
        key.startswith("module.predictor.") for key in state
    ):
        return None
    return Found(
        layout="SimSiam",
        weights=under(state, PREFIX),
        part="the encoder (module.encoder), the only one",
        left_out=(*rest(state, PREFIX, {"module.predictor.": "predictor"}), *beside(top)),
        head="projector",
        stated=Stated(architecture=text(top.get("arch")), normalization=IMAGENET, epochs=epochs_in(top)),
    )
