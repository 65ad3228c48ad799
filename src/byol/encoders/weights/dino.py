"""DINO, the released training code (iBOT's files are alike): `student` and `teacher`, each a network with its head.

What DINO publishes as a backbone is a bare state dict (`plain.py`).
"""

from byol.encoders.weights.contents import Contents, is_state
from byol.encoders.weights.found import IMAGENET, Found, Stated, beside, epochs_in, rest, text, under, without_wrapper
from byol.encoders.weights.stand_in import attributes


def find(contents: Contents) -> Found | None:
    """The teacher, the moving average of the student: DINO's own evaluation takes it (eval_knn.py)."""
    top = contents.top
    if not (is_state(top.get("teacher")) and "student" in top):
        return None
    state = without_wrapper(top["teacher"])
    if not any(key.startswith("backbone.") for key in state):
        return None
    arguments = attributes(top.get("args"))
    architecture = text(arguments.get("arch"))
    return Found(
        layout="DINO",
        weights=under(state, "backbone."),
        part="the teacher (teacher/backbone), the one that DINO evaluates",
        left_out=("student", *rest(state, "backbone.", {"head.": "projection head"}), *beside(top, "teacher")),
        stated=Stated(
            architecture=architecture if architecture and architecture.startswith("res") else None,
            normalization=IMAGENET,
            epochs=epochs_in(top),
        ),
    )
