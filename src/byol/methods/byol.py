"""Bootstrap Your Own Latent, alone and whole."""

import copy

import torch
from torch import Tensor, nn

from byol.networks import MLP

NORM_FLOOR = 1e-12
"""Smallest sum of squares a vector is divided by (deepmind-research/byol f5de0ed, utils/helpers.py:74)."""


def normalise(x: Tensor) -> Tensor:
    """Scale the rows of (N, D) to unit length, in float32 at least; rows shorter than 1e-6 are only enlarged."""
    x = x if x.dtype == torch.float64 else x.float()
    return x * x.square().sum(-1, keepdim=True).clamp_min(NORM_FLOOR).rsqrt()


def distance(prediction: Tensor, target: Tensor) -> Tensor:
    """Squared distance of the unit vectors, 2 - 2 cos, in [0, 4]: Eq. 2 for each row of (N, D); shape (N,)."""
    return (normalise(prediction) - normalise(target)).square().sum(-1)


class BYOL(nn.Module):
    """Bootstrap Your Own Latent (arXiv:2006.07733, Section 3.1).

    The online network learns to predict, from one view of an image, the target network's
    projection of the other. The target is a moving average of the online network.

    Args:
        encoder: any module from images (N, C, H, W) to features (N, D) with an attribute `num_features` = D.
        projector: from features to projections; by default the paper's MLP, D -> 4096 -> 256.
        predictor: from projections to predictions of the same size; by default the paper's MLP, 256 -> 4096 -> 256.
        target: another encoder and projector of the same shapes, for a target that starts with weights of its own as
            in the official code (byol_experiment.py:368-385); by default the target starts as a copy (Appendix J).

    With a loop of your own, a step is::

        loss = method(view1, view2)
        loss.backward()
        optimizer.step()
        method.update_target(tau)
    """

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module | None = None,
        predictor: nn.Module | None = None,
        target: tuple[nn.Module, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        if projector is None:
            projector = MLP(int(encoder.num_features), 4096, 256)  # type: ignore[arg-type]
        if predictor is None:
            size = [layer.out_features for layer in projector.modules() if isinstance(layer, nn.Linear)][-1]
            predictor = MLP(size, 4096, size)
        self.projector = projector
        self.predictor = predictor
        target_encoder, target_projector = target or copy.deepcopy((self.encoder, self.projector))
        self.target_encoder = target_encoder.requires_grad_(False)
        self.target_projector = target_projector.requires_grad_(False)

    def forward(self, view1: Tensor, view2: Tensor) -> Tensor:
        """Mean loss of a batch (Eq. 2, both ways), in [0, 8]; each view is (N, C, H, W)."""
        # One pass per view: batch norm must see the two views as two batches, as in the paper.
        online = [self.predictor(self.projector(self.encoder(v))) for v in (view1, view2)]
        with torch.no_grad():  # train mode all the same: the target too uses batch statistics
            target = [self.target_projector(self.target_encoder(v)) for v in (view1, view2)]
        return (distance(online[0], target[1]) + distance(online[1], target[0])).mean()

    @torch.no_grad()
    def update_target(self, tau: float) -> None:
        """Move the target's weights to `tau * target + (1 - tau) * online` (Eq. 1).

        Batch-norm statistics are buffers, not weights: each network keeps its own.
        """
        target: list[Tensor] = [*self.target_encoder.parameters(), *self.target_projector.parameters()]
        online: list[Tensor] = [*self.encoder.parameters(), *self.projector.parameters()]
        torch._foreach_lerp_(target, online, 1 - tau)
