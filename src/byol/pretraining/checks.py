"""What can be known to be wrong before anything is decoded or built: one sentence each."""

import os
import shutil

import torch

from byol.config.run import PretrainConfig
from byol.data.sources.open import Source
from byol.encoders.build import make_encoder
from byol.encoders.sizes import check_size
from byol.errors import UserError
from byol.methods.base import Method, TrainingSet
from byol.methods.table import method_class
from byol.runtime import distributed
from byol.runtime.activation_checkpointing import checkpoint_activations


def training_set(source: Source) -> TrainingSet:
    """What is known of the images of a source that are trained on."""
    return TrainingSet(len(source), source.labels, source.remark, source.name, distributed.world_size())


def check(config: PretrainConfig, source: Source) -> None:
    """See that a run can start.

    Raises:
        UserError: it cannot.
    """
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
    method = method_class(config.method)
    method.check(config, training_set(source))
    if config.encoder.channels != source.channels:
        raise UserError(
            f"The images have {source.channels} channels, but encoder.mean has {config.encoder.channels} values; give "
            "--data.channels 3, or --encoder.mean and --encoder.std with a value per channel."
        )
    _check_encoder(config)
    if config.encoder.weights is None and (config.adapt.keeps_averages or config.adapt.trains != "all"):
        which = "batch-norm eval" if config.adapt.keeps_averages else f"trains {config.adapt.trains}"
        raise UserError(f"--adapt.{which} is for an encoder that starts from weights; give --weights, or leave it out.")
    if config.optim.compile:
        _check_compiler()
    if config.optim.cuda_graph:
        _check_cuda_graph(config, method)


def _check_encoder(config: PretrainConfig) -> None:
    """An encoder that is unknown, or takes no images of the views' sizes or of the size that it is made for."""
    spec = config.encoder
    local = {view.size for view in method_class(config.method).views(config)} - {config.image_size}
    check_size(spec, config.image_size, "--image-size")
    for size in sorted(local):
        check_size(spec, size, "--method.local-size")
    check_size(spec, config.inference_size(), "--encoder.input-size")
    if config.optim.activation_checkpointing:
        with torch.device("meta"):
            checkpoint_activations(make_encoder(spec.untrained()), spec.name)


def _check_compiler() -> None:
    """torch.compile needs a compiler on a CPU, and was tried in one process only."""
    if distributed.world_size() > 1:
        raise UserError("optim.compile is for one process; leave it out, or start without torchrun.")
    if not any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++", "cl")):
        raise UserError("optim.compile needs a C++ compiler (g++ or clang++); install one, or leave it out.")


def _check_cuda_graph(config: PretrainConfig, method: type[Method]) -> None:
    """A CUDA graph needs a GPU of NVIDIA's, one process, and a method that does the same at every step."""
    if config.device != "cuda" or torch.version.hip:  # AMD's matrix products are tied to the stream of their first call
        raise UserError("optim.cuda_graph is for a GPU of NVIDIA's; leave it out here.")
    if distributed.world_size() > 1:
        raise UserError("optim.cuda_graph is for one process; leave it out, or start without torchrun.")
    if not method.capturable:
        raise UserError(
            f"optim.cuda_graph is not for the method {config.method.name}, whose memory moves with every step; leave "
            "it out."
        )
