"""Rows without predictor and without negatives collapse (Tables 5b and 19), and the verdict says so."""

from pathlib import Path
from typing import Any

import pytest

import byol
from byol.log import read_metrics
from conftest import TINY

SHORT: dict[str, Any] = {
    **TINY,
    "batch_size": 64,
    "epochs": 1,
    "optim__name": "sgd",
    "optim__lr": 1.0,
    "optim__weight_decay": 1e-4,
    "watch__health_every": 20,
}
"""159 updates on the embedded photographs."""

NOTHING_HOLDS: dict[str, dict[str, Any]] = {
    "byol": {"network__predictor_depth": 0},
    "byol, stop-gradient": {"network__predictor_depth": 0, "target__kind": "stop-gradient"},
    "infonce": {
        "method": "infonce",
        "loss__beta": 0.0,
        "network__predictor_depth": 0,
        "target__kind": "stop-gradient",
    },
}
SOMETHING_HOLDS: dict[str, dict[str, Any]] = {
    "byol": {},
    "negatives": {**NOTHING_HOLDS["infonce"], "loss__beta": 1.0},
}


@pytest.mark.parametrize("changes", NOTHING_HOLDS.values(), ids=NOTHING_HOLDS)
def test_nothing_holds_the_projections_apart(changes: dict[str, Any], tmp_path: Path) -> None:
    outcome = byol.pretrain("photos:train", recipe="cifar10-cpu", out=tmp_path / "run", quiet=True, **SHORT, **changes)
    assert outcome.verdict is not None
    assert outcome.verdict.word == "collapsed"
    assert outcome.stopped


@pytest.mark.parametrize("changes", SOMETHING_HOLDS.values(), ids=SOMETHING_HOLDS)
def test_a_predictor_or_negatives_hold_them(changes: dict[str, Any], tmp_path: Path) -> None:
    settings = {**SHORT, "epochs": 0.7, **changes}
    outcome = byol.pretrain("photos:train", recipe="cifar10-cpu", out=tmp_path / "run", quiet=True, **settings)
    assert outcome.verdict is not None
    assert outcome.verdict.word in ("healthy", "weak")
    last = [line for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if "health/spread" in line][-1]
    assert last["health/spread"] > 0.5
