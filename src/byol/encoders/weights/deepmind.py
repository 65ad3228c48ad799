"""The official BYOL checkpoints (deepmind-research/byol): trees of Haiku for the online and the target network."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from byol.encoders.weights.contents import Contents
from byol.encoders.weights.found import IMAGENET, Found, Stated

NETWORKS = {
    "online_params": ("online_state", ("target network", "projector", "predictor", "classifier", "optimizer")),
    "backbone_params": ("backbone_state", ("classifier", "optimizer")),
}
"""Where pretraining and the linear evaluation keep the encoder: its weights, its averages, and what else there is."""
LEAVES = {"shortcut_conv": "downsample.0", "shortcut_batchnorm": "downsample.1"}


def find(contents: Contents) -> Found | None:
    """The online network, which the gradient trains and the paper evaluates; its layers pad as TensorFlow's do."""
    state = contents.at("experiment_state")
    key = next((key for key in NETWORKS if isinstance(state.get(key), Mapping)), None)
    if key is None:
        return None
    averages, left = NETWORKS[key]
    return Found(
        layout="official BYOL",
        weights=_weights(state[key], contents.at("experiment_state", averages)),
        part=f"the encoder of the {key.removesuffix('_params')} network ({key}), the one that the paper evaluates",
        left_out=left,
        stated=Stated(normalization=IMAGENET, padding="same"),
    )


def _weights(parameters: Mapping[str, Any], averages: Mapping[str, Any]) -> dict[str, Tensor]:
    """Haiku's ResNet by torchvision's names; its arrays are (height, width, in, out), and (1, 1, 1, C)."""
    weights: dict[str, Tensor] = {}
    for module, values in parameters.items():
        name = _name(module)
        if name is None or not isinstance(values, Mapping):
            continue
        if "w" in values:
            weights[f"{name}.weight"] = values["w"].permute(3, 2, 0, 1)
            continue
        weights[f"{name}.weight"] = values["scale"].flatten()
        weights[f"{name}.bias"] = values["offset"].flatten()
        for statistic in ("mean", "var"):
            kept = averages.get(f"{module}/~/{statistic}_ema")
            if isinstance(kept, Mapping):  # `average`: `hidden` is biased towards the start
                weights[f"{name}.running_{statistic}"] = kept["average"].flatten()
    return weights


def _name(module: str) -> str | None:
    """The name of a Haiku module in torchvision's ResNet; None of what is no part of it."""
    parts = [part for part in module.split("/") if part != "~"]
    if len(parts) == 2 and parts[1] in ("initial_conv", "initial_batchnorm"):
        return "conv1" if parts[1] == "initial_conv" else "bn1"
    if len(parts) != 4 or not parts[1].startswith("block_group_"):
        return None
    stage, block = (int(part.rpartition("_")[2]) for part in parts[1:3])
    kind, _, number = parts[3].rpartition("_")
    leaf = LEAVES.get(parts[3]) or f"{'conv' if kind == 'conv' else 'bn'}{int(number) + 1}"
    return f"layer{stage + 1}.{block}.{leaf}"
