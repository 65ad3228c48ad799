"""Rotation prediction: by which of four turns was the image rotated?"""

import dataclasses
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byol.config.methods import RotationConfig
from byol.config.run import PretrainConfig
from byol.config.views import ViewSpec
from byol.encoders.build import feature_count
from byol.methods.base import Ingredients, Method
from byol.methods.normalization import to_float32

TURNS = 4
"""Rotations by 0, 90, 180 and 270 degrees (arXiv:1803.07728, Section 2.2)."""


def rotated(images: Tensor) -> Tensor:
    """Square images (N, C, S, S) in each of four turns, (4 N, C, S, S): all without a turn first, then all by 90..."""
    return torch.cat([images.rot90(turn, dims=(2, 3)) for turn in range(TURNS)])


class Rotation(Method):
    """Unsupervised representation learning by predicting image rotations (arXiv:1803.07728).

    All four turns of an image are in the same batch, as the paper found best (Section 3.1).

    Args:
        encoder: from images (N, C, S, S) to features (N, D) with an attribute `num_features` = D.
    """

    views_agree = False  # an image and its turn are to be told apart

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.projector = encoder, nn.Identity()
        self.classifier = nn.Linear(feature_count(encoder), TURNS)

    @classmethod
    def views(cls, config: PretrainConfig) -> tuple[ViewSpec, ...]:
        """One: a crop and perhaps a horizontal flip; without a vertical flip, which is half of a turn."""
        geometric = dataclasses.replace(
            config.augment.view1, vertical_flip=0.0, jitter=0.0, gray=0.0, blur=0.0, solarize=0.0
        )
        return (ViewSpec(geometric, config.image_size),)

    @classmethod
    def build(cls, config: RotationConfig, ingredients: Ingredients) -> Self:
        """The network of a run; see `Method.build`."""
        method = cls(ingredients.make_encoder())
        ingredients.with_first_weights(method.classifier)
        return method

    def forward(self, view: Tensor) -> Tensor:
        """Cross-entropy of the four turns, averaged; (N, C, S, S). ln 4 where nothing is told apart."""
        turns = torch.arange(TURNS, device=view.device).repeat_interleave(len(view))
        images = rotated(view).contiguous(memory_format=torch.channels_last)
        return F.cross_entropy(to_float32(self.classifier(self.encoder(images))), turns)
