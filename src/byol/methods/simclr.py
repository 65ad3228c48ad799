"""SimCLR: each view must find the other view of its image among all views of the batch."""

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byol.config.methods import SimCLRConfig
from byol.methods.base import Ingredients, Method
from byol.methods.normalization import to_float32
from byol.runtime.device import without_autocast
from byol.runtime.distributed import gather, rank


def nt_xent(z1: Tensor, z2: Tensor, temperature: float) -> Tensor:
    """NT-Xent (arXiv:2002.05709, Eq. 1) of projections (N, D), row i of both from the same image.

    Cross-entropy of finding, among the 2N - 1 other views, the one of the same image. The two directions are added and
    the batch is averaged, as in SimCLR's code (google-research/simclr 67b5625, tf2/objective.py,
    `add_contrastive_loss`): twice the mean over 2N views of the paper's Algorithm 1. The views are those of all
    processes.
    """
    z1, z2 = (F.normalize(to_float32(z), dim=1) for z in (z1, z2))
    pool = torch.cat([gather(z1), gather(z2)])
    with without_autocast(z1.device):  # bf16 has two digits; the temperature divides them
        logits = torch.cat([z1, z2]) @ pool.T / temperature
    one = torch.arange(len(z1), device=z1.device) + rank() * len(z1)
    two = one + len(pool) // 2
    logits.scatter_(1, torch.cat([one, two]).unsqueeze(1), -torch.inf)  # no view finds itself
    return 2 * F.cross_entropy(logits, torch.cat([two, one]))


class SimCLR(Method):
    """SimCLR (arXiv:2002.05709), as the BYOL paper reproduces it: the same encoder, views and optimizer.

    The projector is BYOL's, without the batch norm that SimCLR has after its last layer; `--network.hidden` and
    `--network.output` set its sizes. With micro-batches (`optim.accumulate`) the pool of negatives is the micro-batch,
    as in the paper's study of the batch size.

    Args:
        encoder: from images (N, C, H, W) to features.
        projector: from features to projections.
        temperature: 0.1 is the best found for it (Table 19; arXiv:2002.05709, Table 5).
    """

    def __init__(self, encoder: nn.Module, projector: nn.Module, *, temperature: float = 0.1) -> None:
        super().__init__()
        self.encoder, self.projector, self.temperature = encoder, projector, temperature

    @classmethod
    def build(cls, config: SimCLRConfig, ingredients: Ingredients) -> Self:
        """The networks of a run; see `Method.build`."""
        method = cls(*ingredients.make_online(config), temperature=config.temperature)
        method.lr_factors = {"projector": config.projector_lr}
        return method

    def forward(self, view1: Tensor, view2: Tensor) -> Tensor:
        """NT-Xent, both directions added; each view is (N, C, H, W). 2 ln(2N - 1) where all views look the same."""
        # one pass per view, so that batch norm sees the views as it does in BYOL
        z1, z2 = (self.projector(self.encoder(v)) for v in (view1, view2))
        return nt_xent(z1, z2, self.temperature)
