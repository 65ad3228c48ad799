"""Barlow Twins, the released code: `model` with a backbone, a projector and the batch norm of the loss.

The final `resnet50.pth` is the backbone's bare state dict (`plain.py`).
"""

from byol.encoders.weights.contents import Contents
from byol.encoders.weights.found import IMAGENET, Found, Stated, beside, epochs_in, rest, under, without_wrapper

WORDS = {"projector.": "projector", "bn.": "batch norm of the loss"}


def find(contents: Contents) -> Found | None:
    """The backbone; Barlow Twins has one network."""
    state = without_wrapper(contents.at("model"))
    if {key.split(".")[0] for key in state} != {"backbone", "projector", "bn"}:
        return None
    return Found(
        layout="Barlow Twins",
        weights=under(state, "backbone."),
        part="the backbone (model/backbone), the only one",
        left_out=(*rest(state, "backbone.", WORDS), *beside(contents.top)),
        stated=Stated(normalization=IMAGENET, epochs=epochs_in(contents.top)),
    )
