"""stable-pretraining: a Lightning checkpoint whose backbone is wrapped as student and teacher."""

from byol.encoders.weights.contents import Contents
from byol.encoders.weights.found import IMAGENET, Found, Stated, beside, epochs_in, has_encoder, rest, under

PREFIX = "backbone.student."
WORDS = {
    "backbone.teacher.": "teacher",
    "projector": "projector",
    "predictor": "predictor",
    "backbone.ema": "rate of the moving average",
}


def find(contents: Contents) -> Found | None:
    """The student, which the gradient trains."""
    state = contents.at("state_dict")
    weights = under(state, PREFIX)
    if not has_encoder(weights):
        return None
    return Found(
        layout="stable-pretraining",
        weights=weights,
        part="the student (backbone.student), which the gradient trains",
        left_out=(*rest(state, PREFIX, WORDS), *beside(contents.top)),
        stated=Stated(normalization=IMAGENET, epochs=epochs_in(contents.top)),
    )
