"""Findings against planted truth: near-duplicates, foreign images and swapped labels among images of CIFAR-10.

    python benchmarks/planted.py --data $BYOL_DATA --encoder runs/cifar10-cpu

Of 5,000 images, 4,700 are of the test part. 200 are copies of some of these: crops (29 to 31 of 32 px, resized back),
re-encodings (JPEG, quality 60 to 90), other brightness (0.7 to 1.3). 100 are foreign: squares of the embedded
photographs and of street scenes (CamVid). 200 of the 4,700 have another label. Where cleanlab is installed it judges
the same features. Takes about a minute on one core.
"""

import argparse
import io
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageEnhance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import cross_val_predict
from torch import Tensor

from byol.data.sources.open import open_source
from byol.data.sources.tensor import TensorSource
from byol.encoders.file import card_of
from byol.encoders.load import open_encoder
from byol.evals.cache import FeatureConfig, cached_features
from byol.evals.fewshot import standardize
from byol.evals.knn import knn_scores
from byol.explore.coverage import suggest
from byol.explore.duplicates import Duplicates, find_duplicates
from byol.explore.neighbors import find_others
from byol.explore.outliers import find_outliers
from byol.explore.small import small_copies
from byol.explore.suspects import find_suspects
from results_file import Row, show, write

IMAGES, COPIES, FOREIGN, SWAPPED = 5000, 200, 100, 200
CPU = torch.device("cpu")
KINDS = ("crop", "re-encoding", "brightness")
GOAL = 0.95
"""Recall and precision wanted for re-encodings and brightness."""
LABELS = 100
"""Images that are suggested for labeling."""
Pixels = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Planted:
    """Images with known truth."""

    images: Tensor
    """(N, 3, 32, 32) uint8."""
    originals: int
    """Images of the data set; copies and foreign ones follow."""
    pairs: dict[tuple[int, int], str]
    """Original and copy to the kind of copy."""
    foreign: list[int]
    labels: Tensor
    """(N,) as given; of foreign images at random."""
    true_labels: Tensor
    swapped: list[int]


def plant(data: Path, seed: int) -> Planted:
    """The set of one seed."""
    rng = np.random.default_rng(seed)
    source = open_source(data / "cifar10" / "test.parquet", 3)
    chosen = rng.permutation(len(source))[: IMAGES - COPIES - FOREIGN].tolist()
    images = [source.image(index).permute(1, 2, 0).numpy() for index in chosen]
    assert source.labels is not None
    labels, originals, pairs = [source.labels[index] for index in chosen], len(chosen), {}
    for number, original in enumerate(rng.choice(originals, COPIES, replace=False).tolist()):
        kind = KINDS[number % len(KINDS)]
        pairs[original, len(images)] = kind
        images.append(copied(images[original], kind, rng))
        labels.append(labels[original])
    foreign = list(range(len(images), len(images) + FOREIGN))
    for name, count in (("photos", FOREIGN // 2), (str(data / "camvid" / "train.parquet"), FOREIGN - FOREIGN // 2)):
        images += squares(name, count, rng)
    true = torch.tensor(labels + rng.integers(0, 10, FOREIGN).tolist())
    given, swapped = true.clone(), rng.choice(originals, SWAPPED, replace=False).tolist()
    given[swapped] = (given[swapped] + torch.from_numpy(rng.integers(1, 10, SWAPPED))) % 10
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    return Planted(stacked, originals, pairs, foreign, given, true, swapped)


def copied(image: Pixels, kind: str, rng: np.random.Generator) -> Pixels:
    """A near-duplicate of one kind."""
    picture = Image.fromarray(image)
    if kind == "crop":
        side = 32 - int(rng.integers(1, 4))
        left, top = rng.integers(0, 32 - side + 1, 2).tolist()
        box = (left, top, left + side, top + side)
        return np.asarray(picture.crop(box).resize((32, 32), Image.Resampling.BICUBIC))
    if kind == "re-encoding":
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=int(rng.integers(60, 91)))
        return np.asarray(Image.open(file))
    return np.asarray(ImageEnhance.Brightness(picture).enhance(float(rng.choice([0.7, 0.8, 1.2, 1.3]))))


def squares(name: str, count: int, rng: np.random.Generator) -> Iterator[Pixels]:
    """Random squares of 64 px at most of the images of a source, at 32 px."""
    source = open_source(name, 3)
    for _ in range(count):
        image = source.image(int(rng.integers(len(source)))).permute(1, 2, 0).numpy()
        side = min(64, *image.shape[:2])
        top, left = (int(rng.integers(length - side + 1)) for length in image.shape[:2])
        square = Image.fromarray(image[top : top + side, left : left + side])
        yield np.asarray(square.resize((32, 32), Image.Resampling.BICUBIC))


def duplicate_figures(found: Duplicates, planted: Planted) -> dict[str, float]:
    """Recall by kind, precision among pairs with a copy, and the number of pairs that nobody planted."""
    pairs = {(int(a), int(b)) for a, b in found.pairs.rows.tolist()}
    figures = {}
    for kind in KINDS:
        wanted = [pair for pair, of in planted.pairs.items() if of == kind]
        figures[f"near-duplicates: recall, {kind}"] = sum(pair in pairs for pair in wanted) / len(wanted)
    copies = {copy for _, copy in planted.pairs}
    judged = {pair for pair in pairs if copies & set(pair)}
    figures["near-duplicates: precision, pairs with a copy"] = len(judged & set(planted.pairs)) / max(1, len(judged))
    figures["near-duplicates: pairs of the set itself"] = len(pairs - judged)
    return figures


def ranking(name: str, truth: np.ndarray[Any, Any], score: np.ndarray[Any, Any]) -> dict[str, float]:
    """Area under the curve, average precision, and precision of as many as there are."""
    first = np.argsort(-score, kind="stable")[: int(truth.sum())]
    return {
        f"{name}: AUC": float(roc_auc_score(truth, score)),
        f"{name}: average precision": float(average_precision_score(truth, score)),
        f"{name}: precision and recall of the first {int(truth.sum())}": float(truth[first].mean()),
    }


def measure(planted: Planted, encoder: str) -> dict[str, float]:
    """All figures of one set."""
    source = TensorSource(planted.images)
    config = FeatureConfig(cache=False, precision="float32")
    features = cached_features(open_encoder(encoder), source, config, CPU).values
    neighbors = find_others(features)
    small = small_copies(source, list(range(len(source))), workers=1)
    figures = duplicate_figures(find_duplicates(neighbors, small), planted)
    foreign = np.isin(np.arange(len(features)), planted.foreign)
    figures |= ranking("outliers", foreign, find_outliers(neighbors).score.numpy())
    swapped = np.isin(np.arange(len(features)), planted.swapped)[~foreign]
    suspects = find_suspects(features, planted.labels)
    figures |= ranking("label suspects", swapped, -suspects.probability.numpy()[~foreign])
    listed = np.isin(np.arange(len(features)), suspects.rows)[~foreign]
    figures["label suspects: recall of the list"] = float(swapped[listed].sum() / swapped.sum())
    figures["label suspects: precision of the list"] = float(swapped[listed].mean())
    own = torch.arange(planted.originals)
    figures |= suggestion_figures(features[own], planted.true_labels[own])
    return figures | peer_figures(features, planted, foreign, swapped)


def suggestion_figures(features: Tensor, labels: Tensor) -> dict[str, float]:
    """1-NN accuracy on all images with labels of the suggested ones, and of random ones (mean of ten draws)."""
    unlabeled = torch.zeros(len(labels), dtype=torch.bool)
    suggested = suggest(features, find_others(features), LABELS, unlabeled)
    draws = [torch.randperm(len(labels), generator=torch.Generator().manual_seed(s))[:LABELS] for s in range(10)]

    def accuracy(rows: Tensor) -> float:
        guess = knn_scores(features[rows], labels[rows], features, classes=10, k=1).argmax(dim=1)
        return float((guess == labels).float().mean())

    random = sum(map(accuracy, draws)) / len(draws)
    return {
        f"suggestions: 1-NN accuracy, {LABELS} suggested": accuracy(torch.tensor(suggested)),
        f"suggestions: 1-NN accuracy, {LABELS} at random": random,
    }


def peer_figures(
    features: Tensor, planted: Planted, foreign: np.ndarray[Any, Any], swapped: np.ndarray[Any, Any]
) -> dict[str, float]:
    """cleanlab on the same features: its outlier score, and its label score by k-NN and by logistic regression."""
    try:
        from cleanlab.outlier import OutOfDistribution
        from cleanlab.rank import get_label_quality_scores
    except ImportError:
        print("cleanlab is not installed; its rows are left out")
        return {}
    known, labels = features[~torch.from_numpy(foreign)], planted.labels[~torch.from_numpy(foreign)]
    score = OutOfDistribution().fit_score(features=features.numpy(), verbose=False)
    figures = ranking("outliers, cleanlab", foreign, -score)
    near = find_others(known, 10)
    votes = torch.nn.functional.one_hot(labels[near.rows], 10).float().mean(dim=1).numpy()
    same_scale = standardize(known, known)[0].numpy()
    model = LogisticRegression(C=1.0, max_iter=500)
    logistic = cross_val_predict(model, same_scale, labels.numpy(), cv=5, method="predict_proba")
    for name, probabilities in (("k-NN", votes), ("logistic", logistic)):
        quality = get_label_quality_scores(labels.numpy(), probabilities)
        figures |= ranking(f"label suspects, cleanlab on {name}", swapped, -quality)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with cifar10/ and camvid/")
    parser.add_argument("--encoder", required=True, help="a run on CIFAR-10")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    every = [measure(plant(arguments.data, seed), arguments.encoder) for seed in range(arguments.seeds)]
    wanted = {f"near-duplicates: recall, {kind}" for kind in KINDS[1:]} | {
        "near-duplicates: precision, pairs with a copy"
    }
    trained = card_of(Path(arguments.encoder))
    config = {
        "encoder": trained.encoder.name,
        "epochs": trained.epochs,
        "images": IMAGES,
        "copies": COPIES,
        "foreign": FOREIGN,
        "swapped": SWAPPED,
    }
    rows = []
    for name in every[0]:
        unit = "pairs" if name.endswith("set itself") else "ratio"
        group, _, what = name.partition(": ")
        goal = GOAL if name in wanted else None
        rows.append(Row(group, what, unit, [figures[name] for figures in every], config, goal))
        show(rows[-1])
    try:
        versions = {"cleanlab": version("cleanlab")}
    except ImportError:
        versions = {}
    print(write("planted", rows, *([arguments.out] if arguments.out else []), versions=versions))


if __name__ == "__main__":
    main()
