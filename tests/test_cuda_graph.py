"""A captured step: the same updates, with what a graph leaves to its caller done. The graph itself needs a GPU."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from building import build, make_loader
from byol.config.encoder import EncoderSpec
from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.data.sources.open import TensorSource
from byol.errors import UserError, memory_is_full
from byol.methods.base import Progress
from byol.pretraining.train import TrainStep
from byol.runtime import cuda_graph
from byol.runtime.cuda_graph import WARMUP_CALLS, CapturedFunction, capture
from byol.runtime.seeds import generator_of
from captured_rates import check_rates

CPU = torch.device("cpu")
STEPS = 7
CONFIG = replace(
    PretrainConfig(
        encoder=EncoderSpec(name="resnet18"), image_size=8, batch_size=8, epochs=8, device="cpu", precision="float32"
    ),
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
    """A CUDA graph's stand-in: does nothing at the capture, then all of it, on the memory it was shown."""

    def __init__(self, function: Callable[[], Tensor]) -> None:
        self.replays = 0
        self.function, self.result = function, torch.full((), torch.nan)

    def replay(self) -> None:
        self.replays += 1
        with NothingReadBack():
            value = self.function()
        self.result.copy_(value)


class Graphs:
    """All that were captured: of the passes first, then of the optimizer's step."""

    def __init__(self) -> None:
        self.captured: list[Graph] = []

    def capture(self, function: Callable[[], Tensor], device: torch.device) -> tuple[Callable[[], None], Tensor]:
        assert device == CPU
        self.captured.append(Graph(function))
        return self.captured[-1].replay, self.captured[-1].result


Found = tuple[list[float], list[float], dict[str, Tensor]]


def trained(
    config: PretrainConfig,
    graphs: Graphs | None = None,
    *,
    rate: float = 1e-3,
    steps: int = STEPS,
    passes_only: bool = False,
) -> Found:
    """Losses and gradients' norms of some updates, and the weights and averages after them.

    Args:
        graphs: capture steps there.
        passes_only: leave the optimizer's step uncaptured.
    """
    images = torch.randint(0, 256, (64, 3, 12, 12), dtype=torch.uint8, generator=generator_of(2))
    source = TensorSource(images, [number % 4 for number in range(64)])
    state = build(config, 3, CPU, classes=4)
    train_step = TrainStep(state, config, graphs.capture if graphs else capture)
    if passes_only:
        train_step._optimizer_step = train_step.optimizer_step
    losses, gradients = [], []
    for step, batches in enumerate(make_loader(source, config, CPU, 1, decoded=images).batches(0, steps)):
        scheduled = dict.fromkeys(state.method.scheduled(Progress(0, 1)), 0.9 + 0.01 * step)
        loss, norm = train_step(batches, rate * (step + 1), scheduled)
        losses.append(loss.item())
        gradients.append(norm.item())
    return losses, gradients, state.method.state_dict()


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({"optim__name": "sgd"}, STEPS),
        ({"optim__accumulate": 2, "optim__name": "lars"}, STEPS),
        ({"optim__name": "lars", "method": "simclr"}, STEPS),
        ({"optim__name": "lars", "method": "supervised"}, STEPS),
        ({"optim__name": "lars", "method__target": "stop-gradient"}, STEPS),
        ({"optim__name": "sgd", "method__predictor_lr": 3.0}, STEPS),
        ({"optim__name": "lars", "optim__clip": 0.5}, STEPS),
        # AdamW's first updates are as large for a gradient of rounding as for any: one update, before it grows
        ({}, 1),
    ],
    ids=str,
)
def test_rates_in_tensors_give_the_plain_updates(
    changes: dict[str, Any], steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To rounding: with rates that are tensors, LARS and the target round once where numbers are fused into one
    operation, and SGD takes PyTorch's fused step."""
    config = replace(CONFIG, **changes)
    monkeypatch.setattr(cuda_graph, "WARMUP_CALLS", 10**6)  # as they come, with tensors for rates
    losses, gradients, weights = trained(replace(config, optim__cuda_graph=True), Graphs(), rate=1e-4, steps=steps)
    expected, norms, plain = trained(config, rate=1e-4, steps=steps)
    assert losses == pytest.approx(expected, rel=1e-4)
    assert gradients == pytest.approx(norms, rel=1e-2)  # a small batch norm makes much of rounding
    for name, value in plain.items():
        if not (config.optim.name == "adamw" and name.endswith(UNDETERMINED)):
            torch.testing.assert_close(weights[name], value, rtol=1e-4, atol=1e-5, msg=name)  # a rate is ten times that
    assert len(set(expected)) == steps, "the rates and the images change"


WAYS = pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optim__accumulate": 2},
        {"method": "simclr"},
        {"method": "supervised"},
        {"method__target": "stop-gradient"},
        {"optim__name": "sgd", "method__predictor_lr": 3.0},
        {"optim__name": "lars", "optim__clip": 0.5},
    ],
    ids=str,
)


@WAYS
def test_captured_updates_are_those_that_come_uncaptured_bit_for_bit(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, optim__cuda_graph=True, **changes)
    graphs = Graphs()
    losses, gradients, weights = trained(config, graphs)
    monkeypatch.setattr(cuda_graph, "WARMUP_CALLS", 10**6)
    expected, norms, plain = trained(config, Graphs())
    assert (losses, gradients) == (expected, norms)
    for name, value in plain.items():
        assert torch.equal(weights[name], value), name
    passes, move = graphs.captured
    assert passes.replays == STEPS * config.optim.accumulate - WARMUP_CALLS
    assert move.replays == STEPS - WARMUP_CALLS
    assert len(set(expected)) == STEPS, "the rates and the images change"


@WAYS
def test_captured_passes_are_the_plain_ones_bit_for_bit(changes: dict[str, Any]) -> None:
    config = replace(CONFIG, **changes)
    graphs = Graphs()
    if config.optim.name == "sgd":
        pytest.skip("SGD takes PyTorch's fused step for a CUDA graph, which rounds in another way")
    losses, gradients, weights = trained(replace(config, optim__cuda_graph=True), graphs, passes_only=True)
    expected, norms, plain = trained(config)
    assert (losses, gradients) == (expected, norms)
    for name, value in plain.items():
        assert torch.equal(weights[name], value), name
    (passes,) = graphs.captured
    assert passes.replays == STEPS * config.optim.accumulate - WARMUP_CALLS
    assert len(set(expected)) == STEPS, "the rates and the images change"


@pytest.mark.parametrize("name", ["lars", "sgd", "adamw"])
def test_captured_rates_are_those_of_each_call(name: str) -> None:
    check_rates(replace(CONFIG, optim__name=name, optim__cuda_graph=True), CPU, Graphs().capture)


def test_the_optimizer_may_be_captured() -> None:
    """Which AdamW refuses otherwise."""
    state = build(replace(CONFIG, optim__cuda_graph=True), 3, CPU)
    assert all(group["capturable"] and group["fused"] for group in state.optimizer.param_groups)


def test_gradients_stay_where_the_capture_found_them() -> None:
    config = replace(CONFIG, optim__cuda_graph=True)
    state = build(config, 3, CPU)
    images = torch.randint(0, 256, (64, 3, 12, 12), dtype=torch.uint8, generator=generator_of(2))
    train_step = TrainStep(state, config, Graphs().capture)
    places = []
    for step, batches in enumerate(make_loader(TensorSource(images), config, CPU, 1, decoded=images).batches(0, 6)):
        how = TrainStep(state, config, Graphs().capture) if step == 4 else train_step  # as another watcher may
        how(batches, 1e-3, {"tau": 0.9})
        places.append([p.grad.data_ptr() for p in state.method.encoder.parameters() if p.grad is not None])
        assert all(not p.grad.any() for p in state.method.encoder.parameters() if p.grad is not None)
    assert places[0]
    assert all(place == places[0] for place in places)


def test_another_shape_is_refused_rather_than_repeated() -> None:
    run = CapturedFunction(torch.sum, CPU, Graphs().capture)
    for _ in range(WARMUP_CALLS + 1):
        run(torch.ones(4, 2))
    with pytest.raises(AssertionError):
        run(torch.ones(1, 2))


@pytest.mark.parametrize("complains", [False, True], ids=["ended", "ended with an error"])
def test_what_cannot_be_captured_is_said_in_a_sentence(complains: bool, monkeypatch: pytest.MonkeyPatch) -> None:
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

    with pytest.raises(UserError, match=r"^optim.cuda_graph cannot capture this run \(not permitted\); leave it out.$"):
        capture(fails("not permitted\nwhen a stream is capturing"), CPU)
    with pytest.raises(RuntimeError, match="a previous error" if complains else "out of memory") as full:
        capture(fails("CUDA error: out of memory"), CPU)
    assert memory_is_full(full.value)
