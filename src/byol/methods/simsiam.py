"""SimSiam: each view predicts the other's projection, which is held fixed; no target network, no negatives."""

from typing import Self

import torch.nn.functional as F
from torch import Tensor, nn

from byol.config.methods import SimSiamConfig
from byol.encoders.build import feature_count
from byol.methods.base import Ingredients, Method
from byol.methods.normalization import to_float32


class SimSiam(Method):
    """SimSiam (arXiv:2011.10566, Section 3).

    Unlike in the paper, the predictor's learning rate falls with the others'.

    Args:
        encoder: from images (N, C, H, W) to features.
        projector: from features to projections (N, D).
        predictor: from projections to predictions (N, D).
    """

    advice = ("check that the predictor is there and learns (--method.predictor-lr 10)",)

    def __init__(self, encoder: nn.Module, projector: nn.Module, predictor: nn.Module) -> None:
        super().__init__()
        self.encoder, self.projector, self.predictor = encoder, projector, predictor

    @classmethod
    def build(cls, config: SimSiamConfig, ingredients: Ingredients) -> Self:
        """The networks of a run; see `Method.build`."""
        encoder = ingredients.make_encoder()
        projector = normalized_mlp(feature_count(encoder), config.hidden, config.output, config.projector_depth)
        predictor = nn.Sequential(
            nn.Linear(config.output, config.predictor_hidden, bias=False),
            nn.BatchNorm1d(config.predictor_hidden),
            nn.ReLU(True),
            nn.Linear(config.predictor_hidden, config.output),
        )
        method = cls(encoder, ingredients.with_first_weights(projector), ingredients.with_first_weights(predictor))
        method.lr_factors = {"projector": config.projector_lr, "predictor": config.predictor_lr}
        return method

    def forward(self, view1: Tensor, view2: Tensor) -> Tensor:
        """Negative cosine of predictions and fixed projections (Eq. 2), in [-1, 1]; each view is (N, C, H, W)."""
        z1, z2 = (self.projector(self.encoder(v)) for v in (view1, view2))
        p1, p2 = self.predictor(z1), self.predictor(z2)
        return -(similarity(p1, z2.detach()) + similarity(p2, z1.detach())) / 2


def similarity(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean cosine of the rows of (N, D)."""
    return F.cosine_similarity(to_float32(prediction), to_float32(target), dim=1).mean()


def normalized_mlp(in_features: int, hidden: int, out_features: int, depth: int) -> nn.Module:
    """An MLP with batch norm after every layer, the last without scale and offset (Section 3, "Projection MLP")."""
    layers: list[nn.Module] = []
    for _ in range(depth - 1):
        layers += [nn.Linear(in_features, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(True)]
        in_features = hidden
    last = nn.Linear(in_features, out_features, bias=False)
    return nn.Sequential(*layers, last, nn.BatchNorm1d(out_features, affine=False))
