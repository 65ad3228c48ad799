"""The layouts that are recognized, in the order in which they are tried: the first that finds an encoder is right."""

from collections.abc import Callable

from byol.encoders.weights import (
    barlow_twins,
    byol_pytorch,
    deepmind,
    dino,
    lightly,
    lightly_train,
    moco,
    openmmlab,
    own,
    plain,
    prefixed,
    scripts,
    simsiam,
    solo_learn,
    stable_pretraining,
    swav,
    vicreg,
    vissl,
)
from byol.encoders.weights.contents import Contents
from byol.encoders.weights.found import Found

LAYOUTS: tuple[Callable[[Contents], Found | None], ...] = (
    own.find,
    deepmind.find,
    moco.find,
    simsiam.find,
    swav.find,
    dino.find,
    vissl.find,
    openmmlab.find,
    barlow_twins.find,
    vicreg.find,
    solo_learn.find,
    stable_pretraining.find,
    lightly.find,
    lightly_train.find,
    byol_pytorch.find,
    scripts.find,
    plain.find,
    prefixed.find,
)
"""Each tells its files by the keys in them; what is more special comes first."""
