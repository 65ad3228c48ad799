"""What a step keeps for its backward pass: one view's activations, or the inputs of blocks alone; the same updates."""

import copy
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from building import build, step_once
from byol.config.encoder import EncoderSpec
from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.data.batch import Batch
from byol.encoders.build import make_encoder
from byol.errors import UserError
from byol.pretraining.state import TrainState
from byol.runtime.activation_checkpointing import checkpoint_activations

CONFIG = PretrainConfig(
    image_size=16, batch_size=8, epochs=1, device="cpu", precision="float32", encoder=EncoderSpec(name="resnet18")
)
CONFIG = replace(CONFIG, encoder__width=0.25, encoder__stem="small", method__hidden=16, method__output=8)
CPU = torch.device("cpu")


def views(seed: int = 0) -> tuple[Tensor, Tensor]:
    one, two = torch.randn(2, 8, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    return one, two


def batch(seed: int = 0) -> list[Batch]:
    return [Batch(views(seed))]


def kept(act: Callable[[], object], without: nn.Module) -> int:
    """Most bytes at a time that autograd keeps while `act` runs, the weights of a network not counted."""
    weights = {p.untyped_storage().data_ptr() for p in without.parameters()}
    seen: list[weakref.ref[Tensor]] = []
    most = 0

    def keep(x: Tensor) -> Tensor:
        nonlocal most
        seen.append(weakref.ref(x))
        storages = [y.untyped_storage() for found in seen if (y := found()) is not None]
        alive = {storage.data_ptr(): storage.nbytes() for storage in storages if storage.data_ptr() not in weights}
        most = max(most, sum(alive.values()))
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        act()
    return most


def step(state: TrainState, config: PretrainConfig, seed: int = 0) -> tuple[Tensor, Tensor]:
    return step_once(state, batch(seed), config, 0.1, 0.9)


def test_a_step_keeps_the_activations_of_one_view() -> None:
    state = build(CONFIG, 3, CPU)
    both = kept(lambda: state.method(*views()).backward(), state.method)
    assert kept(lambda: step(state, CONFIG), state.method) < 0.6 * both


@pytest.mark.parametrize("encoder", ["resnet18", "resnet26"])  # with blocks of two convolutions, and of three
@pytest.mark.parametrize("method", ["byol", "simclr"])
def test_recomputing_changes_no_bit_of_an_update(encoder: str, method: str) -> None:
    plain = replace(CONFIG, encoder=encoder, method=method)
    again = replace(plain, optim__activation_checkpointing=True)
    states = [build(config, 3, CPU) for config in (plain, again)]
    copied = copy.deepcopy(states[1])  # as a rehearsal copies a run
    start = {name: value.clone() for name, value in states[1].method.state_dict().items()}
    for seed in range(3):
        losses = [step(state, config, seed) for state, config in zip(states, (plain, again), strict=True)]
        assert torch.equal(losses[0][0], losses[1][0])
        assert torch.equal(losses[0][1], losses[1][1])
    wanted = states[0].method.state_dict()
    found = states[1].method.state_dict()
    assert list(found) == list(wanted)
    assert all(torch.equal(value, wanted[name]) for name, value in found.items()), "batch-norm statistics included"
    assert all(torch.equal(value, start[name]) for name, value in copied.method.state_dict().items())
    step(copied, again)
    assert all(torch.equal(value, wanted[name]) for name, value in states[1].method.state_dict().items())


def test_recomputing_keeps_the_inputs_of_blocks_alone() -> None:
    def held(config: PretrainConfig) -> int:
        state = build(config, 3, CPU)
        return kept(lambda: state.method.encoder(views()[0]).sum().backward(), state.method)

    assert held(replace(CONFIG, optim__activation_checkpointing=True)) < 0.5 * held(CONFIG)


def test_encoders_without_batch_norm_do_it_by_themselves() -> None:
    torch.manual_seed(0)
    encoder = make_encoder("convnext_atto")
    copied = copy.deepcopy(encoder)
    checkpoint_activations(encoder, "convnext_atto")
    x = torch.randn(2, 3, 32, 32)
    outputs = [one(x) for one in (encoder, copied)]
    for out in outputs:
        out.square().sum().backward()
    assert torch.equal(*outputs)
    for (name, one), two in zip(encoder.named_parameters(), copied.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, msg=name)
    assert kept(lambda: encoder(x).sum().backward(), encoder) < 0.8 * kept(lambda: copied(x).sum().backward(), copied)


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "vgg11"])
def test_encoders_that_cannot_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"not for '{name}'.*accumulate"):
        checkpoint_activations(make_encoder(name), name)
