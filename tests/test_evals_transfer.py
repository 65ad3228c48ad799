"""Logistic regression against scikit-learn's, and the transfer protocol."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression

from byol.encoders.load import open_encoder
from byol.errors import UserError
from byol.evals import transfer
from byol.evals.evaluation import Task
from byol.evals.logistic import LogisticPath, principal_axes
from byol.evals.transfer import TransferConfig
from byol.evals.transfer_data import TRANSFER_SETS, ManyLabels, open_transfer
from evals_data import TINY, colored
from test_evals_dense import voc_folder


@pytest.fixture(autouse=True)
def _features_below_a_folder_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYOL_HOME", str(tmp_path / "home"))


def problem(count: int = 300, size: int = 20, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(count) % classes
    centers = torch.randn(classes, size, generator=generator)
    scale = torch.arange(1, size + 1).float() ** -0.7 * 4
    return (centers[labels] + 1.5 * torch.randn(count, size, generator=generator)) * scale + 2, labels


def sklearn_objective(features: torch.Tensor, labels: torch.Tensor, l2: float) -> tuple[float, np.ndarray]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = LogisticRegression(C=1 / l2, tol=1e-9, max_iter=20_000).fit(features.double().numpy(), labels.numpy())
    logits = features.double() @ torch.tensor(model.coef_.T) + torch.tensor(model.intercept_)
    penalty = 0.5 * l2 / len(features) * float((model.coef_**2).sum())
    return float(F.cross_entropy(logits, labels)) + penalty, model.predict(features.double().numpy())


@pytest.mark.parametrize("l2", [1e-2, 1.0, 1e3])
def test_the_optimum_is_scikit_learns(l2: float) -> None:
    features, labels = problem()
    expected, predicted = sklearn_objective(features, labels, l2)
    path = [10.0 ** (5 - k / 4) for k in range(45)]
    fit = next(fit for fit in LogisticPath(features, labels, 4).path(path) if fit.l2 <= l2 * 1.0001)
    assert fit.objective == pytest.approx(expected, abs=1e-5)
    assert (fit.logits(features).argmax(dim=1).numpy() == predicted).mean() >= 0.99
    assert LogisticPath(features, labels, 4).gap(fit) < 1e-5


def test_fewer_examples_than_features() -> None:
    features, labels = problem(count=30, size=60, classes=3)
    expected, _ = sklearn_objective(features, labels, 0.5)
    assert LogisticPath(features, labels, 3).fit(0.5).objective == pytest.approx(expected, abs=1e-5)


def test_binary_problems_are_scikit_learns_one_by_one() -> None:
    features, labels = problem()
    truth = F.one_hot(labels, 4)
    fit = LogisticPath(features, truth, 4).fit(2.0)
    total = 0.0
    for c in range(4):
        model = LogisticRegression(C=1 / 2.0, tol=1e-9, max_iter=20_000).fit(
            features.double().numpy(), truth[:, c].numpy()
        )
        logits = features.double() @ torch.tensor(model.coef_[0]) + float(model.intercept_[0])
        total += float(F.binary_cross_entropy_with_logits(logits, truth[:, c].double()))
        total += 0.5 * 2.0 / len(features) * float((model.coef_**2).sum())
    assert fit.objective == pytest.approx(total, abs=1e-4)


def test_left_out_labels_do_not_matter() -> None:
    features, labels = problem()
    truth = F.one_hot(labels, 4)
    truth[:50, 1] = -1
    kept = torch.arange(50, 300)
    one = LogisticPath(features, truth, 4).fit(2.0)
    alone = LogisticPath(features[kept], truth[kept][:, 1:2], 1).fit(2.0)
    assert torch.allclose(one.weight[1], alone.weight[0], atol=2e-3)


def test_nan_features_are_refused() -> None:
    features, labels = problem()
    features[3, 4] = torch.nan
    with pytest.raises(UserError, match="NaN"):
        LogisticPath(features, labels, 4)


@pytest.mark.parametrize("shape", [(50, 8), (8, 50), (5, 5)])
def test_axes_span_the_rows(shape: tuple[int, int]) -> None:
    rows = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    axes = principal_axes(rows)
    assert torch.allclose(axes.T @ axes, torch.eye(axes.shape[1]), atol=1e-4)
    assert torch.allclose(rows @ axes @ axes.T, rows, atol=1e-4)


def test_the_penalties_are_the_papers() -> None:
    """protocols.md 9 (arXiv:2006.07733, D.2): 45 values, log-spaced, from 1e-6 to 1e5."""
    l2 = TransferConfig().l2
    assert len(l2) == 45
    assert (l2[0], l2[-1]) == (pytest.approx(1e-6), pytest.approx(1e5))
    assert np.diff(np.log10(l2)) == pytest.approx(0.25)


def test_the_sets_are_the_papers() -> None:
    """protocols.md 8 (D.1): classes, images and metrics."""
    assert len(TRANSFER_SETS) == 12
    assert {name for name, entry in TRANSFER_SETS.items() if entry.metric == "mean_per_class"} == {
        *("aircraft", "pets", "caltech101", "flowers")
    }
    assert [name for name, entry in TRANSFER_SETS.items() if entry.metric == "map11"] == ["voc2007"]
    cars = TRANSFER_SETS["cars"]
    assert (cars.classes, cars.train, cars.valid, cars.test) == (196, 6494, 1650, 8041)
    assert sum(entry.train for entry in TRANSFER_SETS.values()) == 237_112  # the column's sum


def test_transfer_on_colors() -> None:
    encoder = open_encoder("pixels@4")
    result = transfer.evaluate(Task(encoder, colored(20), colored(10, seed=1)), TransferConfig())
    assert result["top1"] > 0.95
    assert abs(result["float64_gap"]) < 1e-4
    assert set(result) == {"top1", "l2", "valid_top1", "float64_gap"}


def test_transfer_with_a_validation_part_and_a_mean_per_class() -> None:
    encoder = open_encoder(TINY)
    result = transfer.evaluate(
        Task(encoder, colored(8), colored(5, seed=1), valid=colored(4, seed=2)),
        TransferConfig(metric="mean_per_class", l2=(1e-2, 1.0)),
    )
    assert result["mean_per_class"] == pytest.approx(result["top1"])  # as many of each class
    assert 0 < result["top1"] <= 1


def many(per_class: int, seed: int) -> ManyLabels:
    base = colored(per_class, seed=seed)
    truth = F.one_hot(torch.tensor(base.labels), 3)
    return ManyLabels(base, truth, base.classes or [])


def test_transfer_with_many_labels() -> None:
    result = transfer.evaluate(Task(open_encoder("pixels@4"), many(20, 0), many(10, 1)), TransferConfig())
    assert result["map11"] > 0.95


def test_map11_is_not_for_single_labels() -> None:
    with pytest.raises(UserError, match="several labels"):
        transfer.evaluate(Task(open_encoder("pixels@4"), colored(4), colored(2)), TransferConfig(metric="map11"))


def test_an_unknown_set_names_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean 'flowers'"):
        open_transfer("flower")
    with pytest.raises(UserError, match="local copy"):
        open_transfer("cars")


def test_a_local_copy(class_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cars").mkdir()
    for part in ("train", "val", "test"):
        (tmp_path / "cars" / part).symlink_to(class_folder)
    data = open_transfer("cars", tmp_path)
    assert data.valid is not None
    assert len(data.train) == len(data.test) == len(data.valid) == 160
    (tmp_path / "cars" / "test").unlink()
    with pytest.raises(UserError, match="no test part"):
        open_transfer("cars", tmp_path)


def test_a_voc_folder_gives_presence(tmp_path: Path) -> None:
    voc_folder(tmp_path / "voc2007", ("train", "val", "test"))
    data = open_transfer("voc2007", tmp_path)
    assert isinstance(data.train, ManyLabels)
    assert data.train.truth[0].tolist().count(1) == 1
    assert data.train.truth[0, 6] == 1  # car
    assert data.train.truth[0, 11] == -1  # a difficult dog only
