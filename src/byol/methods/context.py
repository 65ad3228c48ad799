"""Context prediction: at which of eight places beside this patch does that one lie?"""

import dataclasses
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byol.config.methods import ContextConfig
from byol.config.run import PretrainConfig
from byol.config.views import ViewSpec
from byol.encoders.build import feature_count
from byol.methods.base import Ingredients, Method, TrainingSet
from byol.methods.normalization import to_float32
from byol.methods.tiles import check_tiles, cut, pick

PLACES = ((0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1), (2, 2))
"""Rows and columns of the eight neighbors in a 3 x 3 grid; the first patch is the middle (Figure 2)."""
GREEN_MAGENTA = (-1.0, 2.0, -1.0)
"""The direction of color that is taken away (Section 3.1)."""
DRAWN = {"place": 1, "shifts": 4}
"""Numbers drawn for each image: which neighbor, and both patches' shifts down, then to the right."""


@dataclass(frozen=True)
class Layout:
    """Where the patches of a view lie, in pixels."""

    side: int
    """Of a patch."""
    jitter: int
    """Farthest that a patch is shifted either way."""
    stride: int
    """From a patch to the next one; what is more than the side is the gap."""

    @classmethod
    def of(cls, view: int, patch: float, jitter: float) -> "Layout":
        """The layout that fills a view of a side with three patches in a row and the gaps between them."""
        side = int(view * patch)
        shift = min(round(jitter * side), (view - 3 * side) // 2)
        return cls(side, shift, (view - side - 2 * shift) // 2)


class Context(Method):
    """Unsupervised visual representation learning by context prediction (arXiv:1505.05192, Section 3).

    Two patches of an image pass through the encoder, one by one; a head that sees both tells at which of eight places
    the second lies beside the first.

    Shortcuts that the authors warn of (Section 3.1), and what is done: edges and textures that go on (a gap of about
    half a patch, and shifts by up to 7 px of 96); chromatic aberration (the colors' component between green and magenta
    is taken away, their "projection").

    Unlike in the paper, patches come out of the run's view T without its colors instead of out of the whole image at
    one scale, the first patch is in the middle of it, some patches are not shrunk and enlarged again, and any encoder
    takes the place of theirs.

    Args:
        encoder: from patches (N, C, s, s) to features (N, D) with an attribute `num_features` = D.
        head: from both features (N, 2 D) to the eight places.
        layout: where patches lie.
        projection: whether the colors are projected.
    """

    needs = frozenset({"draws"})
    views_agree = False  # patches of one image are to be told apart

    def __init__(self, encoder: nn.Module, head: nn.Module, layout: Layout, projection: bool = True) -> None:
        super().__init__()
        self.encoder, self.projector, self.head = encoder, nn.Identity(), head
        self.layout, self.projection = layout, projection

    @classmethod
    def views(cls, config: PretrainConfig) -> tuple[ViewSpec, ...]:
        """One: a crop, without a flip (a place to the left is not one to the right) and without colors."""
        geometric = dataclasses.replace(
            config.augment.view1, flip=0.0, vertical_flip=0.0, jitter=0.0, gray=0.0, blur=0.0, solarize=0.0
        )
        return (ViewSpec(geometric, config.image_size),)

    @classmethod
    def draws(cls, config: PretrainConfig) -> int:
        """The place, and the shifts of both patches."""
        return sum(DRAWN.values())

    @classmethod
    def check(cls, config: PretrainConfig, data: TrainingSet) -> None:
        """Patches that the encoder takes."""
        assert isinstance(config.method, ContextConfig)
        check_tiles(config, Layout.of(config.image_size, config.method.patch, config.method.jitter).side)

    @classmethod
    def build(cls, config: ContextConfig, ingredients: Ingredients) -> Self:
        """The networks of a run; see `Method.build`."""
        encoder = ingredients.make_encoder()
        head = nn.Sequential(
            nn.Linear(2 * feature_count(encoder), config.width), nn.ReLU(True), nn.Linear(config.width, len(PLACES))
        )
        layout = Layout.of(ingredients.view_sizes[0], config.patch, config.jitter)
        return cls(encoder, ingredients.with_first_weights(head), layout, config.projection)

    def forward(self, view: Tensor, draws: Tensor) -> Tensor:
        """Cross-entropy of the eight places, averaged; ln 8 where nothing is told apart.

        Args:
            view: (N, C, S, S).
            draws: (N, 5) uniform in [0, 1).
        """
        patches, place = self.patches(view, draws)
        images = patches.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        both = self.encoder(images).unflatten(0, (len(view), 2)).flatten(1)
        return F.cross_entropy(to_float32(self.head(both)), place)

    def patches(self, view: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        """What the network sees and must tell: the patches (N, 2, C, s, s), the middle first, and (N,) the place."""
        drawn, shifts = torch.split(draws, list(DRAWN.values()), dim=1)
        place = pick(drawn.squeeze(1), len(PLACES))
        cells = torch.tensor(PLACES, device=view.device)[place]
        rows, columns = (torch.stack([torch.ones_like(cell), cell], dim=1) for cell in cells.unbind(1))
        # a shift of `jitter` is none: from there it goes both ways
        down, right = pick(shifts, 2 * self.layout.jitter + 1).chunk(2, dim=1)
        seen = without_green(view) if self.projection else view
        stride = self.layout.stride
        return cut(seen, stride * rows + down, stride * columns + right, self.layout.side), place


def without_green(images: Tensor) -> Tensor:
    """Images (N, 3, H, W) less their component between green and magenta; others than of color as they are.

    With a = (-1, 2, -1), each pixel is multiplied by I - a a^T / (a^T a) (Section 3.1).
    """
    if images.shape[1] != 3:
        return images
    a = torch.tensor(GREEN_MAGENTA, dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
    return images - a * (images * a).sum(1, keepdim=True) / a.square().sum()
