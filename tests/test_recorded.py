"""A recorded step: the same updates, with what a graph leaves to its caller seen to. The graph itself needs a GPU."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from building import build
from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.data.loader import Loader
from byol.data.sources.open import TensorSource
from byol.errors import UserError, memory_is_full
from byol.pretraining.train import train_step
from byol.runtime.cuda_graph import DIRECT, WARMUP_CALLS, Halves, Recorded, capture
from byol.runtime.seeds import generator_of
from recorded_rates import check_rates

CPU = torch.device("cpu")
STEPS = 7
CONFIG = replace(
    PretrainConfig(encoder="resnet18", image_size=8, batch_size=8, epochs=8, device="cpu", precision="float32"),
    encoder__width=0.125,
    encoder__stem="small",
    method__hidden=16,
    method__output=8,
    optim__name="adamw",
)


UNDETERMINED = tuple(f"{head}.{name}" for head in ("projector", "predictor") for name in ("0.bias", "1.running_mean"))
"""A bias before batch norm has rounding for a gradient, which AdamW makes as large as any; the mean follows it."""


class NothingReadBack(TorchDispatchMode):
    """No tensor is read back to Python, which a GPU would have to be waited for."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func is not torch.ops.aten._local_scalar_dense.default, "a tensor is read back"
        return func(*args, **(kwargs or {}))


class Graph:
    """A CUDA graph's stand-in: does nothing at the recording, then all of it, on the memory it was shown."""

    def __init__(self) -> None:
        self.recordings = 0
        self.replays = 0

    def capture(self, act: Callable[[], Tensor], device: torch.device) -> tuple[Callable[[], None], Tensor]:
        assert device == CPU
        self.recordings += 1
        result = torch.full((), torch.nan)

        def replay() -> None:
            self.replays += 1
            with NothingReadBack():
                value = act()
            result.copy_(value)

        return replay, result


def halves(passes: Graph, move: Graph) -> Halves:
    return Halves(Recorded(CPU, passes.capture), Recorded(CPU, move.capture))


def trained(
    run: Halves, config: PretrainConfig, rate: float = 1e-3
) -> tuple[list[float], list[float], dict[str, Tensor]]:
    """Losses and gradients' norms of some updates, and the weights and averages after them."""
    images = torch.randint(0, 256, (64, 3, 12, 12), dtype=torch.uint8, generator=generator_of(2))
    source = TensorSource(images, [number % 4 for number in range(64)])
    state = build(config, 3, CPU, classes=4)
    losses, gradients = [], []
    for step, batches in enumerate(Loader(source, config, CPU, 1, held=images).batches(0, STEPS)):
        lr, tau = rate * (step + 1), 0.9 + 0.01 * step
        loss, norm = train_step(state, state.method, batches, config, lr, tau, nullcontext(), run)
        losses.append(loss.item())
        gradients.append(norm.item())
    return losses, gradients, state.method.state_dict()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optim__accumulate": 2, "optim__name": "lars"},
        {"method": "simclr"},
        {"method": "supervised"},
        {"method__target": "stop-gradient"},
        {"optim__name": "sgd", "method__predictor_lr": 3.0},
        {"optim__name": "lars", "optim__clip": 0.5},
    ],
    ids=str,
)
def test_recorded_updates_are_the_plain_ones(changes: dict[str, Any]) -> None:
    """To rounding: with rates that are tensors, LARS and the target round once where numbers are fused into one
    operation, and SGD takes PyTorch's fused step."""
    config = replace(CONFIG, **changes)
    passes, move = Graph(), Graph()
    losses, gradients, weights = trained(halves(passes, move), replace(config, optim__cuda_graph=True), rate=1e-4)
    expected, norms, plain = trained(DIRECT, config, rate=1e-4)
    assert losses == pytest.approx(expected, rel=1e-4)
    assert gradients == pytest.approx(norms, rel=1e-2)  # a small batch norm makes much of rounding
    for name, value in plain.items():
        if not (config.optim.name == "adamw" and name.endswith(UNDETERMINED)):
            torch.testing.assert_close(weights[name], value, rtol=1e-4, atol=1e-5, msg=name)  # a rate is ten times that
    assert (passes.recordings, passes.replays) == (1, STEPS * config.optim.accumulate - WARMUP_CALLS)
    assert (move.recordings, move.replays) == (1, STEPS - WARMUP_CALLS)
    assert len(set(expected)) == STEPS, "the rates and the images change"


@pytest.mark.parametrize(
    "changes",
    [{}, {"optim__accumulate": 2}, {"method": "simclr"}, {"method": "supervised"}, {"method__target": "stop-gradient"}],
    ids=str,
)
def test_recorded_passes_are_the_plain_ones_bit_for_bit(changes: dict[str, Any]) -> None:
    config = replace(CONFIG, **changes)
    graph = Graph()
    run = Halves(passes=Recorded(CPU, graph.capture))
    losses, gradients, weights = trained(run, replace(config, optim__cuda_graph=True))
    expected, norms, plain = trained(DIRECT, config)
    assert (losses, gradients) == (expected, norms)
    for name, value in plain.items():
        assert torch.equal(weights[name], value), name
    calls = STEPS * config.optim.accumulate
    assert (graph.recordings, graph.replays) == (1, calls - WARMUP_CALLS)
    assert len(set(expected)) == STEPS, "the rates and the images change"


@pytest.mark.parametrize("name", ["lars", "sgd", "adamw"])
def test_recorded_rates_are_those_of_each_call(name: str) -> None:
    config = replace(CONFIG, optim__name=name, optim__cuda_graph=True)
    check_rates(config, CPU, halves(Graph(), Graph()))


def test_the_optimizer_may_be_recorded() -> None:
    """Which AdamW refuses otherwise."""
    state = build(replace(CONFIG, optim__cuda_graph=True), 3, CPU)
    assert all(group["capturable"] and group["fused"] for group in state.optimizer.param_groups)


def test_gradients_stay_where_the_recording_found_them() -> None:
    config = replace(CONFIG, optim__cuda_graph=True)
    state = build(config, 3, CPU)
    images = torch.randint(0, 256, (64, 3, 12, 12), dtype=torch.uint8, generator=generator_of(2))
    run = halves(Graph(), Graph())
    places = []
    for step, batches in enumerate(Loader(TensorSource(images), config, CPU, 1, held=images).batches(0, 6)):
        how = DIRECT if step == 4 else run  # as a profile does between two measurements
        train_step(state, state.method, batches, config, 1e-3, 0.9, nullcontext(), how)
        places.append([p.grad.data_ptr() for p in state.method.encoder.parameters() if p.grad is not None])
        assert all(not p.grad.any() for p in state.method.encoder.parameters() if p.grad is not None)
    assert places[0]
    assert all(place == places[0] for place in places)


def test_another_shape_is_refused_rather_than_repeated() -> None:
    run = Recorded(CPU, Graph().capture)
    for _ in range(WARMUP_CALLS + 1):
        run(torch.sum, torch.ones(4, 2))
    with pytest.raises(AssertionError):
        run(torch.sum, torch.ones(1, 2))


@pytest.mark.parametrize("complains", [False, True], ids=["ended", "ended with an error"])
def test_what_cannot_be_recorded_is_said_in_a_sentence(complains: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def recording(graph: object, *, stream: object, capture_error_mode: str) -> Iterator[None]:
        assert capture_error_mode == "thread_local"
        try:
            yield
        except RuntimeError:
            if complains:
                raise RuntimeError("a previous error")  # noqa: B904, as PyTorch does where it ends a broken one
            raise

    for name in ("device", "current_stream", "stream", "Stream"):
        monkeypatch.setattr(torch.cuda, name, nullcontext)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", recording)

    def fails(words: str) -> Callable[[], Tensor]:
        def act() -> Tensor:
            raise RuntimeError(words)

        return act

    with pytest.raises(UserError, match=r"^optim.cuda_graph cannot record this run \(not permitted\); leave it out.$"):
        capture(fails("not permitted\nwhen a stream is capturing"), CPU)
    with pytest.raises(RuntimeError, match="a previous error" if complains else "out of memory") as full:
        capture(fails("CUDA error: out of memory"), CPU)
    assert memory_is_full(full.value)
