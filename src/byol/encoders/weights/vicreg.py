"""VICReg, the released code: `model` with a backbone and an expander.

The final `resnet50.pth` is the backbone's bare state dict (`plain.py`).
"""

from byol.encoders.weights.contents import Contents
from byol.encoders.weights.found import IMAGENET, Found, Stated, beside, epochs_in, rest, under, without_wrapper


def find(contents: Contents) -> Found | None:
    """The backbone; VICReg has one network."""
    state = without_wrapper(contents.at("model"))
    names = {key.split(".")[0] for key in state}
    if names != {"backbone", "projector"}:
        return None
    return Found(
        layout="VICReg",
        weights=under(state, "backbone."),
        part="the backbone (model/backbone), the only one",
        left_out=(*rest(state, "backbone.", {"projector.": "expander"}), *beside(contents.top)),
        stated=Stated(normalization=IMAGENET, epochs=epochs_in(contents.top)),
    )
