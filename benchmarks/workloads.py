"""What is measured: three nets on two kinds of data, and our own side of each."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from byol.bench.measure import Subject, pipeline, timed
from byol.bench.profile import begun
from byol.config.encoder import EncoderSpec
from byol.config.methods import BYOLConfig
from byol.config.optim import OptimConfig
from byol.config.run import DataConfig, PretrainConfig
from byol.config.values import replace
from byol.config.views import AugmentConfig, ViewConfig
from byol.data.crop import shrink_side
from byol.data.loader import AHEAD, Loader, Storage
from byol.data.memory import decode_all
from byol.data.sources.open import Source, open_source
from byol.pretraining.setup import pipeline_of
from byol.recipes.small import small_on_cpu
from byol.runtime import device as machine

DATA = Path(os.environ.get("BYOL_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
"""Where the small copies of CIFAR-10 and of ImageNet's validation photographs are."""
IMAGES_IN_MEMORY = 8192
"""Images of a small set that are decoded; more would only delay the start."""


@dataclass(frozen=True)
class Workload:
    """One configuration, and how long it is measured."""

    config: PretrainConfig
    steps: int
    """Updates in one measurement of a step."""
    pipeline_batches: int
    """Batches in one measurement of the pipeline alone."""
    goal: float | None = None
    """Least share of the step's speed that pipeline and step together must reach."""
    crops_only: bool = False
    """Whether the loader gives crops, prefetched, as it does for a GPU, which makes the views of them."""

    @property
    def from_files(self) -> bool:
        return self.config.data.memory == "never"


def resnet18_32() -> PretrainConfig:
    """ResNet-18 with the small stem at batch 128; heads and views as lightly's example has them (no blur at 32 px)."""
    return PretrainConfig(
        encoder=EncoderSpec(name="resnet18", stem="small"),
        image_size=32,
        batch_size=128,
        epochs=200,
        method=BYOLConfig(hidden=1024, output=256, tau=0.99),
        optim=OptimConfig(name="sgd", lr=0.06, weight_decay=5e-4),
        augment=AugmentConfig(view1=ViewConfig(blur=0.0), view2=ViewConfig(blur=0.0, solarize=0.2)),
    )


def resnet50_224() -> PretrainConfig:
    """The paper's networks and views at a batch that fits a small machine; files are decoded anew each time."""
    return PretrainConfig(image_size=224, batch_size=16, epochs=100, data=DataConfig(memory="never"))


def narrow_32() -> PretrainConfig:
    """The narrow network of the processor recipes, at a batch and size that peers run as well."""
    return replace(small_on_cpu(epochs=30), image_size=32, batch_size=256)


def pipeline_32() -> PretrainConfig:
    """The paper's two views of small images, blur and all, at batch 512; no network."""
    return PretrainConfig(encoder=EncoderSpec(name="resnet18", stem="small"), image_size=32, batch_size=512)


WORKLOADS = {
    "resnet18-32": Workload(resnet18_32(), steps=4, pipeline_batches=60, goal=0.95),
    "resnet50-224": Workload(resnet50_224(), steps=4, pipeline_batches=25, goal=0.9),
    "narrow-32": Workload(narrow_32(), steps=30, pipeline_batches=40, goal=0.95),
}
PIPELINES = {
    "pipeline-32": Workload(pipeline_32(), steps=0, pipeline_batches=40, goal=20_000),
    "pipeline-224": Workload(resnet50_224(), steps=0, pipeline_batches=30),
}
ON_GPU = {
    "resnet18-32-b512": Workload(replace(resnet18_32(), batch_size=512), steps=100, pipeline_batches=100),
    "resnet50-224-b256": Workload(replace(resnet50_224(), batch_size=256), steps=24, pipeline_batches=24),
}
"""The first two at batches that fill a GPU; a measurement then takes a few seconds."""
CROPS_224 = Workload(replace(resnet50_224(), batch_size=64), steps=0, pipeline_batches=20, crops_only=True)


class CropLoader(Loader):
    """A loader as on a GPU: it gives crops, since the GPU makes the views."""

    @property
    def views_in_threads(self) -> bool:
        return False


@dataclass
class Images:
    """The images of a workload: files, or decoded in memory."""

    source: Source
    held: Tensor | list[Tensor] | None


def load(workload: Workload, small: str | Path, jpeg: str | Path) -> Images:
    """Open what a workload reads: `small` images into memory, `jpeg` files as they are."""
    if workload.from_files:
        return Images(open_source(jpeg, 3), None)
    source = open_source(small, 3)
    source = source.subset(range(min(len(source), IMAGES_IN_MEMORY)))
    held = decode_all(source, machine.cores(), shrink_side(workload.config.image_size))
    return Images(held.source, held.images)


def loader_of(workload: Workload, images: Images, workers: int) -> Loader:
    """The loader of a workload, with the precision that a run takes on this machine."""
    device, _ = machine.choose_device(workload.config.device)
    precision, _ = machine.choose_precision(workload.config.precision, device)
    config = replace(workload.config, precision=precision)
    kind, prefetched = (CropLoader, AHEAD) if workload.crops_only else (Loader, None)
    storage = Storage(images.source, workers, images.held)
    return kind(storage, config, pipeline_of(config), device, prefetched=prefetched)


@dataclass
class Ours:
    """byol's side of a workload: the loader and the step of a run."""

    workload: Workload
    images: Images
    workers: int = field(default_factory=lambda: min(16, machine.cores()))
    """Threads that decode."""
    loader: Loader = field(init=False)
    subject: Subject | None = field(init=False, default=None)
    """None where only the pipeline is measured."""
    position: int = 0

    def __post_init__(self) -> None:
        machine.make_ready(machine.choose_device(self.workload.config.device)[0])  # as the product does
        self.loader = loader_of(self.workload, self.images, self.workers)
        if self.workload.steps:
            self.subject = Subject(self.loader)

    @property
    def config(self) -> PretrainConfig:
        """The run's settings, with the precision that it takes here."""
        return self.loader.config

    def describe(self) -> dict[str, Any]:
        """What was run, for the results file."""
        return {
            "encoder": self.config.encoder.name,
            "image_size": self.config.image_size,
            "batch_size": self.config.batch_size,
            "images": len(self.images.source),
            "from": "files" if self.images.held is None else "memory",
            "precision": self.config.precision,
            "channels_last": True,
            "workers": self.workers,
            "steps": self.workload.steps,
            "pipeline_batches": self.workload.pipeline_batches,
        }

    def pipeline(self) -> float:
        """Images per second, two normalized views each, with nobody training."""
        count = self.workload.pipeline_batches
        if self.subject is not None:
            return self.subject.pipeline(count)
        first = self.position
        self.position += begun(self.loader, count)
        batches = self.loader.batches(first, self.position)
        if self.workload.crops_only:
            return timed(self.loader, batches, count, lambda parts: None)
        return pipeline(self.loader, batches, count)

    def step(self) -> float:
        """Images per second of forward, backward, optimizer and moving average on views made before."""
        assert self.subject is not None
        return self.subject.step(self.workload.steps)

    def together(self) -> float:
        """Images per second as a run has them: loader, views and step."""
        assert self.subject is not None
        return self.subject.together(self.workload.steps)
