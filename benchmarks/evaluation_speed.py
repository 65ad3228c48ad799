"""How fast evaluations are: features beside the bare forward pass, k-NN, and the 45 penalties of linear transfer.

    python benchmarks/evaluation_speed.py          # some minutes on two cores
    python benchmarks/evaluation_speed.py --quick  # does it run at all; writes nothing

Features are extracted as every evaluation does, from images in memory or JPEG files; the bare forward pass has its
normalized batches ready. k-NN and the penalties work on made-up features of fixed sizes. Writes
benchmarks/results/evaluation-speed.json.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from byol.data.sources.open import Source, TensorSource
from byol.data.transform import Transform
from byol.encoders.build import features_of, make_encoder
from byol.evals.features import Passes, extract
from byol.evals.knn import knn_accuracy
from byol.evals.logistic import LogisticPath
from byol.evals.transfer import TransferConfig
from byol.runtime import device as machine
from options import add_images, common_options
from results_file import Row, in_rounds, ratios, show, write
from throughput import quick
from transfer_speed import made_up
from workloads import WORKLOADS, Workload, load

GOAL = 0.95
"""Least share of the bare forward pass's speed that extraction should reach."""
BATCH = 64
IMAGES = {"resnet18-32": 1024, "resnet50-224": 128, "narrow-32": 8192}
"""Images of one measurement."""
BANK, QUERIES, FEATURES, CLASSES = 50_000, 10_000, 512, 10
"""CIFAR-10 seen through a ResNet-18."""
FITTED = 5_000
"""Images that the penalties are fitted on."""


def main(arguments: list[str] | None = None) -> list[Row]:
    """Measure, print, and write."""
    parser = common_options(__doc__, 3)
    add_images(parser)
    options = parser.parse_args(arguments)
    machine.keep_freed_memory()
    rounds = 1 if options.quick else options.rounds
    rows = []
    for name, workload in WORKLOADS.items():
        tiny = quick(workload) if options.quick else workload
        rows += features(name, tiny, options.small, options.jpeg, 8 if options.quick else IMAGES[name], rounds)
    rows += classifiers(0.01 if options.quick else 1.0, rounds)
    for row in rows:
        show(row)
    if not options.quick:
        print(f"written to {write('evaluation-speed', rows, options.out)}")
    return rows


def features(name: str, workload: Workload, small: str, jpeg: str, count: int, rounds: int) -> list[Row]:
    """Images per second of extraction, and of the encoder alone on the same images."""
    config = workload.config
    device, _ = machine.choose_device(config.device)
    chosen, _ = machine.choose_precision(config.precision, device)
    images = load(workload, small, jpeg)
    source: Source = images.source
    if isinstance(images.held, Tensor):
        source = TensorSource(images.held, name=source.name)
    source = source.subset([index % len(source) for index in range(count)])
    torch.manual_seed(0)
    encoder = make_encoder(config.encoder).eval()
    encoder = encoder.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    transform = Transform(image_size=config.image_size, mean=config.encoder.mean, std=config.encoder.std)
    workers, autocast = min(16, machine.cores()), chosen == "bf16"

    def extraction() -> float:
        began = time.perf_counter()
        passes = Passes(device, BATCH, workers, autocast)
        extract(encoder, source, transform, passes)  # its features are on the CPU, so the device is done
        return count / (time.perf_counter() - began)

    values = in_rounds(
        {"features": extraction, "bare forward": bare(encoder, source, transform, device, autocast)}, rounds
    )
    about = {
        "encoder": config.encoder.name,
        "width": config.encoder.width,
        "image_size": config.image_size,
        "images": count,
        "batch_size": BATCH,
        "workers": workers,
        "precision": chosen,
        "from": "files" if images.held is None else "memory",
    }
    share = ratios(values["features"], values["bare forward"])
    return [
        *(Row(name, what, "images/s", each, about) for what, each in values.items()),
        Row(name, "features / bare forward", "ratio", share, about, GOAL),
    ]


def bare(
    encoder: nn.Module,
    source: Source,
    transform: Transform,
    device: torch.device,
    autocast: bool,
    batch: int = BATCH,
) -> Callable[[], float]:
    """A measurement of the encoder on batches that are ready, as extraction calls it."""
    crops = torch.stack([transform.crop(source.image(i, transform.decode_side)) for i in range(len(source))])
    ready = [
        transform.normalize(part.to(device)).contiguous(memory_format=torch.channels_last)
        for part in crops.split(batch)
    ]

    @torch.no_grad()
    def forward() -> float:
        began = time.perf_counter()
        for images in ready:
            with machine.autocast(device, autocast):
                features_of(encoder, images).cpu()
        return len(source) / (time.perf_counter() - began)

    forward()  # memory is taken and kernels are chosen
    return forward


def classifiers(part: float, rounds: int) -> list[Row]:
    """Seconds of k-NN and of the penalties, on `part` of their sizes."""
    bank, queries, fitted = (int(part * count) for count in (BANK, QUERIES, FITTED))
    generator = torch.Generator().manual_seed(0)
    values, asked = (torch.randn(n, FEATURES, generator=generator) for n in (bank, queries))
    labels, truth = (torch.randint(0, CLASSES, (n,), generator=generator) for n in (bank, queries))
    training, training_labels, chosen = made_up(fitted, FEATURES, CLASSES)
    x, y = training[chosen].contiguous(), training_labels[chosen]
    l2 = sorted(TransferConfig().l2, reverse=True)
    found = in_rounds(
        {
            "20-NN": lambda: seconds_of(lambda: knn_accuracy(values, labels, asked, truth)),
            f"{len(l2)} penalties": lambda: seconds_of(lambda: list(LogisticPath(x, y, CLASSES).path(l2))),
        },
        rounds,
    )
    knn = {"bank": bank, "queries": queries, "features": FEATURES}
    fit = {"images": fitted, "features": FEATURES, "classes": CLASSES, "penalties": len(l2)}
    abouts = dict(zip(found, (knn, fit), strict=True))
    return [Row("classifiers", name, "s", seconds, abouts[name]) for name, seconds in found.items()]


def seconds_of(work: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
