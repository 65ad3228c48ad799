"""byol-pytorch: the state dict of its learner. That of the network alone is a bare one (`plain.py`)."""

from byol.encoders.weights.contents import Contents
from byol.encoders.weights.found import Found, Stated, has_encoder, rest, under
from byol.encoders.weights.lightly import by_torchvision_names

PREFIX = "net."
WORDS = {
    "online_encoder.net.": "the same network again",
    "online_encoder.": "online projector",
    "target_encoder.": "target network",
    "online_predictor.": "predictor",
    "augment": "augmentations",
}


def find(contents: Contents) -> Found | None:
    """The network that was given to the learner: the online encoder."""
    state = contents.at("state_dict") or contents.top
    weights = by_torchvision_names(under(state, PREFIX))
    if not has_encoder(weights) or not any(key.startswith("online_encoder.") for key in state):
        return None
    return Found(
        layout="byol-pytorch",
        weights=weights,
        part="the network of the learner (net), which is the online encoder",
        left_out=rest(state, PREFIX, WORDS),
        head="classifier, which byol-pytorch does not train",
        stated=Stated(),
    )
