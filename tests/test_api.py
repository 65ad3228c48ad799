"""The public names are what they say, in whatever order things are imported."""

import subprocess
import sys

import pytest
import torch

import byol

CALLABLE = ["BYOL", "EncoderSpec", "LARS", "MLP", "TensorSource", "load_encoder", "make_encoder", "open_source"]
CALLABLE += ["pretrain", "resume"]


def test_public_names_are_what_they_say() -> None:
    code = (
        "import byol, types, importlib\n"
        "def look():\n"
        "    for name in byol.__all__:\n"
        "        value = getattr(byol, name)\n"
        "        assert not isinstance(value, types.ModuleType), name\n"
        "        assert value.__name__ == name, name\n"
        "import byol.cli.main, byol.pretraining.train\n"
        "look()\n"
        "look()\n"
        "import byol.cli.demo, byol.cli.views\n"
        "look()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_names_that_are_not_there() -> None:
    assert set(CALLABLE) <= set(byol.__all__)
    with pytest.raises(AttributeError, match="no attribute 'pretrian'"):
        byol.pretrian  # noqa: B018


def test_a_loop_of_ones_own() -> None:
    """The example of the method's docstring: the loss falls, and the target follows."""
    torch.manual_seed(0)
    encoder = byol.make_encoder("resnet18", width=0.125, stem="small")
    method = byol.BYOL(encoder, byol.MLP(64, 32, 8), byol.MLP(8, 32, 8))
    optimizer = byol.LARS(byol.parameter_groups(method, weight_decay=1e-6), lr=1.0)
    images = torch.rand(16, 3, 8, 8)
    before = [p.clone() for p in method.target_encoder.parameters()]
    losses = []
    for _ in range(12):
        loss = method(images, images + 0.02 * torch.randn_like(images))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        method.update_target(0.99)
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    assert not any(torch.equal(a, b) for a, b in zip(before, method.target_encoder.parameters(), strict=True))


def test_an_encoder_from_a_spec_and_from_a_name_are_the_same() -> None:
    spec = byol.EncoderSpec.of("resnet18", channels=2, width=0.125, stem="small")
    states = []
    for make in (
        lambda: byol.make_encoder(spec),
        lambda: byol.make_encoder("resnet18", channels=2, width=0.125, stem="small"),
    ):
        torch.manual_seed(0)
        states.append(make().state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
