"""What needs a GPU: the same numbers as on the CPU, no waiting inside a step, bf16 near float32."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from building import build, make_loader, step_once
from byol.augment.draw import draw_view
from byol.augment.fused import fused_views
from byol.augment.views import make_views
from byol.config.encoder import EncoderSpec
from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.config.views import IMAGENET_MEAN, IMAGENET_STD, AugmentConfig, Normalization
from byol.data.sources.open import TensorSource
from byol.data.upload import Upload
from byol.methods.base import Progress
from byol.methods.byol import distance
from byol.pretraining.train import TrainStep
from byol.runtime.cuda_graph import CapturedFunction
from byol.runtime.seeds import generator_of
from captured_rates import check_rates
from golden_names import load

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

CPU, GPU = torch.device("cpu"), torch.device("cuda")
NORMALIZATION = Normalization(IMAGENET_MEAN, IMAGENET_STD)
CONFIG = replace(
    PretrainConfig(encoder=EncoderSpec(name="resnet18"), image_size=32, batch_size=64, epochs=10),
    encoder__stem="small",
    encoder__width=0.5,
    method__hidden=256,
    method__output=64,
    optim__name="sgd",
)


@pytest.fixture(autouse=True)
def _exact() -> Any:
    """Full float32 in matrix products, to compare with the CPU."""
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn


@pytest.mark.parametrize("case", [str(name) for name in load("loss")["case_names"]])
def test_golden_loss_rows(case: str) -> None:
    arrays = load("loss")
    x, y = (torch.from_numpy(arrays[f"{case}/{key}"]).to(GPU) for key in "xy")
    expected = torch.from_numpy(arrays[f"{case}/loss_rows"])
    torch.testing.assert_close(distance(x, y).cpu(), expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("view", ["view1", "view2"])
@pytest.mark.parametrize("size", [32, 96, 224])
def test_views_equal_the_cpus(view: str, size: int) -> None:
    augment = AugmentConfig()
    config = getattr(augment, view)
    images = torch.randint(0, 256, (16, 3, size, size + 8), dtype=torch.uint8, generator=generator_of(0))
    params = draw_view(config, 16, partial(generator_of, 1))
    for sizes in ([size], None):
        (here,) = make_views([images], [params], NORMALIZATION, sizes)
        (there,) = make_views([images.to(GPU)], [params], NORMALIZATION, sizes)
        there = there.cpu()
        wrong = (here - there).abs() > 1e-4
        # a value at the threshold of solarizing may fall on either side
        assert wrong.float().mean() < 1e-4


def batches(device: torch.device, steps: int, config: PretrainConfig = CONFIG) -> Any:
    images = torch.randint(0, 256, (512, 3, 36, 36), dtype=torch.uint8, generator=generator_of(2))
    source = TensorSource(images, [number % 4 for number in range(512)])
    return make_loader(source, config, device, 2, decoded=images).batches(0, steps)


SLEEP = 200_000_000
"""Cycles of a GPU that does nothing, a tenth of a second."""


def test_what_is_uploaded_is_not_overwritten_while_it_is_read() -> None:
    upload = Upload(GPU)
    values = [torch.full((1_000_000,), number, dtype=torch.uint8) for number in range(8)]
    torch.cuda._sleep(SLEEP)  # training is behind
    copies = [upload(value).clone() for value in values]  # each upload is given away at once
    assert all(torch.equal(copy.cpu(), value) for copy, value in zip(copies, values, strict=True))


def test_training_waits_for_what_is_uploaded() -> None:
    upload = Upload(GPU)
    assert upload.stream is not None
    value = torch.arange(1_000_000)
    with torch.cuda.stream(upload.stream):
        torch.cuda._sleep(SLEEP)
    assert torch.equal(upload(value).clone().cpu(), value)


def losses(device: torch.device, steps: int, config: PretrainConfig = CONFIG) -> list[float]:
    train_step = TrainStep(build(config, 3, device, classes=4), config)
    found: list[Tensor] = []
    for batch in batches(device, steps, config):
        loss, _ = train_step(batch, 0.02, scheduled(train_step, 0.99))
        found.append(loss)
    return torch.stack(found).tolist()


def scheduled(train_step: TrainStep, value: float) -> dict[str, float]:
    """A value for each hyperparameter that the method schedules."""
    return dict.fromkeys(train_step.state.method.scheduled(Progress(0, 1)), value)


def test_first_losses_equal_the_cpus() -> None:
    here, there = losses(CPU, 3), losses(GPU, 3)
    assert there[0] == pytest.approx(here[0], rel=1e-4)
    assert there == pytest.approx(here, rel=5e-3)


def test_recomputing_gives_the_same_losses() -> None:
    again = replace(CONFIG, optim__activation_checkpointing=True)
    assert losses(GPU, 5, config=again) == pytest.approx(losses(GPU, 5), rel=1e-4)


@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_compiled_networks_give_the_same_losses() -> None:
    assert losses(GPU, 5, config=replace(CONFIG, optim__compile=True)) == pytest.approx(losses(GPU, 5), rel=1e-3)


@pytest.mark.filterwarnings("ignore")  # the compiler's own
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_captured_steps_give_the_same_losses(compiled: bool, accumulate: int) -> None:
    for precision, within in (("float32", 1e-3), ("bf16", 1e-2)):
        plain = replace(CONFIG, optim__accumulate=accumulate, precision=precision)
        captured = replace(plain, optim__cuda_graph=True, optim__compile=compiled)
        expected = losses(GPU, 12, plain)
        assert losses(GPU, 12, captured) == pytest.approx(expected, rel=within)
    assert len(set(expected)) == 12


@pytest.mark.parametrize("name", ["lars", "sgd", "adamw"])
def test_captured_rates_are_those_of_each_step(name: str) -> None:
    config = replace(CONFIG, optim__name=name, optim__cuda_graph=True, optim__clip=1.0)
    check_rates(config, GPU)


def test_a_captured_function_draws_anew_at_every_step() -> None:
    """As encoders that drop things at random must: the seed of a step reaches what is replayed."""

    def drop(x: Tensor) -> Tensor:
        return torch.nn.functional.dropout(x, 0.5, True).sum()

    captured, found = CapturedFunction(drop, GPU), []
    images = torch.rand(1000, generator=generator_of(3)).to(GPU)
    for step in (0, 0, 0, 1, 2, 1, 2):
        torch.manual_seed(step)
        found.append(float(captured(images)))
    assert found[3:5] == found[5:7]
    assert found[3] != found[4]


def test_a_step_takes_less_memory_than_both_directions_at_once() -> None:
    state = build(CONFIG, 3, GPU)
    (batch,) = next(batches(GPU, 1))
    ready = batch.augmented()

    def peak(act: Callable[[], object]) -> int:
        act()
        state.optimizer.zero_grad()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        act()
        return torch.cuda.max_memory_allocated() - before

    step = peak(lambda: step_once(state, [ready], CONFIG, 0.0, 1.0))
    assert step < 0.75 * peak(lambda: state.method(*ready.views).backward())


def test_bf16_follows_float32() -> None:
    full = losses(GPU, 50)
    half = losses(GPU, 50, replace(CONFIG, precision="bf16"))
    assert half[0] == pytest.approx(full[0], rel=2e-2)
    mean = [sum(values[i : i + 10]) / 10 for values in (full, half) for i in range(0, 50, 10)]
    assert mean[5:] == pytest.approx(mean[:5], rel=0.1)
    assert mean[4] < mean[0]


WAYS: dict[str, dict[str, Any]] = {
    "lars": {"optim__name": "lars"},
    "sgd": {"optim__name": "sgd"},
    "adamw": {"optim__name": "adamw", "method__predictor_lr": 2.0},
    "batch": {"method__normalization": "batch", "method__target": "stop-gradient"},
    "infonce": {"method": "infonce", "method__target": "online"},
    "simclr": {"method": "simclr"},
    "moco": {"method": "moco", "method__queue": 512},
    "supervised": {"method": "supervised"},
}


@pytest.mark.parametrize("way", [way for way in WAYS if way != "moco"])
def test_every_method_is_captured(way: str) -> None:
    config = replace(CONFIG, optim__clip=1.0, **WAYS[way])
    expected = losses(GPU, 6, config=config)
    assert losses(GPU, 6, config=replace(config, optim__cuda_graph=True)) == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize("way", WAYS)
def test_no_step_waits_for_the_device(way: str) -> None:
    config = replace(CONFIG, optim__clip=1.0, **WAYS[way])
    config = replace(config, precision="bf16")
    train_step = TrainStep(build(config, 3, GPU, classes=4), config)
    feed, values = batches(GPU, 6, config), scheduled(train_step, 0.99)
    for _ in range(2):  # libraries set themselves up
        train_step(next(feed), 0.02, values)
    torch.cuda.synchronize()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the mode is new, said once
            torch.cuda.set_sync_debug_mode("error")
        for _ in range(4):
            train_step(next(feed), 0.02, values)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.filterwarnings("ignore")  # the compiler's own
@pytest.mark.parametrize("size", [32, 96])
def test_fused_views_equal_the_cpus(size: int) -> None:
    """With a blur of three taps, and of nine, which is a product there."""
    augment = replace(CONFIG.augment, view2__solarize=0.0)  # at its threshold a value may fall on either side
    images = torch.randint(0, 256, (16, 3, size, size + 8), dtype=torch.uint8, generator=generator_of(0))
    params = [draw_view(view, 16, partial(generator_of, n)) for n, view in enumerate((augment.view1, augment.view2))]
    sizes = [size, size]
    there = fused_views((images.to(GPU), images.to(GPU)), params, NORMALIZATION, sizes)
    for one, other in zip(there, make_views((images, images), params, NORMALIZATION, sizes), strict=True):
        torch.testing.assert_close(one.cpu(), other, atol=1e-4, rtol=0)
