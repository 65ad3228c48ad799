"""Colorization: which colors does this gray image have?"""

import dataclasses
from collections.abc import Mapping
from functools import cache
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byol.config.methods import ColorizationConfig
from byol.config.run import PretrainConfig
from byol.config.views import Normalization, ViewSpec
from byol.errors import UserError
from byol.methods.base import Ingredients, Method, TrainingSet
from byol.methods.decoder import Decoder
from byol.methods.lightness import Colors, rgb_to_lab
from byol.methods.maps import check_maps, feature_map, map_shape
from byol.methods.normalization import to_float32
from byol.runtime.distributed import all_reduce_mean

GRID = 10
"""Side of a bin of the plane of a and b (Section 2.1)."""
NEIGHBORS = 5
"""Bins that a color is spread over (Section 2.1)."""
SIGMA = 5.0
"""Width of the Gaussian that spreads it, and of the one that smooths the colors' frequencies (Sections 2.1 and 2.2)."""
STRIDE = 4
"""Side of the image over that of the predicted colors (224 over 56 px)."""
GAMUT_STEPS = 86
"""Levels of red, green and blue from which the bins are found; more find no other bins."""


@cache
def color_bins() -> Tensor:
    """Centers (a, b) of the bins that sRGB has colors in: (261, 2) float32. The paper counts 313."""
    levels = torch.linspace(0, 1, GAMUT_STEPS, dtype=torch.float64)
    every = torch.cartesian_prod(levels, levels, levels).T.reshape(1, 3, GAMUT_STEPS**2, GAMUT_STEPS)
    colors = rgb_to_lab(every)[0, 1:].flatten(1).T
    bins: Tensor = torch.unique((colors / GRID).round(), dim=0)  # type: ignore[no-untyped-call]
    return GRID * bins.float()


def spread(colors: Tensor, bins: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest bins of each color, and how much of it each has (the soft encoding of Section 2.1).

    Args:
        colors: (M, 2), a and b.
        bins: (Q, 2), their centers.

    Returns:
        (M, 5) int64, and (M, 5) weights that add up to 1, the nearest bin first.
    """
    distances, nearest = torch.cdist(colors, bins).topk(NEIGHBORS, largest=False)
    return nearest, (-distances.square() / (2 * SIGMA**2)).softmax(1)


def class_weights(counts: Tensor, bins: Tensor, rebalance: float) -> Tensor:
    """How much a pixel of each bin counts (Eq. 4): (Q,), 1 on average over the colors that there are.

    Args:
        counts: (Q,), how often each bin was met.
        bins: (Q, 2), their centers.
        rebalance: 1 - lambda; with 0 all weights are 1.
    """
    kernel = (-torch.cdist(bins, bins).square() / (2 * SIGMA**2)).exp()
    frequencies = (kernel / kernel.sum(0)) @ (counts / counts.sum())
    weights = 1 / (rebalance * frequencies + (1 - rebalance) / len(bins))
    return weights / (frequencies * weights).sum()


class Colorization(Method):
    """Colorful image colorization (arXiv:1603.08511, Section 2).

    The encoder sees a gray image; a decoder tells for each place of a coarse map in which bin of CIE Lab's plane of
    colors it is. A color is spread over its five nearest bins, and rare colors count more (Eqs. 2 to 4).

    Unlike in the paper, the gray image is luma in three channels instead of L of Lab, so that the encoder takes images
    like any other: after every step its first convolution is changed so that it sees of a color its luma alone. The
    frequencies of colors are those of the training images seen so far instead of ImageNet's. A decoder on the last
    feature map takes the place of a network without stride; bins are those that sRGB has colors in, 261 instead of 313.

    Args:
        encoder: a network with feature maps.
        decoder: from its last map to a map of bins (N, 261, s, s).
        normalization: of the views.
        rebalance: 1 - lambda of Eq. 4.
    """

    bins: Tensor
    counts: Tensor

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, normalization: Normalization, rebalance: float = 0.5
    ) -> None:
        super().__init__()
        self.encoder, self.projector, self.decoder = encoder, nn.Identity(), decoder
        self.colors, self.rebalance = Colors(normalization), rebalance
        self.register_buffer("bins", color_bins().clone())
        self.register_buffer("counts", torch.zeros(len(self.bins)))
        """How much color each bin had so far."""
        self.colors.see_gray_alone(encoder)

    @classmethod
    def views(cls, config: PretrainConfig) -> tuple[ViewSpec, ...]:
        """One: a crop and perhaps a flip, in its own colors."""
        geometric = dataclasses.replace(config.augment.view1, jitter=0.0, gray=0.0, blur=0.0, solarize=0.0)
        return (ViewSpec(geometric, config.image_size),)

    @classmethod
    def check(cls, config: PretrainConfig, data: TrainingSet) -> None:
        """Images of color, and an encoder with feature maps."""
        if config.encoder.channels != 3:
            raise UserError(
                f"The method colorization needs images of color, but these have {config.encoder.channels} "
                f"channel{'s' * (config.encoder.channels > 1)}; give another --method."
            )
        check_maps(config, map_shape(config.encoder, config.image_size))

    @classmethod
    def build(cls, config: ColorizationConfig, ingredients: Ingredients) -> Self:
        """The networks of a run; see `Method.build`."""
        (size,) = ingredients.view_sizes
        encoder, shape = ingredients.make_encoder(), map_shape(ingredients.encoder, size)
        assert shape is not None, "checked before anything is built"
        decoder = Decoder(*shape, len(color_bins()), max(shape[1], size // STRIDE), config.width)
        normalization = ingredients.encoder.normalization
        return cls(encoder, ingredients.with_first_weights(decoder), normalization, config.rebalance)

    def forward(self, view: Tensor) -> Tensor:
        """Cross-entropy of the bins, rare ones weighed more: the mean over all places; (N, 3, S, S)."""
        gray = self.colors.gray(view).contiguous(memory_format=torch.channels_last)
        logits = to_float32(self.decoder(feature_map(self.encoder, gray)))
        with torch.autocast(view.device.type, enabled=False):
            colors = self.colors.lab(view)[:, 1:]
            small = F.adaptive_avg_pool2d(colors, (logits.shape[2], logits.shape[3])).permute(0, 2, 3, 1).reshape(-1, 2)
            return self.loss(logits.permute(0, 2, 3, 1).flatten(0, 2), small)

    def loss(self, logits: Tensor, colors: Tensor) -> Tensor:
        """The loss of places with logits (M, Q) and colors (M, 2); their bins are counted."""
        nearest, weights = spread(colors, self.bins)
        self._count(nearest, weights)
        told = (logits.log_softmax(1).gather(1, nearest) * weights).sum(1)
        rare = class_weights(self.counts, self.bins, self.rebalance)[nearest[:, 0]]
        return -(rare * told).mean()

    @torch.no_grad()
    def _count(self, nearest: Tensor, weights: Tensor) -> None:
        """Count the colors of the batch of all processes."""
        found = torch.zeros_like(self.counts).index_add_(0, nearest.flatten(), weights.flatten().to(self.counts.dtype))
        self.counts += all_reduce_mean(found)

    def after_step(self, scheduled: Mapping[str, float | Tensor]) -> None:
        """Have the encoder see gray alone."""
        self.colors.see_gray_alone(self.encoder)
