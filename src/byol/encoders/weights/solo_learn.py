"""solo-learn: a Lightning checkpoint with a backbone (before 2022 an encoder), a projector and a classifier."""

from collections.abc import Mapping
from typing import Any

from byol.config.views import Normalization
from byol.encoders.weights.contents import Contents
from byol.encoders.weights.found import IMAGENET, Found, Stated, beside, epochs_in, has_encoder, rest, under

CIFAR = {
    "cifar10": Normalization((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": Normalization((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}
"""Mean and deviation with which solo-learn normalizes these sets."""
WORDS = {
    "momentum_backbone.": "momentum backbone",
    "momentum_encoder.": "momentum encoder",
    "momentum_projector.": "momentum projector",
    "projector.": "projector",
    "predictor.": "predictor",
    "momentum_classifier": "momentum classifier",
    "classifier.": "classifier",
    "queue": "queue",
    "prototypes.": "prototypes",
}


def find(contents: Contents) -> Found | None:
    """The backbone, which the gradient trains and solo-learn evaluates.

    For small images its first layer is 3x3 with a padding of 2.
    """
    state = contents.at("state_dict")
    if "pytorch-lightning_version" not in contents.top or not any(key.startswith("classifier.") for key in state):
        return None
    prefix = next((prefix for prefix in ("backbone.", "encoder.") if has_encoder(under(state, prefix))), None)
    if prefix is None:
        return None
    weights, dataset = under(state, prefix), _dataset(contents.beside)
    first = weights.get("conv1.weight")
    small = first is not None and first.shape[-1] == 3
    return Found(
        layout="solo-learn",
        weights=weights,
        part=f"the {prefix.rstrip('.')}, which the gradient trains",
        left_out=(*rest(state, prefix, WORDS), *beside(contents.top)),
        stated=Stated(
            normalization=CIFAR.get(dataset, IMAGENET),
            stem="padded" if small else None,
            input_size=32 if dataset in CIFAR else None,
            epochs=epochs_in(contents.top),
        ),
    )


def _dataset(arguments: Mapping[str, Any]) -> str:
    """The data set that `args.json` names, in its newer form or its older one."""
    data = arguments.get("data")
    said = data.get("dataset") if isinstance(data, Mapping) else arguments.get("dataset")
    return said if isinstance(said, str) else ""
