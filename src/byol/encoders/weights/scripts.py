"""Training scripts of timm and torchvision: a checkpoint with `args` and, where it was kept, the moving average."""

from byol.encoders.weights.contents import Contents, is_state
from byol.encoders.weights.found import (
    IMAGENET,
    Found,
    Stated,
    beside,
    epochs_in,
    normalization_of,
    text,
    without_wrapper,
)
from byol.encoders.weights.stand_in import attributes

TIMM_KEYS = ("state_dict_ema", "state_dict")
TORCHVISION_KEYS = ("model_ema", "model")


def find(contents: Contents) -> Found | None:
    """The moving average where there is one, which both scripts evaluate; else the network itself."""
    top = contents.top
    if "args" not in top:
        return None
    keys = TIMM_KEYS if {"version", "arch"} <= set(top) else TORCHVISION_KEYS
    key = next((key for key in keys if is_state(top.get(key))), None)
    if key is None:
        return None
    arguments = attributes(top["args"])
    why = "the moving average, the one that the script evaluates" if "ema" in key else "the only network"
    return Found(
        layout="timm training script" if keys is TIMM_KEYS else "torchvision reference script",
        weights={name: value for name, value in without_wrapper(top[key]).items() if name != "n_averaged"},
        part=f"{key}: {why}",
        left_out=(*(("the network that was averaged",) if "ema" in key else ()), *beside(top, key)),
        stated=Stated(
            architecture=text(top.get("arch")) or text(arguments.get("model")),
            normalization=normalization_of(arguments) or IMAGENET,
            epochs=epochs_in(top),
        ),
    )
