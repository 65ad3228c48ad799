"""Inpainting: what is missing in the holes of this image?"""

import dataclasses
from typing import Self

import torch
from torch import Tensor, nn

from byol.config.methods import InpaintingConfig
from byol.config.run import PretrainConfig
from byol.config.views import ViewSpec
from byol.methods.base import Ingredients, Method, TrainingSet
from byol.methods.decoder import Decoder
from byol.methods.maps import check_maps, feature_map, map_shape
from byol.methods.normalization import to_float32
from byol.methods.tiles import pick
from byol.runtime.distributed import all_reduce_mean


class Inpainting(Method):
    """Context encoders: feature learning by inpainting (arXiv:1604.07379, Section 3).

    The encoder sees an image with square holes in it, filled with the mean color; a decoder paints the whole image, and
    what it paints in the holes is compared with what was there: the reconstruction loss of Eq. 1. Between them lies a
    layer that connects all places of a channel (Section 3.1), or no place would know of what is far from it.

    Unlike in the paper, there is no adversarial term (weighed by 0.001 there; it makes pictures sharp, and their
    features were learned without it), and the decoder repeats values and convolves instead of transposed convolutions.

    Args:
        encoder: a network with feature maps.
        decoder: from its last map to images (N, C, S, S).
        holes: squares taken out of each image.
        side: of a hole, in pixels.
    """

    needs = frozenset({"draws"})

    def __init__(self, encoder: nn.Module, decoder: nn.Module, holes: int, side: int) -> None:
        super().__init__()
        self.encoder, self.projector, self.decoder = encoder, nn.Identity(), decoder
        self.holes, self.side = holes, side

    @classmethod
    def views(cls, config: PretrainConfig) -> tuple[ViewSpec, ...]:
        """One: a crop and perhaps a flip, in its own colors."""
        geometric = dataclasses.replace(config.augment.view1, jitter=0.0, gray=0.0, blur=0.0, solarize=0.0)
        return (ViewSpec(geometric, config.image_size),)

    @classmethod
    def draws(cls, config: PretrainConfig) -> int:
        """The holes' rows, then their columns."""
        assert isinstance(config.method, InpaintingConfig)
        return 2 * config.method.holes

    @classmethod
    def check(cls, config: PretrainConfig, data: TrainingSet) -> None:
        """An encoder with feature maps."""
        check_maps(config, map_shape(config.encoder, config.image_size))

    @classmethod
    def build(cls, config: InpaintingConfig, ingredients: Ingredients) -> Self:
        """The networks of a run; see `Method.build`."""
        (size,) = ingredients.view_sizes
        encoder, shape = ingredients.make_encoder(), map_shape(ingredients.encoder, size)
        assert shape is not None, "checked before anything is built"
        decoder = nn.Sequential(
            ChannelwiseLinear(*shape), Decoder(*shape, ingredients.encoder.channels, size, config.width)
        )
        side = max(1, round(config.hole * size))
        return cls(encoder, ingredients.with_first_weights(decoder), config.holes, side)

    def forward(self, view: Tensor, draws: Tensor) -> Tensor:
        """Mean squared error in the holes, of normalized values; 1 or so where nothing is known.

        Args:
            view: (N, C, S, S).
            draws: (N, 2 * holes) uniform in [0, 1).
        """
        missing = self.missing(view, draws)
        seen = view.masked_fill(missing, 0).contiguous(memory_format=torch.channels_last)  # 0 is the mean color
        painted = to_float32(self.decoder(feature_map(self.encoder, seen)))
        error = ((painted - view).square() * missing).mean()
        return error / all_reduce_mean(missing.float().mean())

    def missing(self, view: Tensor, draws: Tensor) -> Tensor:
        """Where the holes are, (N, 1, S, S) bool."""
        size = view.shape[2]
        along = torch.arange(size, device=view.device)
        starts = pick(draws, size - self.side + 1)[..., None]
        rows, columns = ((along >= starts) & (along < starts + self.side)).chunk(2, dim=1)
        return (rows[..., :, None] & columns[..., None, :]).any(1, keepdim=True)


class ChannelwiseLinear(nn.Module):
    """A linear layer over the places of each channel by itself: (N, D, side, side) -> the same (Section 3.1)."""

    def __init__(self, features: int, side: int) -> None:
        super().__init__()
        self.places = nn.Conv2d(features, features * side**2, side, groups=features)

    def forward(self, maps: Tensor) -> Tensor:
        """Each place becomes a weighted sum of all places of its channel."""
        told: Tensor = self.places(maps)
        return told.view(maps.shape)
