"""Whole networks against the official ones: training mode, evaluation mode, and batch norm's state in between."""

import pytest
import torch
from torch import Tensor, nn

import golden_names as golden
from golden_networks import (
    HaikuBatchNorm,
    load_parameters,
    load_state,
    normalize_images,
    official_encoder,
    official_heads,
)

ARRAYS = golden.load("network")
CASES = [str(name) for name in ARRAYS["case_names"]]
# Rounding of the official float32 run itself, which grows with depth; (training, evaluation).
FLOAT32_TOLERANCE = {
    "tiny32": (1e-4, 1e-4),
    "tiny47": (1e-4, 1e-4),
    "slim18": (1e-4, 1e-4),
    "slimbottleneck": (2e-4, 2e-4),
    "resnet18": (2e-4, 2e-4),
    "resnet50": (2e-3, 5e-3),
}


def build(case: str, dtype: torch.dtype) -> nn.ModuleDict:
    """The network of a case with its weights and its batch-norm state before."""
    config = golden.settings(ARRAYS, f"{case}/config_json")
    encoder = official_encoder(config["encoder"])
    heads = official_heads(
        int(encoder.num_features),
        config["projector_hidden"],
        config["projector_output"],
        config["predictor_hidden"],
    )
    network = nn.ModuleDict({"encoder": encoder, **heads}).to(dtype)
    if config["stored"]:
        load_parameters(network, golden.parameters(ARRAYS, f"{case}/params", dtype))
    else:
        load_parameters(network, golden.recipe_parameters(ARRAYS, case, dtype))
    if not config["fresh"]:
        load_state(network, ARRAYS, f"{case}/state_before")
    return network


@torch.no_grad()
def outputs(network: nn.ModuleDict, case: str, dtype: torch.dtype, training: bool) -> dict[str, Tensor]:
    network.train(training)
    embedding = network["encoder"](normalize_images(golden.images(ARRAYS[f"{case}/images"], dtype)))
    projection = network["projector"](embedding)
    return {"embedding": embedding, "projection": projection, "prediction": network["predictor"](projection)}


def assert_outputs_close(ours: dict[str, Tensor], prefix: str, tolerance: float) -> None:
    for key, value in ours.items():
        golden.assert_close_relative(value, ARRAYS[f"{prefix}/{key}"], tolerance, f"{prefix}/{key}")


@pytest.mark.parametrize("case", CASES)
def test_double_precision(case: str) -> None:
    network = build(case, torch.float64)
    assert_outputs_close(outputs(network, case, torch.float64, True), f"{case}/train_float64", 1e-9)
    assert_outputs_close(outputs(network, case, torch.float64, False), f"{case}/eval_with_state_after_float64", 1e-9)


@pytest.mark.parametrize("case", CASES)
def test_single_precision(case: str) -> None:
    training, evaluation = FLOAT32_TOLERANCE[case]
    network = build(case, torch.float32)
    if f"{case}/eval_with_state_before/embedding" in ARRAYS:
        assert_outputs_close(outputs(network, case, torch.float32, False), f"{case}/eval_with_state_before", evaluation)
    assert_outputs_close(outputs(network, case, torch.float32, True), f"{case}/train", training)
    assert_outputs_close(outputs(network, case, torch.float32, False), f"{case}/eval_with_state_after", evaluation)


@pytest.mark.parametrize("case", CASES)
def test_batch_norm_state_after_a_pass(case: str) -> None:
    network = build(case, torch.float32)
    outputs(network, case, torch.float32, True)
    for name, state in golden.batch_norm_states(ARRAYS, f"{case}/state_after"):
        norm = network.get_submodule(name)
        assert isinstance(norm, HaikuBatchNorm)
        assert norm.counter == state["mean_counter"] == state["var_counter"]
        for key in ("mean_hidden", "mean_average", "var_hidden", "var_average"):
            what = f"{name} {key}"
            golden.assert_close_relative(getattr(norm, key), state[key], FLOAT32_TOLERANCE[case][0], what)


def test_normalization_of_the_images() -> None:
    ours = normalize_images(golden.images(ARRAYS["tiny32/images"][:1]))
    golden.assert_close(golden.as_images(ours), ARRAYS["tiny32/normalized_images_first"], 1e-6)
