"""CPC: which patch lies below, given the patches above?"""

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byol.config.methods import CPCConfig
from byol.config.run import PretrainConfig
from byol.config.views import ViewSpec
from byol.encoders.build import feature_count
from byol.methods.base import Ingredients, Method, TrainingSet
from byol.methods.normalization import to_float32
from byol.methods.tiles import check_tiles, cut
from byol.runtime.distributed import gather, rank

GRID = 7
"""Patches in each row and column: 64 px of 256, every 32 (arXiv:1807.03748, Section 3.3)."""


def patch_side(view: int) -> int:
    """Side of a patch in pixels, for views of a side; half of it lies between neighbors."""
    return view // (GRID + 1) * 2


def patches(images: Tensor) -> Tensor:
    """All patches of images (N, C, S, S), each overlapping its neighbors by half: (N, 49, C, s, s), row by row."""
    side = patch_side(images.shape[2])
    starts = side // 2 * torch.arange(GRID, device=images.device)
    tops, lefts = starts.repeat_interleave(GRID), starts.repeat(GRID)
    return cut(images, tops.expand(len(images), -1), lefts.expand(len(images), -1), side)


class CPC(Method):
    """Contrastive predictive coding (arXiv:1807.03748, Section 3.3; v2: arXiv:1905.09272, Section 2).

    Every patch of a view passes through the encoder alone, which gives a grid of vectors. A context network of masked
    convolutions sums up a row and those above it; from that, a linear layer for each step k predicts the vector k rows
    further down, which must be told from other patches (InfoNCE). With four directions the grid is turned, and each
    direction has a context network of its own.

    A shortcut that the papers warn of: patches overlap by half, so the next row is partly known (it is not predicted).

    Unlike in the papers, the other patches are those of the same row in all images of the batch, not those of all rows;
    the encoder has batch norm as it is, where v1 has none and v2 layer norm, and sees whole images when it is
    evaluated; patches are augmented together, by the run's T.

    Args:
        encoder: from patches (N, C, s, s) to features (N, D) with an attribute `num_features` = D.
        target: from features to the vectors that are predicted (E).
        contexts: for each direction, a `Context`.
        steps: nearest and farthest row that is predicted.
    """

    views_agree = False  # patches of one image are to be told apart

    def __init__(
        self, encoder: nn.Module, target: nn.Module, contexts: list[nn.Module], steps: tuple[int, int]
    ) -> None:
        super().__init__()
        self.encoder, self.projector, self.target = encoder, nn.Identity(), target
        self.contexts, self.steps = nn.ModuleList(contexts), steps

    @classmethod
    def views(cls, config: PretrainConfig) -> tuple[ViewSpec, ...]:
        """One, by T."""
        return (ViewSpec(config.augment.view1, config.image_size),)

    @classmethod
    def check(cls, config: PretrainConfig, data: TrainingSet) -> None:
        """Patches that the encoder takes."""
        check_tiles(config, patch_side(config.image_size))

    @classmethod
    def build(cls, config: CPCConfig, ingredients: Ingredients) -> Self:
        """The networks of a run; see `Method.build`."""
        encoder = ingredients.make_encoder()
        features, steps = feature_count(encoder), config.steps[1] - config.steps[0] + 1
        target = ingredients.with_first_weights(nn.Linear(features, config.embedding))
        contexts = [
            ingredients.with_first_weights(Context(features, config.width, config.depth, steps * config.embedding))
            for _ in range(config.directions)
        ]
        return cls(encoder, target, contexts, config.steps)

    def forward(self, view: Tensor) -> Tensor:
        """InfoNCE, averaged over directions, steps, rows and images; ln(7 N) where nothing is known; (N, C, S, S)."""
        seen = patches(view).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        features = self.encoder(seen)
        goals = to_float32(self.target(features)).view(len(view), GRID, GRID, -1)
        grid = features.view(len(view), GRID, GRID, -1)
        losses = [
            self.one_way(context(grid.rot90(turn, dims=(1, 2))), goals.rot90(turn, dims=(1, 2)))
            for turn, context in enumerate(self.contexts)
        ]
        return torch.stack(losses).mean()

    def one_way(self, predictions: Tensor, goals: Tensor) -> Tensor:
        """The loss of one direction, downward.

        Args:
            predictions: (N, 7, 7, steps * E): from each place, for each step.
            goals: (N, 7, 7, E): what is there.
        """
        near, far = self.steps
        everyone, first = gather(goals), rank() * len(goals) * GRID
        own = first + torch.arange(len(goals) * GRID, device=goals.device)
        losses = []
        with torch.autocast(goals.device.type, enabled=False):  # a softmax over many needs more digits than bf16 has
            for step, predicted in zip(
                range(near, far + 1), to_float32(predictions).chunk(far - near + 1, 3), strict=True
            ):
                for row in range(GRID - step):
                    logits = predicted[:, row].flatten(0, 1) @ everyone[:, row + step].flatten(0, 1).T
                    losses.append(F.cross_entropy(logits, own))
        return torch.stack(losses).mean()


class Context(nn.Module):
    """From a grid of vectors to predictions at each place, which know of its row and those above alone.

    Args:
        features: D, size of the vectors.
        width: channels.
        depth: layers, of which each sees one row more, and one column more on both sides.
        out_features: size of the predictions.
    """

    def __init__(self, features: int, width: int, depth: int, out_features: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(features, width, 1)
        self.layers = nn.ModuleList(nn.Conv2d(width, width, (2, 3)) for _ in range(depth))
        self.last = nn.Conv2d(width, out_features, 1)

    def forward(self, grid: Tensor) -> Tensor:
        """(N, rows, columns, D) -> (N, rows, columns, out_features)."""
        x = self.first(grid.permute(0, 3, 1, 2))
        for layer in self.layers:
            x = x + F.relu(layer(F.pad(x, (1, 1, 1, 0))))  # a row of zeros above, none below
        told: Tensor = self.last(F.relu(x)).permute(0, 2, 3, 1)
        return told
