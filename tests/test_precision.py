"""The precision that a processor trains an encoder faster in."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import byol.pretraining.precision as timing
from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.data.sources.open import TensorSource
from byol.data.survey import survey
from byol.pretraining.planner import Planner
from byol.recipes.facts import Facts
from byol.recipes.presets import recipe_named
from byol.runtime import device as machine

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _asked_anew() -> None:
    """A process remembers what it has timed."""
    timing._timed.cache_clear()


def config(**changes: Any) -> PretrainConfig:
    small = {"encoder": "resnet10", "encoder__width": 0.25, "image_size": 16, "batch_size": 16}
    return replace(PretrainConfig(), **{**small, **changes})


@pytest.mark.parametrize(
    ("bf16", "float32", "chosen"),
    [(0.05, 0.1, "bf16"), (0.2, 0.1, "float32"), (0.105, 0.1, "bf16"), (0.1, 0.1, "bf16"), (0.112, 0.1, "float32")],
)
def test_the_faster_one_is_taken_and_both_figures_are_said(
    bf16: float, float32: float, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def seconds(encoder: nn.Module, images: Tensor, in_bf16: bool) -> float:
        seen.append(len(images))
        return bf16 if in_bf16 else float32

    monkeypatch.setattr(timing, "_update_seconds", seconds)
    found, why = timing.faster_precision(config(), CPU)
    assert found == chosen
    assert f"{1000 * bf16:g} ms in bf16 and {1000 * float32:g} ms in float32" in why
    assert f"with {seen[-1]} images" in why
    assert seen[:2] == [4, 4]
    assert len(seen[4:]) >= 4, "two updates of each"


def test_slow_encoders_are_timed_with_few_images_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(timing, "_update_seconds", lambda encoder, images, bf16: seen.append(len(images)) or 5.0)
    timing.faster_precision(config(batch_size=64), CPU)
    assert seen == [4, 4]


def test_timing_draws_no_number_of_the_run() -> None:
    before = torch.get_rng_state()
    _, why = timing.faster_precision(config(), CPU)
    assert torch.equal(torch.get_rng_state(), before)
    assert "with 16 images" in why, "as many as a batch has, if they are fast"


@pytest.mark.parametrize(
    ("asked", "features", "taken", "timed"),
    [
        ("auto", {"avx512_bf16"}, "float32", True),
        ("auto", {"avx2"}, "float32", False),
        ("bf16", {"avx512_bf16"}, "bf16", False),
        ("float32", {"avx512_bf16"}, "float32", False),
    ],
)
def test_a_run_times_only_where_there_is_a_choice(
    asked: str, features: set[str], taken: str, timed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(machine, "cpu_features", lambda: frozenset(features))
    monkeypatch.setattr(timing, "_update_seconds", lambda *_: calls.append(1) or (0.2 if _[2] else 0.1))
    images = TensorSource(torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8))
    settings = {"precision": asked, "epochs": 1}
    planner = Planner(recipe_named("auto"), Facts(survey=survey(images), settings=settings), {"device": "cpu"})
    planner, _ = planner.with_precision(config(), CPU)
    assert planner.config(planner.plan()).precision == taken
    assert bool(calls) == timed
