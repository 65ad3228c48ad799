"""VAE: describe an image in a few numbers, and paint it from them."""

import dataclasses
import math
from typing import Self

import torch
from torch import Tensor, nn

from byol.config.methods import VAEConfig
from byol.config.run import PretrainConfig
from byol.config.views import ViewSpec
from byol.encoders.build import feature_count
from byol.methods.base import Ingredients, Method
from byol.methods.decoder import Decoder
from byol.methods.normalization import to_float32

START = 4
"""Side of the map that the decoder begins with."""
EDGE = 1e-6
"""Draws are kept so far from 0 and 1, where the normal they stand for is infinite."""


class VAE(Method):
    """Auto-encoding variational Bayes (arXiv:1312.6114).

    A linear layer on the features gives a normal distribution q of latent numbers; a decoder paints the image from a
    draw of it. The loss is the negative evidence lower bound (Eq. 10), divided by the number of values of an image:

        |view - painted|^2 / (2 spread^2) + divergence * KL(q | standard normal)

    It works on pixels: what is learned is what the painted image needs, such as positions and colors. That is the
    point of having it beside the others.

    Args:
        encoder: from images (N, C, S, S) to features (N, D) with an attribute `num_features` = D.
        projector: from features to means of the latent numbers.
        log_variance: from features to the logarithms of their variances.
        decoder: from latent numbers to images.
        divergence: weight of the divergence.
        spread: of the pixels around what is painted.
    """

    needs = frozenset({"draws"})

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module,
        log_variance: nn.Module,
        decoder: nn.Module,
        *,
        divergence: float = 1.0,
        spread: float = 0.5,
    ) -> None:
        super().__init__()
        self.encoder, self.projector = encoder, projector
        self.log_variance, self.decoder = log_variance, decoder
        self.divergence, self.spread = divergence, spread

    @classmethod
    def views(cls, config: PretrainConfig) -> tuple[ViewSpec, ...]:
        """One: a crop and perhaps a flip, in its own colors."""
        geometric = dataclasses.replace(config.augment.view1, jitter=0.0, gray=0.0, blur=0.0, solarize=0.0)
        return (ViewSpec(geometric, config.image_size),)

    @classmethod
    def draws(cls, config: PretrainConfig) -> int:
        """The latent numbers, as places in the normal distribution."""
        assert isinstance(config.method, VAEConfig)
        return config.method.latent

    @classmethod
    def build(cls, config: VAEConfig, ingredients: Ingredients) -> Self:
        """The networks of a run; see `Method.build`."""
        (size,) = ingredients.view_sizes
        encoder = ingredients.make_encoder()
        mean, log_variance = (nn.Linear(feature_count(encoder), config.latent) for _ in range(2))
        decoder = nn.Sequential(
            nn.Linear(config.latent, config.width * START**2),
            nn.Unflatten(1, (config.width, START, START)),
            Decoder(config.width, START, ingredients.encoder.channels, size, config.width),
        )
        for head in (mean, log_variance, decoder):
            ingredients.with_first_weights(head)
        return cls(encoder, mean, log_variance, decoder, divergence=config.divergence, spread=config.spread)

    def forward(self, view: Tensor, draws: Tensor) -> Tensor:
        """Negative evidence lower bound of a value, without its constant; averaged.

        Args:
            view: (N, C, S, S).
            draws: (N, latent) uniform in [0, 1).
        """
        features = self.encoder(view)
        mean, log_variance = to_float32(self.projector(features)), to_float32(self.log_variance(features))
        noise = standard_normal(draws.to(mean.dtype))
        painted = to_float32(self.decoder(mean + noise * (log_variance / 2).exp()))
        error = (painted - view).square().mean() / (2 * self.spread**2)
        return error + self.divergence * divergence(mean, log_variance) * len(view) / view.numel()


def standard_normal(uniform: Tensor) -> Tensor:
    """Numbers of the standard normal distribution, at given places of its distribution function."""
    return math.sqrt(2) * torch.erfinv(2 * uniform.clamp(EDGE, 1 - EDGE) - 1)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence of normals (N, D) from the standard one, summed over D, averaged (Appendix B)."""
    return (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean() / 2
