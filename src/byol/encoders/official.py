"""Encoders as checkpoints that the official BYOL code reads (deepmind-research/byol): dill's pickle of Haiku's trees.

`encoders/weights/deepmind.py` is the way back. Names and layouts: byol/utils/networks.py at f5de0ed.
"""

import io
import pickletools
import re
from collections import namedtuple
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from byol.encoders.file import EncoderCard
from byol.errors import UserError
from byol.runtime.checkpoint import write_atomically

NETWORKS = ("resnet50", "resnet101", "resnet152", "resnet200")
"""Those of the official code's networks that timm has too; its ResNet-18 and 34 have one projection more."""
SEEN = np.int32(1_000_000)
"""Batches that the averages of batch norm are said to be of: so many that nothing is left of their start at 0."""
_ByolExperimentState = namedtuple(
    "_ByolExperimentState", ["online_params", "target_params", "online_state", "target_state", "opt_state"]
)
"""The official code's state of a pretraining run (byol_experiment.py)."""


def write_official(encoder: nn.Module, card: EncoderCard, path: Path) -> None:
    """Write an encoder as the online and the target network of an official checkpoint, without heads.

    Raises:
        UserError: the official code has no such network, or dill is not installed.
    """
    spec = card.encoder
    if spec.architecture not in NETWORKS or spec.stem != "standard":
        raise UserError(
            f"The official code has no network like {spec.name} with the stem {spec.stem}; it has "
            f"{', '.join(NETWORKS)} with the standard stem, of any width."
        )
    if spec.padding != "same":
        raise UserError(
            f"The official code's {spec.architecture} pads as TensorFlow does, so these weights would give other "
            "features there; train with --encoder.padding same for it."
        )
    if find_spec("dill") is None:
        raise UserError("Writing the official code's format takes dill; run: pip install 'byol[official]'.")
    import dill  # type: ignore[import-untyped]

    network = f"res_net{spec.architecture.removeprefix('resnet')}"
    parameters, averages = trees(network, dict(encoder.state_dict()))
    state = _ByolExperimentState(parameters, parameters, averages, averages, ())
    content = {"experiment_state": state, "step": 0, "rng": np.zeros(2, np.uint32)}
    file = io.BytesIO()
    dill.dump(content, file, protocol=2)
    write_atomically(path, _for_older_numpy(file.getvalue()))


def _for_older_numpy(content: bytes) -> bytes:
    """A pickle that names NumPy's modules as before NumPy 2: the official code's environment has an older one."""
    parts, last = [], 0
    for operation, argument, position in pickletools.genops(content):
        if operation.name == "GLOBAL" and str(argument).startswith("numpy._core."):
            assert position is not None
            parts += [content[last:position], b"cnumpy.core."]
            last = position + len(b"cnumpy._core.")
    return b"".join([*parts, content[last:]])


Tree = dict[str, dict[str, Any]]


def trees(network: str, state: dict[str, Tensor]) -> tuple[Tree, Tree]:
    """A ResNet's weights and averages by Haiku's names and in its layouts.

    Args:
        network: Haiku's name of it, such as res_net50.
        state: by timm's names.

    Returns:
        Module -> `w` (height, width, in, out), or `scale` and `offset` (1, 1, 1, C); and module -> an average.
    """
    parameters: Tree = {}
    averages: Tree = {}
    for key, value in state.items():
        layer, _, leaf = key.rpartition(".")
        module = f"{network}/~/{module_name(layer)}"
        array: NDArray[Any] = value.detach().cpu().float().numpy()
        if value.ndim == 4:
            parameters[module] = {"w": np.ascontiguousarray(array.transpose(2, 3, 1, 0))}
            continue
        if leaf in ("weight", "bias"):
            parameters.setdefault(module, {})["scale" if leaf == "weight" else "offset"] = array.reshape(1, 1, 1, -1)
        elif leaf != "num_batches_tracked":
            average = array.reshape(1, 1, 1, -1)
            kept = {"hidden": average, "average": average, "counter": SEEN}
            averages[f"{module}/~/{leaf.removeprefix('running_')}_ema"] = kept
    return parameters, averages


def module_name(layer: str) -> str:
    """Haiku's name of a layer of timm's ResNet: `layer2.0.bn3` is `block_group_1/~/block_0/~/batchnorm_2`."""
    if layer in ("conv1", "bn1"):
        return "initial_conv" if layer == "conv1" else "initial_batchnorm"
    found = re.fullmatch(r"layer(\d)\.(\d+)\.(conv|bn|downsample\.)(\d)", layer)
    assert found is not None, layer
    group, block, kind, number = found.groups()
    if kind == "downsample.":
        leaf = "shortcut_conv" if number == "0" else "shortcut_batchnorm"
    else:
        leaf = f"{'conv' if kind == 'conv' else 'batchnorm'}_{int(number) - 1}"
    return f"block_group_{int(group) - 1}/~/block_{block}/~/{leaf}"
