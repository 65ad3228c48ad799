"""PIRL: an image and its shuffled tiles have the same vector, which no other image has."""

from typing import Self

import torch
from torch import Tensor, nn

from byol.config.methods import PIRLConfig
from byol.config.run import PretrainConfig
from byol.encoders.build import feature_count
from byol.methods.base import Ingredients, Method, TrainingSet
from byol.methods.memory_bank import MemoryBank, draws_each
from byol.methods.normalization import normalize
from byol.methods.tiles import check_tiles, grid

CELLS = 3
"""Rows and columns of the puzzle."""
TILES = CELLS**2
TILE = 64 / 85
"""Side of a tile over that of its cell: 64 px of 85, a third of 255."""


def tile_side(view: int) -> int:
    """Side of a tile in pixels, for views of a side."""
    return int(view // CELLS * TILE)


class PIRL(Method):
    """Self-supervised learning of pretext-invariant representations (arXiv:1912.01991).

    A memory bank holds a vector for each image. Both the vector of a view of the image, f, and that of the nine
    shuffled tiles of another, g, must be told to be the image's among those of other images:

        weight * NCE(bank, g) + (1 - weight) * NCE(bank, f)

    The noise-contrastive loss is that of instance discrimination. g has a head of its own: a linear layer for each
    tile, and one for all nine in their shuffled order. The tiles' order is drawn from all orders.

    Unlike in the paper, negatives are drawn once for the batch, and the shuffled tiles come from the run's T', colors
    and all.

    Args:
        encoder: from images (N, C, S, S) to features (N, D) with an attribute `num_features` = D.
        projector: f, from features to vectors.
        jigsaw: g, from the features of nine tiles (N, 9, D) to vectors.
        bank: the memory bank.
        weight: lambda.
    """

    needs = frozenset({"index", "draws"})

    def __init__(
        self, encoder: nn.Module, projector: nn.Module, jigsaw: nn.Module, bank: MemoryBank, weight: float = 0.5
    ) -> None:
        super().__init__()
        self.encoder, self.projector, self.jigsaw, self.bank = encoder, projector, jigsaw, bank
        self.weight = weight

    @classmethod
    def draws(cls, config: PretrainConfig) -> int:
        """The places of the tiles, their order, and negatives."""
        assert isinstance(config.method, PIRLConfig)
        batch = config.batch_size // config.optim.accumulate
        return 3 * TILES + draws_each(config.method.negatives, batch)

    @classmethod
    def check(cls, config: PretrainConfig, data: TrainingSet) -> None:
        """Tiles that the encoder takes."""
        check_tiles(config, tile_side(config.image_size))

    @classmethod
    def build(cls, config: PIRLConfig, ingredients: Ingredients) -> Self:
        """The networks of a run and its memory bank; see `Method.build`."""
        encoder = ingredients.make_encoder()
        features = feature_count(encoder)
        projector = ingredients.with_first_weights(nn.Linear(features, config.output))
        jigsaw = ingredients.with_first_weights(TilesHead(features, config.output))
        bank = MemoryBank(
            ingredients.data.images,
            config.output,
            negatives=config.negatives,
            temperature=config.temperature,
            momentum=config.momentum,
        )
        method = cls(encoder, projector, jigsaw, bank, config.weight)
        method.lr_factors = {"projector": config.projector_lr, "jigsaw": config.projector_lr}
        return method

    def forward(self, view: Tensor, other: Tensor, index: Tensor, draws: Tensor) -> Tensor:
        """Noise-contrastive losses of view and tiles, weighed; the memory bank moves to the view's vectors.

        Args:
            view: (N, C, S, S).
            other: (N, C, S, S), which is cut into tiles.
            index: (N,) int64, the number of each image.
            draws: (N, 27 + negatives of each) uniform in [0, 1).
        """
        f = normalize(self.projector(self.encoder(view)))
        tiles = self.shuffled(other, draws[:, : 3 * TILES])
        images = tiles.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        g = normalize(self.jigsaw(self.encoder(images).unflatten(0, (len(view), TILES))))
        negatives = self.bank.drawn(draws[:, 3 * TILES :])
        loss = self.weight * self.bank.loss(g, index, negatives)
        loss = loss + (1 - self.weight) * self.bank.loss(f, index, negatives)
        self.bank.move(f, index)
        return loss

    def shuffled(self, images: Tensor, draws: Tensor) -> Tensor:
        """The tiles of images (N, C, S, S) in a random order, (N, 9, C, s, s); (N, 27) numbers are drawn."""
        places, keys = torch.split(draws, [2 * TILES, TILES], dim=1)
        tiles = grid(images, CELLS, tile_side(images.shape[2]), places)
        return tiles[torch.arange(len(images), device=images.device)[:, None], keys.argsort(1)]


class TilesHead(nn.Module):
    """From the features of nine tiles to one vector."""

    def __init__(self, features: int, size: int) -> None:
        super().__init__()
        self.each, self.all = nn.Linear(features, size), nn.Linear(TILES * size, size)

    def forward(self, features: Tensor) -> Tensor:
        """(N, 9, D) -> (N, size)."""
        vectors: Tensor = self.all(self.each(features).flatten(1))
        return vectors
