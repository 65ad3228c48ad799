"""The networks before the first update: what every measure of a run is compared with."""

import copy

import torch
from torch import Tensor, nn

from byol.data.transform import Transform
from byol.encoders.calibrate import CALIBRATION_IMAGES, calibrate_batch_norm
from byol.evals.calibration import calibrate_on
from byol.methods.base import Method
from byol.pretraining.health import PROBE_IMAGES, Health, measure, represent_with
from byol.pretraining.setup import Run, probe
from byol.pretraining.state import build_state


def look_at_start(run: Run, method: Method, views: tuple[Tensor, Tensor]) -> Health:
    """The measures of a method's networks at step 0, on two views of the same images.

    Batch norm of fresh weights sees views of training images first, without which an untrained network hardly tells
    images apart, and every run seems to learn. An encoder that was trained keeps its own averages.
    """
    encoder, projector = copy.deepcopy(method.encoder), copy.deepcopy(method.projector)
    others = [probe(run, number)[0] for number in range(1, 1 + CALIBRATION_IMAGES // PROBE_IMAGES)]
    bf16 = run.config.precision == "bf16"
    if run.config.encoder.weights is None:
        calibrate_batch_norm(encoder, others, bf16)
    represent = represent_with(encoder, nn.Identity())
    with run.autocast, torch.no_grad():
        features = [represent(view)[0] for view in others]
    calibrate_batch_norm(projector, features, bf16)
    with run.autocast:
        return measure(represent_with(encoder, projector), *views)


def start_encoder_of(run: Run) -> nn.Module:
    """The encoder that a run begins with, built again; where its weights are fresh, calibrated."""
    with torch.random.fork_rng(devices=[]):
        encoder = build_state(run.config, run.data, torch.device("cpu")).method.encoder
    encoder = encoder.to(run.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert isinstance(encoder, nn.Module)
    if run.config.encoder.weights is None:
        calibrate(run, encoder)
    return encoder


def calibrate(run: Run, encoder: nn.Module) -> None:
    """Let an untrained encoder's batch norm see training images, as evaluations show them."""
    calibrate_on(encoder, run.source, Transform.of(run.config.read_encoder()), run.passes)
