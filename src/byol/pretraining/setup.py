"""A run before its first step: what is held out, what is decoded into memory, the loader, the monitor."""

import dataclasses
import logging
import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.config.views import ViewSpec
from byol.data.batch import Pipeline
from byol.data.crop import shrink_side
from byol.data.labeling import Images, Labeling, label_images
from byol.data.loader import Loader, Storage
from byol.data.memory import STOP_AT_SHARE, DecodedImages, TooManyBytes, decode_all, fits
from byol.data.sources.open import Source, TensorSource, is_fetched, open_source
from byol.data.sources.parts import SeveralParts
from byol.data.sources.stretched import stretched
from byol.data.survey import Survey
from byol.data.transform import Transform
from byol.errors import UserError
from byol.evals.features import Passes
from byol.methods.base import TrainingSet
from byol.methods.table import method_class
from byol.pretraining.checks import check, training_set
from byol.pretraining.health import PROBE_IMAGES
from byol.pretraining.monitor import Monitor, split
from byol.pretraining.run_folder import BadImages, RunFolder
from byol.runtime import device as machine
from byol.runtime import distributed
from byol.runtime.console import ProgressBar, words_to
from byol.runtime.metrics import MetricsWriter

log = logging.getLogger(__name__)

CPU = torch.device("cpu")
NOTHING_SAID = Labeling()


@dataclass(frozen=True)
class Outputs:
    """Where a run writes and shows what it does."""

    folder: RunFolder | None
    """None in processes that write nothing."""
    metrics: MetricsWriter
    bar: ProgressBar


@dataclass(frozen=True)
class Run:
    """What stays the same while a run goes on."""

    config: PretrainConfig
    device: torch.device
    loader: Loader
    monitor: Monitor | None
    outputs: Outputs
    bad: BadImages

    @property
    def folder(self) -> RunFolder | None:
        return self.outputs.folder

    @property
    def metrics(self) -> MetricsWriter:
        return self.outputs.metrics

    @property
    def bar(self) -> ProgressBar:
        return self.outputs.bar

    @property
    def source(self) -> Source:
        """The images that are trained on."""
        return self.loader.storage.source

    @property
    def images(self) -> int:
        """How many images are trained on."""
        return len(self.source)

    @property
    def data(self) -> TrainingSet:
        """What is known of them."""
        return training_set(self.source)

    @property
    def passes(self) -> Passes:
        """How the run's encoder passes over images outside of training."""
        return Passes(self.device, workers=self.loader.storage.workers, autocast=self.config.precision == "bf16")

    @property
    def autocast(self) -> AbstractContextManager[object]:
        """Mixed precision, where the run has it."""
        return machine.autocast(self.device, self.config.precision == "bf16")

    def with_config(self, config: PretrainConfig) -> "Run":
        """The same with other settings; nothing is decoded again."""
        loader = dataclasses.replace(self.loader, config=config, pipeline=pipeline_of(config))
        return dataclasses.replace(self, config=config, loader=loader)


def open_images(
    data: str | Path | Source,
    monitor: str | Path | Source | None,
    channels: int | None,
    device: torch.device,
    labeling: Labeling = NOTHING_SAID,
) -> Images:
    """Open the images of a run; what is fetched is fetched by one process of a machine."""

    def opened(what: str | Path | Source, channels: int | None) -> Source:
        def act() -> Source:
            return open_source(what, channels)

        return distributed.local_main_first(act, device) if isinstance(what, str) and is_fetched(what) else act()

    said: tuple[str, ...] = ()
    watched: Source | None = None
    try:
        source = opened(data, channels)
    except SeveralParts as found:
        if found.training is None:
            raise
        source = opened(found.training, channels)
        wanted = monitor is None and labeling == NOTHING_SAID
        watched, why = readings_part(found, source) if wanted else (None, "")
        said = (f"parts: {data} holds {found.names}; training takes {found.training}{why}",)
    if monitor is not None:
        watched = opened(monitor, source.channels)
    images = label_images(source, watched, labeling)
    return dataclasses.replace(images, notes=said + source.notes + images.notes)


def readings_part(found: SeveralParts, training: Source) -> tuple[Source | None, str]:
    """The part of a data set that readings are of beside its training part, or None; and what is said of it."""
    lacking: list[str] = []
    for place in found.readings:
        try:
            part = open_source(place, training.channels)
        except UserError:
            lacking.append(f"{place} cannot be read")
            continue
        if part.labels is None or not set(part.labels) - {-1}:
            lacking.append(f"{place} has no labels for that")
            continue
        try:
            split(training, part, 0)
        except UserError:
            lacking.append(f"{place} is labeled otherwise")
            continue
        return part, f", readings are of {place}"
    return None, f"; readings are of held-out images, if any, as {' and '.join(lacking)}" if lacking else ""


def monitor_for(
    data: str | Path | Source, monitor: str | Path | Source | None, labeling: Labeling = NOTHING_SAID
) -> str | Path | Source | None:
    """The images that readings are of: those that were given, if any.

    For the embedded training photographs by default patches of regions that no training patch touches.
    """
    read = not labeling.unlabeled
    return "photos:test" if read and monitor is None and data == "photos:train" else monitor


@contextmanager
def outputs(folder: RunFolder | None, config: PretrainConfig, name: str, *, quiet: bool) -> Iterator[Outputs]:
    """Open what a run writes to, for the time of a `with`."""
    path = None if folder is None else folder.path
    with words_to(path, quiet=quiet) as bar, MetricsWriter(path, config.logging, name) as metrics:
        yield Outputs(folder, metrics, bar)


def pipeline_of(config: PretrainConfig) -> Pipeline:
    """The views and labels that the method of a run asks for."""
    method = method_class(config.method)
    normalization, compiled = config.encoder.normalization, config.optim.compile
    return Pipeline(method.views(config), normalization, method.needs, compiled, method.draws(config))


def prepare(config: PretrainConfig, images: Images, seen: Survey, device: torch.device, outputs: Outputs) -> Run:
    """Decide what is held out for the monitor, and decode the images into memory if they fit.

    Args:
        config: of the run.
        images: what it trains on and is read on.
        seen: the survey of the images.
        device: of training.
        outputs: where the run writes.
    """
    workers = config.data.workers or min(16, machine.cores())
    images = _stretched(images, config.data.stretch)
    kept, bank, queries, sentence = split(images.source, images.monitor, config.seed, config.method.reads_labels)
    if config.patience is not None and bank is None:
        raise UserError(
            "--patience ends a run by its readings on labels, and there are none; give --labels or --monitor, or leave "
            "it out."
        )
    training = images.source if kept is None else images.source.subset(kept)
    for note in images.notes:
        log.info(note)
    if images.remark:
        log.warning(images.remark, extra={"style": "yellow"})
    log.info(f"monitor: {sentence}")
    folder = outputs.folder
    bad = BadImages(None if folder is None else folder.bad_images)
    decoded: Tensor | list[Tensor] | None = None
    if isinstance(training, TensorSource):
        decoded = training.images
    else:
        enough, why = _wanted_in_memory(config, seen)
        began = time.perf_counter()
        result: DecodedImages | None = None
        if enough:
            most = STOP_AT_SHARE * machine.free_memory(CPU) if config.data.memory == "auto" else math.inf
            try:
                result = decode_all(training, workers, shrink_side(config.inference_size()), most)
            except TooManyBytes as error:
                why = str(error)
            if distributed.any_rank(result is None, torch.device(config.device)):
                result = None
        # a resumed run must take the same way, whatever memory is free then: another would make other pixels
        config = replace(config, data__memory="always" if result is not None else "never")
        if result is not None:
            for line in result.bad:
                bad.add(line)
            if bank is images.source or (kept is not None and bank is not None and len(bank) == len(kept)):
                # what votes is what is in memory
                bank = result.source
            decoded, training = result.images, result.source
            log.info(f"images: {why}; decoded once in {time.perf_counter() - began:.1f} s")
        else:
            log.info(f"images: {why}; decoded anew each epoch by {workers} threads")
    if bad:
        were = "images could not be read and were" if len(bad) > 1 else "image could not be read and was"
        log.warning(f"{len(bad)} {were} left out", extra={"style": "yellow"})
    check(config, training)
    if isinstance(decoded, Tensor) and bank is training:
        bank = TensorSource(decoded, training.labels, training.classes, training.name, training.groups)
    storage = Storage(training, workers, decoded, bad.add)
    loader = Loader(storage, config, pipeline_of(config), device, distributed.member())
    monitor = None
    if bank is not None:
        passes = Passes(device, workers=workers, autocast=config.precision == "bf16")
        monitor = Monitor(bank, queries, Transform.of(config.read_encoder()), passes)
    return Run(config, device, loader, monitor, outputs, bad)


def _stretched(images: Images, limits: tuple[float, float] | None) -> Images:
    """The images of a run whose settings say that they use a small part of their range, stretched."""
    if limits is None:
        return images
    log.info(f"data.range: values {limits[0]:g} to {limits[1]:g} are stretched to all of the range")
    monitor = None if images.monitor is None else stretched(images.monitor, limits)
    return dataclasses.replace(images, source=stretched(images.source, limits), monitor=monitor)


def _wanted_in_memory(config: PretrainConfig, seen: Survey) -> tuple[bool, str]:
    """Whether images are decoded once and kept, and why; the same answer in every process."""
    if config.data.memory != "auto":
        return config.data.memory == "always", f"data.memory is {config.data.memory}"
    enough, why = fits(seen, machine.free_memory(CPU))
    return not distributed.any_rank(not enough, torch.device(config.device)), why


def probe(run: Run, number: int = 0) -> tuple[Tensor, Tensor]:
    """Two views T and T' of the same images, always the same: what the health measures look at.

    Other numbers give views of other images, as far as there are more.
    """
    config = replace(run.config, batch_size=min(PROBE_IMAGES, run.images), seed=0, optim__accumulate=1)
    augment, size = config.augment, config.image_size
    views = ViewSpec(augment.view1, size), ViewSpec(augment.view2, size)
    pipeline = dataclasses.replace(run.loader.pipeline, views=views, needs=frozenset())
    loader = Loader(run.loader.storage, config, pipeline, run.device)
    made = next(loader.batches(number, number + 1))[0].augmented().views
    view1, view2 = (view.contiguous(memory_format=torch.channels_last) for view in made)
    return view1, view2
