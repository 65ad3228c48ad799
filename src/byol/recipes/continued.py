"""What `auto` chooses for an encoder that starts from weights: its rate, its batch norm, the size of the images.

Chosen on sets that no figure of docs/weights.md is of (benchmarks/continued.py).
"""

from byol.config.adapt import AdaptConfig

LEAST_SIZE = {False: 96, True: 128}
"""Sides, in pixels, that smaller images are enlarged to on a processor and on a GPU for weights that were trained on
larger ones: EfficientNet-lite0's 20-NN accuracy on ten classes of Tiny-ImageNet, which has 64 px, is 73 % at 64 px,
78 % at 96 and 84 % at 128 (benchmarks/results/continued-sizes.json)."""
ENCODER_LR = 0.1
"""Factor on the encoder's rate (benchmarks/continued.py)."""
LEAST_TAU = 0.99
"""Base tau, at least. With it, and with a predictor that learns as fast as the projector, more was gained."""
TRANSFORMER_DECAY = 0.9
"""Layer decay of encoders without batch norm: that of DINOv3's adaptation to other images, and of LightlyTrain's."""
FROZEN = 0.1
"""Share of the updates in which the new heads learn alone; published recipes have 5 to 40 % (docs/weights.md)."""


def continued(batch_norm: bool) -> AdaptConfig:
    """How far an encoder may move away from the weights that it starts from; `batch_norm`: whether it has some."""
    if batch_norm:
        return AdaptConfig(lr=ENCODER_LR, frozen=FROZEN, batch_norm="eval")
    return AdaptConfig(lr=ENCODER_LR, frozen=FROZEN, layer_decay=TRANSFORMER_DECAY)


def continued_reasons(adapt: AdaptConfig) -> list[str]:
    """Why it is trained as it is, in sentences; none where it is trained as from fresh weights."""
    if adapt == AdaptConfig():
        return []
    also = (
        "its batch norm as it came" if adapt.keeps_averages else f"{adapt.layer_decay:g} times less from block to block"
    )
    return [
        f"the encoder's rate times {adapt.lr:g}, after {adapt.frozen:.0%} of the updates in which the new heads learn "
        f"alone, and {also}: at the rate of fresh weights it would forget what it knows (docs/weights.md)"
    ]


def for_weights(size: tuple[int, str], trained: int | None, on_gpu: bool) -> tuple[int, str]:
    """The image size for an encoder that starts from weights: small images are enlarged towards what it was trained on.

    Args:
        size: what would be chosen from fresh weights, and why.
        trained: side of the images that the weights were trained with, in pixels; None where nothing tells.
        on_gpu: whether there is a GPU.
    """
    least = min(LEAST_SIZE[on_gpu], trained or LEAST_SIZE[on_gpu])
    if size[0] >= least:
        return size
    size_of = f"{trained} px" if trained else "larger images"
    return least, f"the images are enlarged to it: the weights were trained on {size_of}"
