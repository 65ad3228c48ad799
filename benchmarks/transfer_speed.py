"""The 45 penalties of linear transfer, ours beside scikit-learn's, on the same problem in one run.

    python benchmarks/transfer_speed.py                      # 20,000 x 512, 10 classes: some minutes on two cores
    python benchmarks/transfer_speed.py --images 4000 --features 256

Ours is timed from features to the last fit, the turn to principal axes included. scikit-learn is timed four ways: from
zero for each penalty, and warm-started along the path; each with its default tolerance (1e-4), which stops short of
the optimum at weak penalties, and with one that comes near it (1e-6). The optimum that all are compared with is the
lowest objective that any of them reached. Times are of one run each; `--repeats` gives more, and
the spread. Writes benchmarks/results/transfer-speed.json.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from byol.evals.logistic import LogisticPath
from byol.evals.transfer import TransferConfig
from results_file import RESULTS, Row, ratios, show, write


def made_up(images: int, features: int, classes: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features after a ReLU, their spectrum falling as a network's does; labels; and fresh ones of both to test."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, classes, (2 * images,), generator=generator)
    spectrum = 3 * torch.arange(1, features + 1).float() ** -0.7
    centers = 0.35 * torch.randn(classes, features, generator=generator)
    mix = torch.randn(features, features, generator=generator) / features**0.5
    values = ((centers[labels] + torch.randn(2 * images, features, generator=generator)) * spectrum) @ mix
    return values.relu(), labels, torch.arange(2 * images) < images


def objective(x: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, l2: float) -> float:
    """Mean cross-entropy and penalty, in float64."""
    logits = x.double() @ weight.double().T + bias.double()
    return float(F.cross_entropy(logits, labels)) + 0.5 * l2 / len(labels) * float(weight.double().square().sum())


Fits = list[tuple[torch.Tensor, torch.Tensor]]


def ours(features: torch.Tensor, labels: torch.Tensor, classes: int, l2: list[float]) -> Fits:
    return [(fit.weight, fit.bias) for fit in LogisticPath(features, labels, classes).path(l2)]


def sklearns(features: np.ndarray, labels: np.ndarray, l2: list[float], tolerance: float, warm: bool) -> Fits:
    fits = []
    model = LogisticRegression(tol=tolerance, max_iter=5000, warm_start=warm)
    for value in l2:
        model.set_params(C=1 / value)
        model.fit(features, labels)
        fits.append((torch.tensor(model.coef_.copy()), torch.tensor(model.intercept_.copy())))
    return fits


def main() -> None:
    """Time each way, compare what it found, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("images", 20_000), ("features", 512), ("classes", 10), ("repeats", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--tolerances", type=float, nargs="+", default=[1e-4, 1e-6], help="scikit-learn's")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results file")
    args = parser.parse_args()

    values, labels, training = made_up(args.images, args.features, args.classes)
    train, truth = values[training].contiguous(), labels[training]
    test, asked = values[~training], labels[~training]
    arrays = train.numpy(), truth.numpy()
    l2 = sorted(TransferConfig().l2, reverse=True)
    ways: dict[str, Callable[[], Fits]] = {"ours": lambda: ours(train, truth, args.classes, l2)}
    for tolerance in args.tolerances:
        for warm in (False, True):
            name = f"scikit-learn, {'warm' if warm else 'cold'}, tol {tolerance:g}"
            ways[name] = lambda t=tolerance, w=warm: sklearns(*arrays, l2, t, w)
    warnings.simplefilter("ignore", ConvergenceWarning)
    ours(train[:500], truth[:500], args.classes, l2[:5])  # the first product of a process is slow

    group = f"transfer, {args.images:,} x {args.features}, {args.classes} classes"
    seconds: dict[str, list[float]] = {}
    objectives: dict[str, np.ndarray] = {}
    accuracies: dict[str, float] = {}
    for name, run in ways.items():
        seconds[name] = []
        for _ in range(args.repeats):
            start = time.perf_counter()
            fits = run()
            seconds[name].append(time.perf_counter() - start)
        objectives[name] = np.array([objective(train, truth, w, b, v) for (w, b), v in zip(fits, l2, strict=True)])
        accuracies[name] = max(
            float(((test.double() @ w.double().T + b).argmax(1) == asked).double().mean()) for w, b in fits
        )
        rows = compared(group, seconds, objectives, accuracies)
        write("transfer-speed", rows, args.out)  # after each way: a call that is cut off leaves what it has measured
    for row in rows:
        show(row)
        if row.unit == "s":
            print(f"    {row.config}")


def compared(
    group: str, seconds: dict[str, list[float]], objectives: dict[str, np.ndarray], accuracies: dict[str, float]
) -> list[Row]:
    """Each way's time, how far from the lowest objective it ended, and how many times as long as ours it took."""
    lowest = np.min(list(objectives.values()), axis=0)
    rows = []
    for name, taken in seconds.items():
        gaps = objectives[name] - lowest
        about = {
            "largest gap to the optimum": float(f"{gaps.max():.2g}"),
            "best accuracy": round(accuracies[name], 4),
        }
        rows.append(Row(group, name, "s", taken, about))
        near = float((gaps <= 1e-4).sum())
        rows.append(Row(group, f"{name}: within 1e-4 of the lowest mean loss", f"of {len(gaps)}", [near], about))
        if name != "ours":
            goal = 5.0 if "cold" in name else None
            rows.append(Row(group, f"{name} / ours", "ratio", ratios(taken, seconds["ours"]), about, goal))
    return rows


if __name__ == "__main__":
    main()
