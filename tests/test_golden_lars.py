"""Six steps of LARS in three settings, over a tree of convolution, linear and batch-norm weights."""

import pytest
import torch
from torch import Tensor, nn

import golden_names as golden
from byol.optim.lars import LARS, parameter_groups

ARRAYS = golden.load("lars")
RUNS = [str(name) for name in ARRAYS["run_names"]]
EXCLUDED = {
    golden.parameter_name(str(name))
    for name, excluded in zip(ARRAYS["parameter_names"], ARRAYS["parameter_is_excluded"], strict=True)
    if excluded
}


def small_network(weights: dict[str, Tensor]) -> nn.ModuleDict:
    """The layers of the official tree with the weights of a run."""
    hidden, features = weights["projector.0.weight"].shape
    network = nn.ModuleDict(
        {
            "encoder": nn.ModuleDict({"conv1": nn.Conv2d(5, 7, 3, bias=False), "bn1": nn.BatchNorm2d(7)}),
            "projector": nn.Sequential(
                nn.Linear(features, hidden),
                nn.BatchNorm1d(hidden),
                nn.ReLU(),
                nn.Linear(hidden, len(weights["projector.3.weight"]), bias=False),
            ),
            "classifier": nn.Linear(features, len(weights["classifier.weight"])),
        }
    ).to(weights["classifier.weight"].dtype)
    assert {name for name, _ in network.named_parameters()} == set(weights)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(weights[name])
    return network


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("run", RUNS)
def test_six_steps(run: str, dtype: torch.dtype) -> None:
    arrays = golden.section(ARRAYS, run)
    network = small_network(golden.parameters(arrays, "initial_params", dtype))
    optimizer = LARS(
        parameter_groups(network, weight_decay=float(arrays["weight_decay"])),
        lr=float(arrays["learning_rate"][0]),
        momentum=float(arrays["momentum"]),
        trust=float(arrays["eta"]),
    )
    for step in range(int(ARRAYS["num_steps"])):
        for group in optimizer.param_groups:
            group["lr"] = float(arrays["learning_rate"][step])
        gradients = golden.parameters(arrays, f"step{step}/grads", dtype)
        for name, parameter in network.named_parameters():
            parameter.grad = gradients[name]
        optimizer.step()
        weights = golden.parameters(arrays, f"step{step}/params")
        momenta = golden.parameters(arrays, f"step{step}/momentum")
        for name, parameter in network.named_parameters():
            where = f"step {step}, {name}"
            for what, ours, official in (
                ("weight", parameter, weights[name]),
                ("momentum", optimizer.state[parameter]["momentum"], momenta[name]),
            ):
                expected = golden.as_numpy(official)
                golden.assert_close(ours, expected, 2e-6 * abs(expected).max() + 1e-12, f"{where}, {what}")


def test_biases_and_norms_are_left_out() -> None:
    network = small_network(golden.parameters(ARRAYS, f"{RUNS[0]}/initial_params"))
    names = {parameter: name for name, parameter in network.named_parameters()}
    groups = parameter_groups(network, weight_decay=0.5)
    ours = {names[p] for group in groups if not group["adapt"] for p in group["params"]}
    assert ours == EXCLUDED
    assert {names[p] for group in groups for p in group["params"]} == set(names.values())
    assert all(group["weight_decay"] == (0.5 if group["adapt"] else 0.0) for group in groups)
