"""Before the first step: what can be known to be wrong, what is kept aside, and what fits into memory."""

import os
import shutil
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.data.loader import Loader, shrink_side
from byol.data.memory import decode_all, fits
from byol.data.sources.open import Source, TensorSource
from byol.data.survey import Survey
from byol.data.transform import Transform
from byol.encoders.build import fixed_input_size, make_encoder, unsupported_reason
from byol.errors import UserError
from byol.pretraining.health import PROBE_IMAGES
from byol.pretraining.monitor import Monitor, split
from byol.pretraining.run_folder import BadImages, RunFolder
from byol.runtime import device as machine
from byol.runtime import distributed
from byol.runtime.activation_checkpointing import recompute
from byol.runtime.metrics import RunLog


@dataclass
class Run:
    """What stays the same while a run goes on."""

    config: PretrainConfig
    device: torch.device
    loader: Loader
    monitor: Monitor | None
    folder: RunFolder | None
    """None in processes that write nothing."""
    bad: BadImages
    channels: int

    @property
    def images(self) -> int:
        return len(self.loader.source)

    @property
    def classes(self) -> int | None:
        """How many labels there are, where training asks for them."""
        labels = self.loader.source.labels
        return max(labels) + 1 if self.config.method == "supervised" and labels else None

    @property
    def autocast(self) -> AbstractContextManager[object]:
        return machine.autocast(self.device, self.config.precision == "bf16")


def check(config: PretrainConfig, source: Source) -> None:
    """What can be known to be wrong before anything is decoded."""
    if len(source) < 2:
        raise UserError(f"{source.name!r} has a single image, but training takes 2 or more.")
    if len(source) < config.batch_size:
        raise UserError(
            f"{source.name!r} has {len(source)} images, fewer than one batch of {config.batch_size}; "
            f"give --batch-size {max(2, len(source) // 2)} or less, or more images."
        )
    parts = config.optim.accumulate * distributed.world_size()
    if config.batch_size % parts or config.batch_size // parts < 2:
        raise UserError(
            f"A batch of {config.batch_size} cannot be split among {distributed.world_size()} processes with "
            f"{config.optim.accumulate} micro-batches each; give a multiple of {parts}, at least {2 * parts}."
        )
    if config.method == "supervised":
        _check_labels(source)
    if config.method == "moco":
        _check_moco(config, len(source))
    _check_encoder(config, source.channels)
    if config.optim.compile:
        _check_compiler()
    if config.optim.cuda_graph:
        _check_recordable(config)
    if len(config.augment.mean) != source.channels:
        raise UserError(
            f"The images have {source.channels} channels, but augment.mean has {len(config.augment.mean)} values; give "
            "--data.channels 3, or --augment.mean and --augment.std with a value per channel."
        )


def _check_encoder(config: PretrainConfig, channels: int) -> None:
    """An unknown or unfit encoder is told before a folder is made."""
    name, width, stem = config.encoder, config.network.width, config.network.stem
    for flag, size in (("--image-size", config.image_size), ("--eval-size", config.inference_size())):
        if why := unsupported_reason(name, size, width=width, stem=stem, in_chans=channels):
            bound = fixed_input_size(name)
            there = f"{flag} {bound}" if bound else f"a larger {flag}, or another --encoder"
            raise UserError(f"The encoder {name!r} takes no images of {size} px ({why}); give {there}.")
    if config.optim.recompute:
        with torch.device("meta"):
            recompute(make_encoder(name, width=width, stem=stem, in_chans=channels), name)


def _check_labels(source: Source) -> None:
    if source.labels is None:
        found = f"no labels ({source.remark})" if source.remark else "no labels"
    elif len(set(source.labels)) < 2:
        found = "one class only"
    elif not 0 <= min(source.labels) <= max(source.labels) < len(source):
        found = f"labels from {min(source.labels)} to {max(source.labels)}, which do not count classes from 0 on"
    else:
        return
    raise UserError(
        f"The method supervised learns from labels, but {source.name!r} has {found}; give a folder with a sub-folder "
        "per class, Parquet with a label column, or another --method."
    )


def _check_compiler() -> None:
    """torch.compile needs one where a processor trains, and was tried in one process only."""
    if distributed.world_size() > 1:
        raise UserError("optim.compile is for one process; leave it out, or start without torchrun.")
    if not any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++", "cl")):
        raise UserError("optim.compile needs a C++ compiler (g++ or clang++); install one, or leave it out.")


def _check_recordable(config: PretrainConfig) -> None:
    """A CUDA graph needs a GPU, one process, and a method that does the same at every step."""
    if config.device != "cuda" or torch.version.hip:  # AMD's matrix products are tied to the stream of their first call
        raise UserError("optim.cuda_graph is for a GPU of NVIDIA's; leave it out here.")
    if distributed.world_size() > 1:
        raise UserError("optim.cuda_graph is for one process; leave it out, or start without torchrun.")
    if config.method == "moco":
        raise UserError("optim.cuda_graph is not for the method moco, whose queue moves with every step; leave it out.")


def _check_moco(config: PretrainConfig, images: int) -> None:
    moco = config.moco
    fitting = max(config.batch_size, 2 ** (min(images, 65536).bit_length() - 1))
    if not config.batch_size <= moco.queue <= images:
        raise UserError(
            f"moco.queue is {moco.queue}, but must be at least the batch size {config.batch_size}, and at most the "
            f"number of images, {images}, or an image meets its own former keys; give --moco.queue {fitting}."
        )
    micro = config.batch_size // config.optim.accumulate
    one_process = distributed.world_size() == 1
    if one_process and moco.shuffle and (micro % moco.splits or micro // moco.splits < 2):
        raise UserError(
            f"moco.splits is {moco.splits}, but must divide a batch of {micro} into parts of 2 images or more; give "
            "another --moco.splits, or --moco.no-shuffle."
        )


def prepare(
    config: PretrainConfig,
    source: Source,
    watched: Source | None,
    seen: Survey,
    device: torch.device,
    folder: RunFolder | None,
    log: RunLog,
) -> Run:
    """Decide what is kept aside for the monitor, and bring the images into memory if they fit."""
    workers = config.data.workers or min(16, machine.cores())
    kept, bank, queries, sentence = split(source, watched, config.seed)
    training = source if kept is None else source.subset(kept)
    if kept is not None and config.method != "supervised":
        sentence += " (the labels themselves are never used for it)"
    log.say(f"monitor: {sentence}")
    bad = BadImages(None if folder is None else folder.bad_images)
    held: Tensor | list[Tensor] | None = None
    if isinstance(training, TensorSource):
        held = training.images
    else:
        enough, why = _wanted_in_memory(config, seen)
        # a resumed run must take the same way, whatever memory is free then: another would make other pixels
        config = replace(config, data__memory="always" if enough else "never")
        if enough:
            began = time.perf_counter()
            result = decode_all(training, workers, shrink_side(config.inference_size()))
            for line in result.bad:
                bad.add(line)
            if bank is source or kept is not None:  # what votes is what is in memory
                bank = result.source
            held, training = result.images, result.source
            log.say(f"images: {why}; decoded once in {time.perf_counter() - began:.1f} s")
        else:
            log.say(f"images: {why}; decoded anew each epoch by {workers} threads")
    if bad:
        where = f", listed in {folder.bad_images}" if folder is not None else ""
        were = "images could not be read and were" if len(bad) > 1 else "image could not be read and was"
        log.say(f"{len(bad)} {were} left out{where}", style="yellow")
    check(config, training)
    if isinstance(held, Tensor) and bank is training:
        bank = TensorSource(held, training.labels, training.classes, name=training.name)
    loader = Loader(
        source=training,
        config=config,
        device=device,
        workers=workers,
        held=held,
        rank=distributed.rank(),
        world_size=distributed.world_size(),
        on_bad=bad.add,
    )
    monitor = None
    if bank is not None and queries is not None:
        transform = Transform(image_size=config.inference_size(), mean=config.augment.mean, std=config.augment.std)
        monitor = Monitor(bank, queries, transform, device, workers, autocast=config.precision == "bf16")
    return Run(config, device, loader, monitor, folder, bad, source.channels)


def _wanted_in_memory(config: PretrainConfig, seen: Survey) -> tuple[bool, str]:
    """Whether images are decoded once and kept, and why; the same answer in every process."""
    if config.data.memory != "auto":
        return config.data.memory == "always", f"data.memory is {config.data.memory}"
    enough, why = fits(seen, machine.free_memory(torch.device("cpu")))
    return not distributed.any_rank(not enough, torch.device(config.device)), why


def probe(run: Run) -> tuple[Tensor, Tensor]:
    """Two views of the same images, always the same: what the health measures look at."""
    count = min(PROBE_IMAGES, run.images)
    config = replace(run.config, batch_size=count, seed=0, optim__accumulate=1)
    loader = Loader(run.loader.source, config, run.device, run.loader.workers, run.loader.held, on_bad=run.bad.add)
    batch = next(loader.batches(0, 1))[0]
    return batch.views(config)


def describe_data(source: Source, seen: Survey) -> str:
    size = f"{seen.width_median} x {seen.height_median} px" + ("" if seen.same_size else " in the median")
    labels = "" if source.labels is None else f", {len(set(source.labels))} classes"
    bad = f", {seen.bad} of {seen.sampled} looked at cannot be read" if seen.bad else ""
    color = {1: "gray", 3: "color"}.get(seen.channels, f"{seen.channels} channels")
    remark = f"; {source.remark}" if source.remark else ""
    return f"{source.name}: {seen.count} images, {size}, {color}, {seen.depth}{labels}{bad}{remark}"
