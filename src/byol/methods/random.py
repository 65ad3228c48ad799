"""An encoder as it was drawn: what architecture alone is worth."""

from torch import Tensor, nn


class Random(nn.Module):
    """An untrained encoder; no step is taken (arXiv:2006.07733, Section 3: 1.4 % top-1 for a ResNet-50).

    Args:
        encoder: from images (N, C, H, W) to features.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = nn.Identity()

    def forward(self, view1: Tensor, view2: Tensor) -> Tensor:
        """Nothing is learned, so there is no loss."""
        raise AssertionError("a random encoder takes no step")

    def update_target(self, tau: float | Tensor) -> None:
        """There is none."""
