"""CMC: which colors belong to which gray image? Two encoders, one of light and one of color."""

import dataclasses
from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn

from byol.config.methods import CMCConfig
from byol.config.run import PretrainConfig
from byol.config.views import Normalization, ViewSpec
from byol.encoders.build import feature_count
from byol.errors import UserError
from byol.methods.base import Ingredients, Method, TrainingSet
from byol.methods.lightness import Colors
from byol.methods.memory_bank import MemoryBank, draws_each
from byol.methods.normalization import normalize

COLOR_SCALE = 25.0
"""What a and b of CIE Lab are divided by before an encoder sees them: about their spread in photographs."""


class CMC(Method):
    """Contrastive multiview coding (arXiv:1906.05849), with the views L and ab of an image.

    Two encoders see the light and the colors of the same crop. The vector of the light must be told to be the image's
    among vectors of colors in a memory bank, and the vector of the colors among those of lights: both directions of the
    two-view loss, with the noise-contrastive estimate of instance discrimination.

    Unlike in the paper, what is exported and evaluated is the encoder of the light alone, which takes images like any
    other (gray images have luma in three channels, and after every step its first convolution is changed so that it
    sees of a color its luma alone); the paper puts the features of both halves, of half the width each, side by side.
    Negatives are drawn once for the batch.

    Args:
        encoder: of the light: from images (N, 3, S, S) to features.
        projector: from its features to vectors.
        color_encoder: from the colors (N, 2, S, S) to features.
        color_projector: from its features to vectors of the same size.
        banks: of light, then of color.
        normalization: of the views.
    """

    needs = frozenset({"index", "draws"})

    def __init__(
        self,
        light: tuple[nn.Module, nn.Module],
        color: tuple[nn.Module, nn.Module],
        banks: tuple[MemoryBank, MemoryBank],
        normalization: Normalization,
    ) -> None:
        super().__init__()
        self.encoder, self.projector = light
        self.color_encoder, self.color_projector = color
        self.light_bank, self.color_bank = banks
        self.colors = Colors(normalization)
        self.colors.see_gray_alone(self.encoder)

    @classmethod
    def views(cls, config: PretrainConfig) -> tuple[ViewSpec, ...]:
        """One, by T without what takes the colors away."""
        colored = dataclasses.replace(config.augment.view1, gray=0.0, solarize=0.0)
        return (ViewSpec(colored, config.image_size),)

    @classmethod
    def draws(cls, config: PretrainConfig) -> int:
        """Negatives."""
        assert isinstance(config.method, CMCConfig)
        return draws_each(config.method.negatives, config.batch_size // config.optim.accumulate)

    @classmethod
    def check(cls, config: PretrainConfig, data: TrainingSet) -> None:
        """Images of color."""
        if config.encoder.channels != 3:
            raise UserError(
                f"The method cmc needs images of color, but these have {config.encoder.channels} "
                f"channel{'s' * (config.encoder.channels > 1)}; give another --method."
            )

    @classmethod
    def build(cls, config: CMCConfig, ingredients: Ingredients) -> Self:
        """The networks of a run and the memory banks; see `Method.build`."""

        def network(encoder: nn.Module) -> tuple[nn.Module, nn.Module]:
            return encoder, ingredients.with_first_weights(nn.Linear(feature_count(encoder), config.output))

        def bank() -> MemoryBank:
            return MemoryBank(
                ingredients.data.images,
                config.output,
                negatives=config.negatives,
                temperature=config.temperature,
                momentum=config.momentum,
            )

        light, color = network(ingredients.make_encoder()), network(ingredients.make_encoder(channels=2))
        method = cls(light, color, (bank(), bank()), ingredients.encoder.normalization)
        method.lr_factors = {"projector": config.projector_lr, "color_projector": config.projector_lr}
        return method

    def forward(self, view: Tensor, index: Tensor, draws: Tensor) -> Tensor:
        """Noise-contrastive losses of both directions, added; both memory banks move.

        Args:
            view: (N, 3, S, S).
            index: (N,) int64, the number of each image.
            draws: (N, negatives of each) uniform in [0, 1).
        """
        gray, color = self.light_and_color(view)
        light = normalize(self.projector(self.encoder(gray)))
        colored = normalize(self.color_projector(self.color_encoder(color)))
        loss = self.color_bank.loss(light, index, self.color_bank.drawn(draws))
        loss = loss + self.light_bank.loss(colored, index, self.light_bank.drawn(draws))
        self.light_bank.move(light, index)
        self.color_bank.move(colored, index)
        return loss

    def light_and_color(self, view: Tensor) -> tuple[Tensor, Tensor]:
        """What the two encoders see: (N, 3, S, S) gray, and (N, 2, S, S) colors."""
        colors = self.colors.lab(view)[:, 1:] / COLOR_SCALE
        images = self.colors.gray(view), colors.to(view.dtype)
        gray, color = (image.contiguous(memory_format=torch.channels_last) for image in images)
        return gray, color

    def after_step(self, scheduled: Mapping[str, float | Tensor]) -> None:
        """Have the encoder see gray alone."""
        self.colors.see_gray_alone(self.encoder)
