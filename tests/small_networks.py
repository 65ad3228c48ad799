"""Networks and views of a few values, in double precision, for the tests of the methods."""

import torch
from torch import Tensor, nn

from byol.methods.heads import MLP


class Dense(nn.Module):
    """An encoder of one layer: images (N, 3, 2, 2) -> (N, 6), with batch norm or without."""

    num_features = 6

    def __init__(self, norm: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(12, 6)
        self.norm = nn.BatchNorm1d(6) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.linear(x.flatten(1)))


def online(norm: bool = False, seed: int = 3) -> tuple[nn.Module, nn.Module]:
    """An encoder and a projector to 4 values; without batch norm both are linear."""
    torch.manual_seed(seed)
    return Dense(norm).double(), (MLP(6, 10, 4) if norm else MLP(6, 0, 4, 1)).double()


def predictor(norm: bool = False, seed: int = 4) -> nn.Module:
    torch.manual_seed(seed)
    return (MLP(4, 10, 4) if norm else MLP(4, 0, 4, 1)).double()


def views(n: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two views that have something in common."""
    both = torch.randn(3, n, 3, 2, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return both[0] + both[1], both[0] + both[2]


def gradients(method: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    """Gradients of the weights that learn."""
    learning = {name: p for name, p in method.named_parameters() if p.requires_grad}
    return dict(zip(learning, torch.autograd.grad(loss, list(learning.values())), strict=True))
