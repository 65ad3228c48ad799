"""Learning from labels with everything else alike: what the methods without labels are measured against."""

import torch.nn.functional as F
from torch import Tensor, nn

from byol.methods.normalization import to_float32


class Supervised(nn.Module):
    """An encoder and a linear classifier, trained by cross-entropy on both views with BYOL's encoder, views, optimizer
    and schedule.

    Args:
        encoder: from images (N, C, H, W) to features (N, D) with an attribute `num_features` = D.
        classes: how many labels there are, from 0 on.
    """

    def __init__(self, encoder: nn.Module, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = nn.Identity()  # what the health measures look at: the features themselves
        self.classifier = nn.Linear(int(encoder.num_features), classes)  # type: ignore[arg-type]

    def forward(self, view1: Tensor, view2: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy, the two views added and the batch averaged; views (N, C, H, W), labels (N,) of int64."""
        first, second = (F.cross_entropy(to_float32(self.classifier(self.encoder(v))), labels) for v in (view1, view2))
        return first + second

    def update_target(self, tau: float | Tensor) -> None:
        """There is none."""
