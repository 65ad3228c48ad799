"""Accuracy per minute: CIFAR-10 from nothing in 2, 5, 10 and 20 minutes of this machine, ours beside lightly's.

    pip install 'byol[bench]'
    python benchmarks/minutes.py                                        # a day: 20 minutes for each peer and seed
    python benchmarks/minutes.py --only "byol, simclr recipe" --minutes 5 --seeds 0
    python benchmarks/minutes.py --quick                                # does it run at all; writes nothing

Ours is the whole command, `byol pretrain --budget`: looking at the images, decoding, readings and the verdict count,
and each length is a run of its own. A peer's clock counts training alone, and stops while it is read; it is given what
it does not do by itself (bf16, the channels-last layout, a worker per core) and the settings of its own CIFAR-10
benchmark with a cosine schedule over its minutes. It is read along the way, too. All are read alike: 20-NN on the
10,000 test images, the 50,000 training images vote. Lines of benchmarks/results/minutes-runs.jsonl are not repeated.
"""

import argparse
import json
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.utils.data import DataLoader

from byol.config.encoder import EncoderSpec
from byol.data.memory import decode_all
from byol.data.sources.open import Source, TensorSource, open_source
from byol.data.transform import Transform
from byol.encoders.build import make_encoder
from byol.evals.features import Passes
from byol.pretraining.monitor import Monitor
from byol.pretraining.run import pretrain
from byol.recipes.small import small_on_cpu
from byol.runtime import device as machine
from contestants import InMemory, endless
from lightly_methods import METHODS, LightlyMethod
from results_file import RESULTS, STARTED_FROM, Row, read_lines, show, write
from workloads import DATA

Line = dict[str, Any]
LINES = "minutes-runs.jsonl"
MINUTES = (2.0, 5.0, 10.0, 20.0)
OURS = {"byol, simclr recipe": "cifar10-cpu-simclr", "byol, byol recipe": "cifar10-cpu"}
"""Recipes of the product, by contestant."""
ENCODERS = ("resnet18", "narrow")
"""Of the peers: torchvision's, as in their examples, and the narrow one of our recipes."""
PEERS = {f"lightly, {method}, {encoder}": (method, encoder) for encoder in ENCODERS for method in METHODS}
BATCH_SIZE = 128
SEEN_AT = 32
"""Side at which the k-NN looks at images: as they are stored."""


@dataclass(frozen=True)
class Images:
    """CIFAR-10 in memory, and as the product is given it: its files."""

    train: TensorSource
    test: TensorSource
    files: tuple[str | Source, str | Source]


def main(arguments: list[str] | None = None) -> list[Row]:
    """Run what has no line yet; print the rows of all lines, and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*OURS, *PEERS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help="; ".join(names))
    parser.add_argument("--minutes", nargs="+", type=float, default=list(MINUTES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--quick", action="store_true", help="a few seconds each; writes nothing")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results files")
    options = parser.parse_args(arguments)
    if options.quick:
        options.minutes, options.seeds, options.out = [0.05, 0.1], [0], Path(tempfile.mkdtemp())
    images = open_images(2000 if options.quick else None)
    for seed in options.seeds:
        for name in options.only:
            measure(name, seed, options.minutes, images, options.out)
    rows = rows_of(read_lines(options.out / LINES))
    for row in rows:
        show(row)
    if options.quick:
        shutil.rmtree(options.out)
    else:
        print(f"written to {write('minutes', rows, options.out)}")
    return rows


def open_images(count: int | None = None) -> Images:
    """Both parts of CIFAR-10, decoded."""
    machine.make_ready(torch.device("cpu"))
    files = [DATA / "cifar10" / f"{part}.parquet" for part in ("train", "test")]
    parts = []
    for file in files:
        source = open_source(file, 3)
        held = decode_all(source.subset(range(count or len(source))), machine.cores(), SEEN_AT)
        assert isinstance(held.images, Tensor)
        parts.append(TensorSource(held.images, held.source.labels, name=file.stem))
    train, test = parts
    return Images(train, test, (train, test) if count else (str(files[0]), str(files[1])))


def measure(name: str, seed: int, minutes: list[float], images: Images, out: Path) -> None:
    """Run a contestant for what has no line yet, and append the lines."""
    there = {line["minutes"] for line in read_lines(out / LINES) if (line["name"], line["seed"]) == (name, seed)}
    missing = [length for length in minutes if length not in there]
    key = {"name": name, "seed": seed}
    if name in OURS:
        for length in missing:
            _append(out, key | run_ours(OURS[name], length, seed, images))
    elif missing:  # the schedule is that of the longest; shorter ones are readings on the way
        for line in run_peer(*PEERS[name], minutes, seed, images):
            _append(out, key | line)


def run_ours(recipe: str, minutes: float, seed: int, images: Images) -> Line:
    """A run of the product with a budget, and its last reading."""
    length: dict[str, Any] = {"budget": f"{minutes:g}m"} if minutes >= 1 else {"epochs": minutes}
    with tempfile.TemporaryDirectory() as folder:
        began, worked = time.perf_counter(), time.process_time()
        outcome = pretrain(
            images.files[0], recipe=recipe, monitor=images.files[1], out=Path(folder) / "run", seed=seed, **length
        )
        took, worked = (time.perf_counter() - began) / 60, (time.process_time() - worked) / 60
    assert outcome.reading is not None
    return {"minutes": minutes, "took": took, "core_minutes": worked, "accuracy": outcome.reading.accuracy}


def run_peer(method: str, encoder: str, minutes: list[float], seed: int, images: Images) -> list[Line]:
    """Train for the longest of `minutes` with one cosine schedule, and read after each of them."""
    torch.manual_seed(seed)
    backbone, features = backbone_of(encoder)
    peer = METHODS[method](backbone, features)
    peer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    peer.train()
    optimizer = peer.optimizer()
    peak = optimizer.param_groups[0]["lr"]
    loader = DataLoader(
        InMemory(images.train.images, peer.transform()),
        batch_size=BATCH_SIZE,
        shuffle=True,
        drop_last=True,
        num_workers=machine.cores(),
        persistent_workers=machine.cores() > 0,
    )
    read = reader(images, backbone)
    batches, lines, updates, worked, spent = endless(loader), [], 0, 0.0, 0.0
    whole = 60 * max(minutes)
    for length in sorted(minutes):
        while spent < 60 * length:
            began, cpu = time.perf_counter(), time.process_time()
            for group in optimizer.param_groups:
                group["lr"] = peak * (1 + math.cos(math.pi * min(1.0, spent / whole))) / 2
            _update(peer, optimizer, next(batches)[0])
            updates += 1
            spent += time.perf_counter() - began
            worked += time.process_time() - cpu
        line = {"minutes": length, "took": spent / 60, "core_minutes": worked / 60, "accuracy": read()}
        lines.append(line | {"images": updates * BATCH_SIZE, "of_minutes": max(minutes)})
        peer.train()
    return lines


def backbone_of(name: str) -> tuple[nn.Module, int]:
    """An encoder and the length of its features."""
    if name == "resnet18":
        net = torchvision.models.resnet18()
        features, net.fc = net.fc.in_features, nn.Identity()
        return net, features
    net = make_encoder(small_on_cpu(epochs=1).encoder)
    return net, int(net.num_features)  # type: ignore[arg-type]


def reader(images: Images, backbone: nn.Module) -> Callable[[], float]:
    """What reads the 20-NN accuracy of an encoder that was trained on images normalized as ImageNet's."""
    spec = EncoderSpec(name="resnet18")
    transform = Transform(image_size=SEEN_AT, mean=spec.mean, std=spec.std)
    monitor = Monitor(images.train, images.test, transform, Passes(torch.device("cpu"), workers=1, autocast=True))
    return lambda: monitor.read(backbone, full=True).accuracy


def _update(peer: LightlyMethod, optimizer: torch.optim.Optimizer, views: list[Tensor]) -> None:
    views = [view.contiguous(memory_format=torch.channels_last) for view in views]
    peer.before_update()
    with machine.autocast(torch.device("cpu"), True):
        loss = peer.loss(views)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def rows_of(lines: Iterable[Line]) -> list[Row]:
    """A row for each contestant and length: accuracies over seeds, and the minutes they took."""
    found: dict[tuple[str, float], list[Line]] = {}
    for line in lines:
        found.setdefault((line["name"], line["minutes"]), []).append(line)
    rows = []
    for (name, minutes), here in found.items():
        about = {"seeds": [line["seed"] for line in here], "minutes": minutes}
        accuracies = [line["accuracy"] for line in here]
        rows.append(Row(name, f"20-NN accuracy, {minutes:g} minutes", "accuracy", accuracies, about))
        rows.append(Row(name, f"core minutes of {minutes:g}", "min", [line["core_minutes"] for line in here], about))
    return rows


def _append(out: Path, line: Line) -> None:
    out.mkdir(parents=True, exist_ok=True)
    short = {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in line.items()}
    with (out / LINES).open("a") as file:
        file.write(json.dumps(short | {"commit": STARTED_FROM, "machine": machine.describe()}) + "\n")
    print(json.dumps(short), flush=True)


if __name__ == "__main__":
    main()
