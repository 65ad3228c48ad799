"""VICReg: views agree, while every feature varies over the batch and no two features say the same."""

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byol.config.methods import VICRegConfig
from byol.methods.base import Ingredients, Method
from byol.methods.normalization import to_float32
from byol.runtime.distributed import gather

EPSILON = 1e-4
"""Added to the variance under the root (arXiv:2105.04906, Eq. 2)."""


def variance(z: Tensor) -> Tensor:
    """Mean over the features of (N, D) of how far their standard deviation is below 1 (Eq. 1)."""
    return F.relu(1 - (z.var(dim=0) + EPSILON).sqrt()).mean()


def covariance(z: Tensor) -> Tensor:
    """Sum of the squared covariances of different features of (N, D), divided by D (Eqs. 3 and 4)."""
    centered = z - z.mean(dim=0)
    matrix = centered.T @ centered / (len(z) - 1)
    return (matrix.square().sum() - matrix.diagonal().square().sum()) / z.shape[1]


class VICReg(Method):
    """Variance-Invariance-Covariance Regularization (arXiv:2105.04906).

    The variance of both views is halved as in the authors' code (facebookresearch/vicreg 4e12602, main_vicreg.py), and
    the batch is that of all processes.

    Args:
        encoder: from images (N, C, H, W) to features.
        projector: from features to embeddings (N, D): the paper's expander.
        invariance, variance, covariance: weights of the three terms.
    """

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module,
        *,
        invariance: float = 25.0,
        variance: float = 25.0,
        covariance: float = 1.0,
    ) -> None:
        super().__init__()
        self.encoder, self.projector = encoder, projector
        self.invariance, self.variance, self.covariance = invariance, variance, covariance

    @classmethod
    def build(cls, config: VICRegConfig, ingredients: Ingredients) -> Self:
        """The networks of a run; see `Method.build`."""
        encoder, projector = ingredients.make_online(config)
        method = cls(
            encoder,
            projector,
            invariance=config.invariance,
            variance=config.variance,
            covariance=config.covariance,
        )
        method.lr_factors = {"projector": config.projector_lr}
        return method

    def forward(self, view1: Tensor, view2: Tensor) -> Tensor:
        """The three terms, weighted (Eq. 6), 0 or more; each view is (N, C, H, W), N at least 2."""
        z1, z2 = (to_float32(self.projector(self.encoder(v))) for v in (view1, view2))
        with torch.autocast(z1.device.type, enabled=False):  # covariances are differences of nearly equal numbers
            invariance = F.mse_loss(z1, z2)
            z1, z2 = gather(z1), gather(z2)
            spread = (variance(z1) + variance(z2)) / 2
            decorrelation = covariance(z1) + covariance(z2)
        return self.invariance * invariance + self.variance * spread + self.covariance * decorrelation
