"""bf16 or float32 on a processor: two updates of the run's own encoder are timed in each.

Matrix products and plain convolutions gain by bf16 where a processor multiplies it. The backward pass of depthwise
convolutions (EfficientNet, MobileNet, GhostNet) loses, in PyTorch 2.14 at least.
"""

import time
from functools import cache

import torch
from torch import Tensor, nn

from byol.config.encoder import EncoderSpec
from byol.config.run import Precision, PretrainConfig
from byol.encoders.build import features_of, make_encoder
from byol.runtime import device as machine
from byol.runtime import distributed

FIRST_IMAGES = 4
"""Images of the first updates, which are not counted: memory is taken and kernels are chosen in them."""
MOST_IMAGES = 32
"""Images of the timed updates at most: a processor's speed per image hardly changes from there on."""
SECONDS = 0.3
"""Time that a timed update should take at most, by its number of images."""
LONG = 3.0
"""Seconds of a first update from which on the first ones are enough: what they do once is a small part of them."""
UPDATES = 2
"""Timed updates of each precision, by turns; the faster one counts. There are more where they are short."""
SHORT_SECONDS = 0.1
"""Time that the updates of one precision should take together at least."""
MARGIN = 1.1
"""Times as fast as bf16 that float32 must be: about equal figures should choose alike from run to run."""


def faster_precision(config: PretrainConfig, device: torch.device) -> tuple[Precision, str]:
    """The precision in which the encoder of a run learns faster, and the reason with both figures.

    A process that asks again gets the same answer: a plan, and the run of the same words after it.

    Args:
        config: of the run; its encoder takes images of its size.
        device: a processor that multiplies bf16.
    """
    most = max(2, min(MOST_IMAGES, config.batch_size // config.optim.accumulate // distributed.world_size()))
    return _timed(config.encoder.untrained(), config.image_size, most, device)


@cache
def _timed(spec: EncoderSpec, side: int, most: int, device: torch.device) -> tuple[Precision, str]:
    with torch.random.fork_rng(devices=[]):
        encoder = make_encoder(spec).to(memory_format=torch.channels_last).train()
        few = min(FIRST_IMAGES, most)
        images = torch.randn(most, spec.channels, side, side).to(memory_format=torch.channels_last)
        turns = [_turn(encoder, images[:few])]
        slowest, count = max(turns[0]), few
        if not distributed.any_rank(slowest >= LONG, device):  # all processes take one way: there are reductions in it
            count = distributed.all_reduce_min(min(most, max(few, int(few * SECONDS / slowest))), device)
            again = _turn(encoder, images[:count])  # another number of images chooses kernels again
            more = max(UPDATES, int(SHORT_SECONDS / max(again)))
            turns = [_turn(encoder, images[:count]) for _ in range(distributed.all_reduce_min(more, device))]
    bf16, float32 = distributed.mean(torch.tensor(turns).amin(0)).tolist()
    chosen: Precision = "float32" if MARGIN * float32 < bf16 else "bf16"
    return chosen, (
        f"an update of this encoder with {count} images takes {_in_milliseconds(bf16)} in bf16 and "
        f"{_in_milliseconds(float32)} in float32, timed here"
    )


def _turn(encoder: nn.Module, images: Tensor) -> tuple[float, float]:
    """Time of an update in bf16, and in float32."""
    return _update_seconds(encoder, images, True), _update_seconds(encoder, images, False)


def _in_milliseconds(seconds: float) -> str:
    return f"{float(f'{1000 * seconds:.3g}'):g} ms"


def _update_seconds(encoder: nn.Module, images: Tensor, bf16: bool) -> float:
    """Time of a forward and a backward pass."""
    began = time.perf_counter()
    with machine.autocast(images.device, bf16):
        features = features_of(encoder, images)
    features.square().mean().backward()  # type: ignore[no-untyped-call]
    encoder.zero_grad()
    return time.perf_counter() - began
