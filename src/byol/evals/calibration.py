"""Untrained encoders see some images before they are evaluated: the baseline that training must beat."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from byol.data.sample import evenly
from byol.data.sources.open import Source
from byol.data.transform import Transform
from byol.encoders.calibrate import CALIBRATION_IMAGES, calibrate_batch_norm
from byol.encoders.load import LoadedEncoder
from byol.evals.features import Passes, crops_in_order
from byol.runtime.device import cores


def calibrated(encoder: LoadedEncoder, source: Source, device: torch.device) -> LoadedEncoder:
    """An untrained encoder after its batch norm has seen images of a source; its weights are the same."""

    def calibrate(module: nn.Module) -> None:
        module.to(device)
        calibrate_on(module, source, encoder.transform, Passes(device, workers=cores()))
        module.cpu()

    return encoder.calibrated(calibrate)


def calibrate_on(encoder: nn.Module, source: Source, transform: Transform, passes: Passes) -> None:
    """Set the averages of an encoder's batch norm to those of up to `CALIBRATION_IMAGES` images of a source.

    Args:
        encoder: on the device of `passes`; no weight is changed.
        source: training images, of which some are taken at even distances.
        transform: how images are cropped and normalized.
        passes: how the forward passes are computed.
    """
    some = source.subset(evenly(len(source), CALIBRATION_IMAGES))

    def batches() -> Iterator[Tensor]:
        for _, images in crops_in_order(some, transform, passes.batch_size, passes.workers):
            if len(images) > 1:  # one image has no variance
                yield transform.normalize(images.to(passes.device))

    calibrate_batch_norm(encoder, batches(), passes.autocast)
