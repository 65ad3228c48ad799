"""Reading the golden vectors: Haiku's names and layouts turned into ours."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Arrays = dict[str, NDArray]

FOLDER = Path(__file__).parent / "golden"


@cache
def load(name: str) -> Arrays:
    """All arrays of `golden/<name>.npz`."""
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def section(arrays: Arrays, prefix: str) -> Arrays:
    """The arrays under `prefix/`, by the rest of their key."""
    found = {key[len(prefix) + 1 :]: value for key, value in arrays.items() if key.startswith(prefix + "/")}
    assert found, f"nothing under {prefix}/"
    return found


def settings(arrays: Arrays, key: str) -> dict:
    """A JSON entry."""
    return json.loads(str(arrays[key]))


def images(array: NDArray, dtype: torch.dtype = torch.float32) -> Tensor:
    """(..., H, W, C) as (..., C, H, W)."""
    return torch.from_numpy(np.moveaxis(array, -1, -3).copy()).to(dtype)


def as_numpy(x: Tensor) -> NDArray:
    return x.detach().cpu().numpy()


def as_images(x: Tensor) -> NDArray:
    """(..., C, H, W) as (..., H, W, C)."""
    return np.moveaxis(as_numpy(x), -3, -1)


VARIABLES = {"w": "weight", "b": "bias", "scale": "weight", "offset": "bias"}
HEAD_LAYERS = {"linear": "0", "batch_norm": "1", "linear_1": "3"}


def module_name(haiku: str) -> str:
    """Our name of a Haiku module: `encoder.`, `projector.`, `predictor.` or `classifier`, and timm's names inside."""
    network, _, rest = haiku.partition("/")
    if network == "classifier":
        return "classifier"
    if network in ("projector", "predictor"):
        return f"{network}.{HEAD_LAYERS[rest]}"
    # The encoder's own name differs from case to case, so anything else is the encoder.
    if rest == "~/initial_conv":
        return "encoder.conv1"
    if rest == "~/initial_batchnorm":
        return "encoder.bn1"
    match = re.fullmatch(r"~/block_group_(\d)/~/block_(\d+)/~/(\w+)", rest)
    assert match, f"unknown module {haiku}"
    block = f"encoder.layer{int(match[1]) + 1}.{match[2]}"
    if match[3] == "shortcut_conv":
        return f"{block}.downsample.0"
    if match[3] == "shortcut_batchnorm":
        return f"{block}.downsample.1"
    kind, _, number = match[3].rpartition("_")
    return f"{block}.{ {'conv': 'conv', 'batchnorm': 'bn'}[kind] }{int(number) + 1}"


def parameter_name(haiku: str) -> str:
    module, _, variable = haiku.rpartition("/")
    return f"{module_name(module)}.{VARIABLES[variable]}"


def to_torch(haiku: str, array: NDArray, dtype: torch.dtype = torch.float32) -> Tensor:
    """The value of the Haiku variable in torch's layout."""
    variable = haiku.rpartition("/")[2]
    if variable == "w":
        array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
    elif variable != "b":
        array = array.reshape(-1)  # batch-norm vectors carry leading ones
    return torch.from_numpy(array.copy()).to(dtype)


def parameters(arrays: Arrays, prefix: str, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """The parameters under `prefix/` by our names, in our layout."""
    return {parameter_name(key): to_torch(key, value, dtype) for key, value in section(arrays, prefix).items()}


def recipe_parameters(arrays: Arrays, case: str, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Weights of a full-size network by our names, in our layout."""
    return {parameter_name(name): to_torch(name, value, dtype) for name, value in recipe_arrays(arrays, case).items()}


def recipe_arrays(arrays: Arrays, case: str) -> Arrays:
    """Weights of a full-size network, drawn again from the stored seed and checked against the stored sums."""
    seed = int(arrays[f"{case}/recipe_seed"])
    made: Arrays = {}
    for i, (name, shape) in enumerate(
        zip(arrays[f"{case}/recipe_names"], arrays[f"{case}/recipe_shapes"], strict=True)
    ):
        u = np.random.RandomState(seed + i).random_sample(json.loads(str(shape)))
        variable = str(name).rpartition("/")[2]
        if variable == "w":
            value = (2 * u - 1) * np.sqrt(6 / np.prod(u.shape[:-1]))
        elif variable == "scale":
            value = 0.5 + u
        else:
            value = (2 * u - 1) * 0.2
        value = value.astype(np.float32)
        assert value.flat[0] == arrays[f"{case}/recipe_first_value"][i]
        assert np.isclose(value.sum(dtype=np.float64), arrays[f"{case}/recipe_sum_float64"][i], rtol=1e-12, atol=1e-9)
        made[str(name)] = value
    return made


def batch_norm_states(arrays: Arrays, prefix: str) -> Iterator[tuple[str, Arrays]]:
    """Our module name of each batch norm under `prefix/`, with its state.

    The state is `mean_hidden`, `mean_average`, `mean_counter`, and the same three of `var`.
    """
    states: dict[str, Arrays] = {}
    for key, value in section(arrays, prefix).items():
        match = re.fullmatch(r"(.+)/~/(mean|var)_ema/(hidden|average|counter)", key)
        assert match, f"unknown state {key}"
        states.setdefault(module_name(match[1]), {})[f"{match[2]}_{match[3]}"] = value.reshape(-1)
    yield from states.items()


def assert_close(ours: NDArray | Tensor, official: NDArray, tolerance: float, what: str = "") -> float:
    """No entry differs by more than `tolerance`; returns the largest difference."""
    ours = as_numpy(ours) if isinstance(ours, Tensor) else np.asarray(ours)
    assert ours.shape == official.shape, f"{what}: shape {ours.shape}, official {official.shape}"
    assert np.isfinite(ours).all(), f"{what}: not finite"
    off = float(np.abs(ours.astype(np.float64) - official.astype(np.float64)).max(initial=0.0))
    assert off <= tolerance, f"{what}: off by {off:.3g}, allowed {tolerance:.3g}"
    return off


def assert_close_relative(ours: NDArray | Tensor, official: NDArray, tolerance: float, what: str = "") -> float:
    """As `assert_close`, with the tolerance in parts of the largest official value; returns the worst such part."""
    scale = float(np.abs(official).max(initial=0.0))
    return assert_close(ours, official, tolerance * scale, what) / (scale or 1.0)
