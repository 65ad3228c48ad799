"""Rows without predictor and without negatives collapse (Tables 5b and 19), and the verdict says so."""

from pathlib import Path
from typing import Any

import pytest
import torch

import byol
from byol.data.sources.open import Source, TensorSource, open_source
from byol.pretraining.verdict import COLLAPSED_SPREAD
from byol.recipes.small import small_views
from byol.runtime.metrics import read_metrics
from conftest import TINY

SHORT: dict[str, Any] = {
    **TINY,
    "batch_size": 64,
    "epochs": 5,
    "optim__name": "sgd",
    "optim__lr": 1.0,
    "optim__weight_decay": 1e-4,
    "method__tau": 0.99,
    "augment": small_views(),
    "logging__health_every": 20,
}
"""160 updates on 2048 patches."""

NOTHING_HOLDS: dict[str, dict[str, Any]] = {
    "byol": {"method__predictor_depth": 0},
    "byol, stop-gradient": {"method__predictor_depth": 0, "method__target": "stop-gradient"},
    "infonce": {
        "method": "infonce",
        "method__beta": 0.0,
        "method__predictor_depth": 0,
        "method__target": "stop-gradient",
    },
}
SOMETHING_HOLDS: dict[str, dict[str, Any]] = {
    "byol": {},
    "negatives": {**NOTHING_HOLDS["infonce"], "method__beta": 1.0},
}


NARROW = {"encoder": "resnet10", "encoder__width": 0.25, "image_size": 32}


@pytest.fixture(scope="module")
def patches() -> Source:
    """Patches of the embedded photographs, without labels."""
    source = open_source("photos:train")
    return TensorSource(torch.stack([source.image(index) for index in range(2048)]))


def spread(folder: Path) -> float:
    return [line["health/spread"] for line in read_metrics(folder / "metrics.jsonl") if "health/spread" in line][-1]


@pytest.mark.parametrize("changes", NOTHING_HOLDS.values(), ids=NOTHING_HOLDS)
def test_nothing_holds_the_projections_apart(changes: dict[str, Any], patches: Source, tmp_path: Path) -> None:
    outcome = byol.pretrain(patches, recipe="cifar10-cpu", out=tmp_path / "run", quiet=True, **SHORT, **changes)
    assert outcome.verdict is not None
    assert outcome.verdict.word == "collapsed"
    assert outcome.verdict.failed
    assert spread(tmp_path / "run") < COLLAPSED_SPREAD


@pytest.mark.parametrize("changes", SOMETHING_HOLDS.values(), ids=SOMETHING_HOLDS)
def test_a_predictor_or_negatives_hold_them(changes: dict[str, Any], patches: Source, tmp_path: Path) -> None:
    settings = {**SHORT, "epochs": 3, **changes}
    outcome = byol.pretrain(patches, recipe="cifar10-cpu", out=tmp_path / "run", quiet=True, **settings)
    assert outcome.verdict is not None
    assert not outcome.verdict.failed, outcome.verdict
    assert spread(tmp_path / "run") > 3 * COLLAPSED_SPREAD


@pytest.mark.parametrize("seed", [0])
@pytest.mark.parametrize(
    "settings", [{"epochs": 0.02}, {"epochs": 2, "optim__lr": 1e-9}], ids=["one update", "no rate"]
)
def test_what_has_not_learned_is_not_said_to_have(
    settings: dict[str, Any], seed: int, patches: Source, tmp_path: Path
) -> None:
    outcome = byol.pretrain(patches, out=tmp_path / "run", quiet=True, seed=seed, **NARROW, **settings)
    assert outcome.verdict is not None
    assert outcome.verdict.word in ("did not learn", "cannot tell")
    assert not outcome.verdict.failed


def test_a_collapse_that_labels_do_not_show_is_no_success(tmp_path: Path) -> None:
    """Without a predictor the features of the photographs' patches still gain while the projections collapse."""
    out = tmp_path / "run"
    settings = {**NARROW, "epochs": 1.5, "method__predictor_depth": 0, "logging__stop_on_collapse": False}
    outcome = byol.pretrain("photos:train", out=out, quiet=True, **settings)
    assert outcome.verdict is not None
    assert outcome.verdict.word in ("collapsing", "collapsed")
    assert outcome.verdict.failed, "exit code 3, though it was seen at the end"
    assert "worth it" not in (out / "log.txt").read_text()
    assert "points" in outcome.verdict.sentence
