"""LightlyTrain: its training checkpoint, and the parts that it exports.

The whole exported model (`exported_last.pt`) is a bare state dict with the names of the model's own library
(`plain.py`), with a classifier that was never trained.
"""

from byol.encoders.weights.contents import Contents
from byol.encoders.weights.found import (
    IMAGENET,
    Found,
    Stated,
    beside,
    epochs_in,
    has_encoder,
    normalization_of,
    rest,
    text,
    under,
)
from byol.encoders.weights.lightly import by_torchvision_names
from byol.encoders.weights.stand_in import attributes

WRAPPERS = ("", "wrapped_model.", "embedding_model.wrapped_model.", "model.wrapped_model.")
NETWORKS = ("_features.", "_model.")
"""Where LightlyTrain keeps a torchvision network, and one of timm or of DINO."""
WORDS = {
    "projection_head": "projection head",
    "student_": "student",
    "teacher_": "teacher",
    "criterion": "loss",
    "embedding_model.embed_head": "embedding head",
}


def find(contents: Contents) -> Found | None:
    """The wrapped model, which LightlyTrain exports."""
    state = contents.at("state_dict") or contents.top
    about = attributes(contents.top.get("lightly_train"))
    for prefix in (wrapper + network for wrapper in reversed(WRAPPERS) for network in NETWORKS):
        weights = by_torchvision_names(under(state, prefix))
        if not has_encoder(weights):
            continue
        return Found(
            layout="LightlyTrain",
            weights=weights,
            part=f"the wrapped model ({prefix.rstrip('.')}), the one that LightlyTrain exports",
            left_out=(*rest(state, prefix, WORDS), *beside(contents.top)),
            stated=Stated(
                normalization=normalization_of(attributes(about.get("normalize_args"))) or IMAGENET,
                license=text(about.get("license")) or text(about.get("license_info")),
                epochs=epochs_in(contents.top),
            ),
        )
    return None
