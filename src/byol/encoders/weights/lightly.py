"""lightly: networks as its examples build them, whose backbone is an `nn.Sequential` of a ResNet's parts."""

import re
from collections.abc import Mapping
from typing import Any

from byol.encoders.weights.contents import Contents
from byol.encoders.weights.found import IMAGENET, Found, Stated, beside, epochs_in, rest, under, without_wrapper
from byol.errors import UserError

PARTS = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
"""Numbers of torchvision's ResNet as `nn.Sequential(*list(resnet.children())[:-1])` gives them; 2 and 3 hold no
weights."""
TEACHERS = {
    "teacher_backbone.": "the teacher (teacher_backbone), the one that DINO evaluates",
    "backbone.": "the backbone, which the gradient trains",
}
WORDS = {
    "backbone_momentum.": "momentum backbone",
    "student_backbone.": "student",
    "student_head.": "student's head",
    "teacher_head.": "teacher's head",
    "projection_head_momentum.": "momentum projection head",
    "projection_head.": "projection head",
    "prediction_head.": "prediction head",
    "prototypes.": "prototypes",
    "criterion.": "loss",
    "online_classifier.": "online classifier",
}
CLI = ("model.backbone.7.weight", "model.backbone.0.running_mean")
"""A ResNet of `lightly-ssl-train`: batch norm of the input first, a 1x1 convolution to 32 features last."""


def find(contents: Contents) -> Found | None:
    """The backbone that the gradient trains; of a student and a teacher, the teacher.

    Raises:
        UserError: a network of lightly's command line, which no other program has.
    """
    state = without_wrapper(contents.at("state_dict") or contents.top)
    if all(key in state for key in CLI):
        raise UserError(
            f"{contents.path} is a checkpoint of lightly-ssl-train, whose ResNet is like no other (batch norm of the "
            "input, a 3x3 first layer, 32 features); train with lightly's Python examples, or give another file."
        )
    for prefix, part in TEACHERS.items():
        weights = under(state, prefix)
        if not is_numbered(weights):
            continue
        return Found(
            layout="lightly",
            weights=by_torchvision_names(weights),
            part=part,
            left_out=(*rest(state, prefix, WORDS), *beside(contents.top)),
            stated=Stated(normalization=IMAGENET, epochs=epochs_in(contents.top)),
        )
    return None


def is_numbered(state: Mapping[str, Any]) -> bool:
    """Whether a state dict is that of a torchvision ResNet in an `nn.Sequential`."""
    return all(key in state for key in ("0.weight", "1.running_mean")) and any(
        re.match(r"4\.0\.conv1\.weight$", key) for key in state
    )


def by_torchvision_names(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """A state dict with torchvision's names where it is such a numbered one; any other as it is."""
    if not is_numbered(state):
        return state
    split = {key: key.partition(".") for key in state}
    return {f"{PARTS.get(number, number)}.{rest}": state[key] for key, (number, _, rest) in split.items()}
