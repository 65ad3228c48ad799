"""Jigsaw: in which order were nine tiles of the image shuffled?"""

import dataclasses
from functools import cache
from itertools import chain, permutations
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byol.augment.color import GRAY_WEIGHTS
from byol.config.methods import JigsawConfig
from byol.config.run import PretrainConfig
from byol.config.views import ViewSpec
from byol.encoders.build import feature_count
from byol.methods.base import Ingredients, Method, TrainingSet
from byol.methods.normalization import to_float32
from byol.methods.tiles import check_tiles, grid, pick, standardized

CELLS = 3
"""Rows and columns of the puzzle."""
TILES = CELLS**2
TILE = 64 / 75
"""Side of a tile over that of its cell (64 px of 75)."""
FRINGE = 2 / 225
"""Farthest that a color channel is shifted, over the side of the view (2 px of 225)."""
CHANNELS_SHIFTED = 3
DRAWN = {"order": 1, "gray": 1, "places": 2 * TILES, "fringes": 2 * CHANNELS_SHIFTED}
"""Numbers drawn for each image."""


def tile_side(view: int) -> int:
    """Side of a tile in pixels, for views of a side."""
    return int(view // CELLS * TILE)


@cache
def distant_permutations(count: int, tiles: int = TILES) -> Tensor:
    """Orders that differ in as many places as can be had: (count, tiles) int64 (Algorithm 1).

    The first is the identity, where the paper draws one; each next one has the largest sum of Hamming distances to all
    before it, the first such in the order of the dictionary.
    """
    every = np.fromiter(chain.from_iterable(permutations(range(tiles))), np.uint8).reshape(-1, tiles)
    assert 1 <= count <= len(every)
    having = [[np.flatnonzero(places == tile) for tile in range(tiles)] for places in every.T.copy()]
    agreement = np.zeros(len(every), np.int32)  # the smallest sum of these is the largest of distances
    chosen = [0]
    while len(chosen) < count:
        last = chosen[-1]
        for place, tile in enumerate(every[last]):
            agreement[having[place][tile]] += 1
        agreement[last] = np.iinfo(np.int32).max // 2  # never again
        chosen.append(int(agreement.argmin()))
    return torch.from_numpy(every[chosen]).long()


class Jigsaw(Method):
    """Unsupervised learning of visual representations by solving jigsaw puzzles (arXiv:1603.09246).

    Nine tiles, one of each cell of a 3 x 3 grid, pass through the encoder one by one and are put in one of many orders;
    a head that sees all nine tells which. The orders differ in as many places as possible (Algorithm 1).

    Shortcuts that the authors warn of, and what is done: edges that go on (each tile is cut at a random place in its
    cell, which leaves gaps); brightness and contrast of neighbors (each tile is standardized by itself); chromatic
    aberration (color channels are shifted against each other by up to 2 px of 225, and a share of the images is gray).

    Unlike in the paper, the view is the run's T without its colors, any encoder takes the place of AlexNet's
    convolutions, and the head has no dropout.

    Args:
        encoder: from tiles (N, C, s, s) to features (N, D) with an attribute `num_features` = D.
        head: from the nine tiles' features (N, 9, D) to orders (N, P).
        gray: share of the images without color.
        orders: (P, 9) int64.
    """

    needs = frozenset({"draws"})
    views_agree = False  # tiles of one image are to be told apart

    orders: Tensor

    def __init__(self, encoder: nn.Module, head: nn.Module, orders: Tensor, gray: float = 0.3) -> None:
        super().__init__()
        self.encoder, self.projector, self.head = encoder, nn.Identity(), head
        self.gray = gray
        self.register_buffer("orders", orders)

    @classmethod
    def views(cls, config: PretrainConfig) -> tuple[ViewSpec, ...]:
        """One: a crop and perhaps a flip."""
        geometric = dataclasses.replace(config.augment.view1, jitter=0.0, gray=0.0, blur=0.0, solarize=0.0)
        return (ViewSpec(geometric, config.image_size),)

    @classmethod
    def draws(cls, config: PretrainConfig) -> int:
        """An order, whether the image is gray, the tiles' places, and the shifts of its colors."""
        return sum(DRAWN.values())

    @classmethod
    def check(cls, config: PretrainConfig, data: TrainingSet) -> None:
        """Tiles that the encoder takes."""
        check_tiles(config, tile_side(config.image_size))

    @classmethod
    def build(cls, config: JigsawConfig, ingredients: Ingredients) -> Self:
        """The networks of a run; see `Method.build`."""
        encoder = ingredients.make_encoder()
        head = JigsawHead(feature_count(encoder), config.embedding, config.width, config.permutations)
        orders = distant_permutations(config.permutations).clone()
        return cls(encoder, ingredients.with_first_weights(head), orders, config.gray)

    def forward(self, view: Tensor, draws: Tensor) -> Tensor:
        """Cross-entropy of the orders, averaged; ln P where nothing is told apart.

        Args:
            view: (N, C, S, S).
            draws: (N, 26) uniform in [0, 1).
        """
        tiles, order = self.puzzle(view, draws)
        images = tiles.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        features = self.encoder(images).unflatten(0, (len(view), TILES))
        return F.cross_entropy(to_float32(self.head(features)), order)

    def puzzle(self, view: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        """What the network sees and what it must tell: tiles (N, 9, C, s, s) in their order, and (N,) which order."""
        order, gray, places, fringes = torch.split(draws, list(DRAWN.values()), dim=1)
        view = with_fringes(without_color(view, gray.squeeze(1) < self.gray), fringes)
        chosen = pick(order.squeeze(1), len(self.orders))
        tiles = standardized(grid(view, CELLS, tile_side(view.shape[2]), places))
        rows = torch.arange(len(view), device=view.device)[:, None]
        return tiles[rows, self.orders[chosen]], chosen


class JigsawHead(nn.Module):
    """From the features of nine tiles, in their places, to the order that they are in."""

    def __init__(self, features: int, embedding: int, width: int, orders: int) -> None:
        super().__init__()
        self.each = nn.Sequential(nn.Linear(features, embedding), nn.ReLU(True))
        self.all = nn.Sequential(nn.Linear(TILES * embedding, width), nn.ReLU(True), nn.Linear(width, orders))

    def forward(self, features: Tensor) -> Tensor:
        """(N, 9, D) -> (N, orders)."""
        told: Tensor = self.all(self.each(features).flatten(1))
        return told


def without_color(images: Tensor, where: Tensor) -> Tensor:
    """Normalized images (N, C, H, W) with equal channels where (N,) bool says so; others than of color as they are."""
    if images.shape[1] != 3:
        return images
    weights = torch.tensor(GRAY_WEIGHTS, dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
    gray = (images * weights).sum(1, keepdim=True).expand_as(images)
    return torch.where(where.view(-1, 1, 1, 1), gray, images)


def with_fringes(images: Tensor, draws: Tensor) -> Tensor:
    """Images of color with each channel shifted by a few pixels of its own; the border's values are repeated.

    Args:
        images: (N, C, S, S).
        draws: (N, 6) uniform in [0, 1): the channels' shifts down, then to the right.
    """
    reach = round(FRINGE * images.shape[2])
    if images.shape[1] != 3 or reach == 0:
        return images
    shifts = pick(draws, 2 * reach + 1) - reach
    along = torch.arange(images.shape[2], device=images.device)
    rows, columns = ((along - shift[..., None]).clamp(0, images.shape[2] - 1) for shift in shifts.chunk(2, dim=1))
    number = torch.arange(len(images), device=images.device).view(-1, 1, 1, 1)
    channel = torch.arange(3, device=images.device).view(1, -1, 1, 1)
    return images[number, channel, rows[..., :, None], columns[..., None, :]]
