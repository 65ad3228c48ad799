"""AMDIM: which places belong to this image? The features of the whole are told what its parts are."""

from typing import Self

import torch
from torch import Tensor, nn

from byol.config.methods import AMDIMConfig
from byol.config.run import PretrainConfig
from byol.encoders.build import feature_count
from byol.methods.base import Ingredients, Method, TrainingSet
from byol.methods.maps import check_maps, early_map_shape, features_and_maps
from byol.methods.normalization import to_float32
from byol.runtime.distributed import gather, rank


class AMDIM(Method):
    """Learning representations by maximizing mutual information across views (arXiv:1906.00910).

    The vector of the whole of one view must tell each place of the other view's feature map from the places of other
    images' maps: a lower bound of the mutual information of the two (InfoNCE), in both directions. Within one view
    (`across` false) this is local Deep InfoMax (arXiv:1808.06670) with that bound.

    Scores are softly clipped and their squares penalized, as in costs.py of the released code.

    Unlike in the paper, places are those of the map before the encoder's last stage alone, where the paper has three
    pairs of scales; their receptive fields are those of the encoder, where the paper's network is made so that they do
    not overlap too much; and there is no mixture of features.

    Args:
        encoder: a network of timm's with several stages.
        projector: from features to vectors (N, D).
        local: from the map before the last stage to vectors (N, D, h, w).
        across: whether places are of the other view.
        clip: of the scores.
        penalty: weight of their squares.
    """

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module,
        local: nn.Module,
        *,
        across: bool = True,
        clip: float = 20.0,
        penalty: float = 0.04,
    ) -> None:
        super().__init__()
        self.encoder, self.projector, self.local = encoder, projector, local
        self.across, self.clip, self.penalty = across, clip, penalty

    @classmethod
    def check(cls, config: PretrainConfig, data: TrainingSet) -> None:
        """An encoder with feature maps."""
        check_maps(config, early_map_shape(config.encoder, config.image_size))

    @classmethod
    def build(cls, config: AMDIMConfig, ingredients: Ingredients) -> Self:
        """The networks of a run; see `Method.build`."""
        encoder = ingredients.make_encoder()
        shape = early_map_shape(ingredients.encoder, ingredients.view_sizes[0])
        assert shape is not None, "checked before anything is built"
        features = feature_count(encoder)
        projector = ingredients.make_head(features, features, config.output, depth=2)
        local = nn.Sequential(
            nn.Conv2d(shape[0], features, 1, bias=False),
            nn.BatchNorm2d(features),
            nn.ReLU(True),
            nn.Conv2d(features, config.output, 1, bias=False),
        )
        networks = encoder, projector, ingredients.with_first_weights(local)
        return cls(*networks, across=config.across, clip=config.clip, penalty=config.penalty)

    def forward(self, view1: Tensor, view2: Tensor) -> Tensor:
        """InfoNCE of the wholes and the places of both views, with the penalty; each view is (N, C, S, S)."""
        wholes, places = zip(*(self._see(view) for view in (view1, view2)), strict=True)
        pairs = ((0, 1), (1, 0)) if self.across else ((0, 0), (1, 1))
        return torch.stack([self.bound(wholes[one], places[other]) for one, other in pairs]).mean()

    def _see(self, view: Tensor) -> tuple[Tensor, Tensor]:
        """The vector of the whole (N, D), and those of the places (N, h * w, D)."""
        features, maps = features_and_maps(self.encoder, view)
        return self.projector(features), self.local(maps).flatten(2).transpose(1, 2)

    def bound(self, wholes: Tensor, places: Tensor) -> Tensor:
        """The loss of one direction.

        For each image and each of its places: the score of the two against the scores of the image and all places of
        other images.

        Args:
            wholes: (N, D).
            places: (N, L, D).
        """
        with torch.autocast(wholes.device.type, enabled=False):  # a softmax over many needs more digits than bf16 has
            wholes, places = to_float32(wholes), gather(to_float32(places))
            scores = torch.einsum("nd,mld->nml", wholes, places) / wholes.shape[1] ** 0.5
            penalty = self.penalty * scores.square().mean()
            scores = self.clip * torch.tanh(scores / self.clip)
            row = torch.arange(len(wholes), device=wholes.device)
            own = row + rank() * len(wholes)
            positive = scores[row, own]  # (N, L)
            others = scores.clone()
            others[row, own] = -torch.inf
            negative = others.flatten(1).logsumexp(1, keepdim=True)
            loss: Tensor = (torch.logaddexp(positive, negative) - positive).mean() + penalty
        return loss
