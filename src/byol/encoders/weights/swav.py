"""SwAV and DeepClusterV2, the released code: a wrapped ResNet with its projection head and prototypes.

Its ResNet pads by a layer of 1 and a convolution of 2, which gives what a padding of 3 gives.
"""

from byol.encoders.weights.contents import Contents
from byol.encoders.weights.found import IMAGENET, Found, Stated, beside, epochs_in, rest, without_wrapper

HEADS = {"projection_head.": "projection head", "prototypes.": "prototypes"}


def find(contents: Contents) -> Found | None:
    """The ResNet; SwAV has one network, and the published files are its bare state dict."""
    state = without_wrapper(contents.at("state_dict") or contents.top)
    if "conv1.weight" not in state or not any(key.startswith("prototypes.") for key in state):
        return None
    several = any(key.startswith("prototypes.prototypes") for key in state)
    network = {key: value for key, value in state.items() if not key.startswith(tuple(HEADS))}
    heads = {key: value for key, value in state.items() if key.startswith(tuple(HEADS))}
    return Found(
        layout="SwAV or DeepClusterV2" if several else "SwAV",
        weights=network,
        part="the network without its heads, the only one",
        left_out=(*rest(heads, "\0", HEADS), *beside(contents.top)),
        stated=Stated(normalization=IMAGENET, epochs=epochs_in(contents.top)),
    )
