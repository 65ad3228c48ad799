"""The limit: operations and bytes against hand counts; the roofline; scaling on paper."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from byol.bench.ceilings import Ceilings, measure_ceilings
from byol.bench.dry_run import batch_on_meta, build_on_meta, dry_step
from byol.bench.limits import Arithmetic, Limit, Work, count, limit_of, moments
from byol.config.optim import OptimConfig
from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.data.batch import Batch
from byol.encoders.build import parameter_count
from byol.errors import UserError
from byol.methods.base import TrainingSet
from byol.methods.byol import BYOL
from byol.methods.heads import MLP

N, C, S = 6, 3, 5
"""Images, channels and side of the tiny views."""
K = 4
"""Channels of the only convolution, 3x3 with padding and bias."""
HIDDEN, OUT = 7, 2


class Tiny(nn.Module):
    """One convolution and a mean over the pixels."""

    num_features = K

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(C, K, 3, padding=1)
        self.norm = nn.BatchNorm2d(K)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x)).relu().mean((2, 3))


def tiny() -> BYOL:
    return BYOL(Tiny(), MLP(K, HIDDEN, OUT), MLP(OUT, HIDDEN, OUT))


def counted(images: int, precision: str, kept: int, micro_batches: int = 1) -> Limit:
    """The limit of the tiny network's update."""
    method, views = tiny(), torch.rand(2, images, C, S, S)
    step = dry_step(method, Batch(tuple(views)))
    return count(method, step, images, Arithmetic(precision, kept, micro_batches))


def on_paper(precision: str = "bf16", **settings: Any) -> PretrainConfig:
    return replace(PretrainConfig(), precision=precision, **settings)


MANY = TrainingSet(images=1 << 20, labels=[0, 1, 2])


CONV = 2 * N * S * S * K * C * 9
PROJECTOR = 2 * N * (K * HIDDEN + HIDDEN * OUT)
PREDICTOR = 2 * N * (OUT * HIDDEN + HIDDEN * OUT)
TARGET_WEIGHTS = (C * K * 9 + K) + 2 * K + (K * HIDDEN + HIDDEN) + 2 * HIDDEN + HIDDEN * OUT
WEIGHTS = TARGET_WEIGHTS + (OUT * HIDDEN + HIDDEN) + 2 * HIDDEN + HIDDEN * OUT
VIEW = N * C * S * S
TARGET_OUTPUTS = N * S * S * K + N * (HIDDEN + OUT)
OUTPUTS = TARGET_OUTPUTS + N * (HIDDEN + OUT)


@pytest.mark.parametrize(("precision", "b", "copy"), [("bf16", 2, 2), ("float32", 4, 0)])
@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_tiny_net_is_counted_as_by_hand(precision: str, b: int, copy: int, kept: int) -> None:
    limit = counted(N, precision, kept)
    assert limit.parts == {
        "online forward": Work(2 * (CONV + PROJECTOR + PREDICTOR), 2 * b * (WEIGHTS + VIEW + 2 * OUTPUTS)),
        "target forward": Work(2 * (CONV + PROJECTOR), 2 * b * (TARGET_WEIGHTS + VIEW + 2 * TARGET_OUTPUTS)),
        # of each product the gradients of both factors, but of the first convolution only those of its weights
        "backward": Work(
            2 * (CONV + 2 * PROJECTOR + 2 * PREDICTOR), 2 * b * (WEIGHTS + VIEW + 3 * OUTPUTS) + 4 * WEIGHTS
        ),
        "optimizer": Work(0, WEIGHTS * (4 * (3 + 2 * kept) + copy)),
        "target update": Work(0, TARGET_WEIGHTS * (8 + copy)),
    }
    assert limit.total.flops == sum(work.flops for work in limit.parts.values())
    assert limit.images == N


def test_micro_batches_read_the_weights_again_and_nothing_else() -> None:
    whole, parts = counted(N, "float32", 1), counted(N // 3, "float32", 1, micro_batches=3)
    assert parts.images == N
    assert parts.total.flops == whole.total.flops
    again = 2 * 4 * (2 * WEIGHTS + 2 * WEIGHTS + 2 * TARGET_WEIGHTS)  # twice more, in two views' passes each
    assert parts.total.bytes - whole.total.bytes == again


def test_parts_add_up_to_a_whole_update_of_the_method() -> None:
    """An independent count: the operations of the method's own forward and backward pass, all at once."""
    config = on_paper(encoder="resnet18", image_size=32, batch_size=8)
    method = build_on_meta(config, MANY)
    view = torch.empty(8, 3, 32, 32, device="meta")
    with FlopCounterMode(display=False) as counter:
        method(view, view).backward()
    assert limit_of(config, MANY).total.flops == counter.get_total_flops()


def test_resnet50_takes_the_operations_that_everybody_counts() -> None:
    """4.1 G multiply-adds for an image of 224 pixels (He et al., arXiv:1512.03385, Table 1: 3.8 without the strides
    that timm and torchvision have in the 3x3 convolutions, 4.09 with them)."""
    config = on_paper("float32", batch_size=2)
    limit = limit_of(config, MANY)
    heads = 2 * (2048 * 4096 + 4096 * 256)
    forward = limit.parts["target forward"].flops / (2 * 2) - heads
    assert forward / 2 == pytest.approx(4.09e9, rel=0.01)
    weights = parameter_count(build_on_meta(config, MANY))
    assert weights == pytest.approx(23.5e6 + 9.4e6 + 2.1e6, rel=0.01)


def test_counting_takes_no_memory_and_leaves_the_random_state() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    method = build_on_meta(on_paper(encoder__width=4.0), MANY)
    assert all(p.device.type == "meta" for p in method.parameters())
    assert torch.equal(before, torch.get_rng_state())


def test_attention_is_counted_too() -> None:
    """A vision transformer's products, those within its attention among them."""
    config = on_paper(encoder="vit_tiny_patch16_224", batch_size=2)
    forward = limit_of(config, MANY).parts["target forward"].flops / (2 * 2)
    tokens, width = 197, 192
    block = 12 * width**2 * tokens + 2 * tokens**2 * width
    patches = 196 * 3 * 16 * 16 * width
    heads = width * 4096 + 4096 * 256
    assert forward == 2 * (12 * block + patches + heads)


def test_the_recorded_limits_of_byol_are_counted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Operations and bytes of every part, as they were counted from BYOL's networks one by one."""
    benchmarks = Path(__file__).parent.parent / "benchmarks"
    monkeypatch.syspath_prepend(str(benchmarks))
    from workloads import WORKLOADS  # type: ignore[import-not-found]

    rows = json.loads((benchmarks / "results" / "limits.json").read_text())["rows"]
    recorded = {row["group"]: row["config"]["parts"] for row in rows if row["name"] == "an update needs"}
    assert set(recorded) == set(WORKLOADS)
    for name, parts in recorded.items():
        limit = limit_of(replace(WORKLOADS[name].config, precision="bf16"), MANY)
        assert {part: {"flops": work.flops, "bytes": work.bytes} for part, work in limit.parts.items()} == parts


HEADS = {"method__hidden": HIDDEN, "method__output": OUT}
SMALL: dict[str, Any] = {"encoder": "resnet18", "encoder__width": 0.25, "image_size": 32, "batch_size": 8}


def pass_of(name: str) -> tuple[int, int]:
    """Operations and weights of a pass of the small encoder and a projector of the method."""
    method = build_on_meta(on_paper(**SMALL, **({} if name == "supervised" else HEADS), method=name), MANY)
    step = dry_step(method, batch_on_meta(on_paper(**SMALL, method=name)))
    passes = [p for p in step.passes if p.learns][:2]
    return sum(p.flops for p in passes), sum(p.weights for p in passes)


def test_simclr_has_no_target_and_multiplies_views_with_views() -> None:
    config = on_paper(**SMALL, **HEADS, method="simclr")
    limit = limit_of(config, MANY)
    flops, weights = pass_of("simclr")
    similarities = 2 * 16 * 16 * OUT
    assert limit.parts["online forward"].flops == 2 * flops + similarities
    assert limit.parts["target forward"] == limit.parts["target update"] == Work(0, 0)
    assert limit.parts["optimizer"] == Work(0, weights * (4 * (3 + 2) + 2))


def test_moco_passes_each_view_through_one_network() -> None:
    """Queries learn, keys do not; with `shuffle` each of the 2 parts of a batch reads the weights again."""
    settings = {**SMALL, **HEADS, "method": "moco", "method__queue": 64}
    whole = limit_of(on_paper(**settings, method__shuffle=False), MANY)
    online, target = whole.parts["online forward"], whole.parts["target forward"]
    queue = 2 * 8 * OUT * 64
    assert online.flops - queue == target.flops > 0
    assert online.bytes == target.bytes
    split = limit_of(on_paper(**settings, method__splits=2), MANY)
    weights = parameter_count(build_on_meta(on_paper(**settings), MANY))
    for part in ("online forward", "target forward"):
        assert split.parts[part].flops == whole.parts[part].flops
        assert split.parts[part].bytes - whole.parts[part].bytes == 2 * weights, "in bf16"
    assert split.parts["target update"] == Work(0, weights * (8 + 2))


def test_labels_are_counted_with() -> None:
    limit = limit_of(on_paper(**SMALL, method="supervised"), MANY)
    features = 128
    flops, weights = pass_of("supervised")  # the encoder and the classifier of three classes
    assert limit.parts["online forward"].flops == 2 * flops
    assert limit.parts["optimizer"].bytes == weights * (4 * (3 + 2) + 2)
    assert weights == parameter_count(build_on_meta(on_paper(**SMALL, method="supervised"), MANY)) > 3 * features


def test_a_method_that_needs_values_cannot_be_counted() -> None:
    class Clipped(BYOL):
        def terms(self, batch: Batch) -> Any:
            assert batch.views[0].max().item() < 1
            return super().terms(batch)

    with torch.device("meta"):
        method = Clipped(Tiny(), MLP(K, HIDDEN, OUT), MLP(OUT, HIDDEN, OUT))
    batch = batch_on_meta(on_paper(image_size=8, batch_size=4))
    with pytest.raises(UserError, match=r"^The limit of the method Clipped cannot be counted, .* another --method\.$"):
        dry_step(method, batch)


def test_moments() -> None:
    assert moments(OptimConfig(name="adamw")) == 2
    assert moments(OptimConfig(name="lars")) == 1
    assert moments(OptimConfig(name="sgd")) == 1
    assert moments(OptimConfig(name="sgd", momentum=0.0)) == 0


def test_the_roofline() -> None:
    limit = Limit({"a": Work(flops=600, bytes=10), "b": Work(flops=0, bytes=40)}, images=30, precision="bf16")
    fast_memory = Ceilings(bf16=100.0, float32=50.0, bandwidth=1000.0)
    assert limit.seconds(fast_memory) == 6.0
    assert limit.images_per_second(fast_memory) == 5.0
    assert not limit.bound_by_memory(fast_memory)
    slow_memory = Ceilings(bf16=100.0, float32=50.0, bandwidth=5.0)
    assert limit.seconds(slow_memory) == 10.0
    assert limit.bound_by_memory(slow_memory)
    in_float32 = Limit(limit.parts, limit.images, "float32")
    assert in_float32.seconds(fast_memory) == 12.0


def test_ceilings_are_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that gives every piece of work an eighth of a second."""
    ticks = iter(range(10**6))
    monkeypatch.setattr("byol.bench.ceilings.time.perf_counter", lambda: next(ticks) / 8)
    found = measure_ceilings(torch.device("cpu"), seconds=3.0, tiny=True)
    assert found.bf16 == found.float32 == 2 * 64**3 * 8
    assert found.bandwidth == 2 * (1 << 20) * 8
    assert found.peak("bf16") == found.bf16
