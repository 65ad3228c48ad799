"""VAE: the divergence in closed form, the draws, the loss by hand."""

import pytest
import torch
from scipy.stats import norm
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from byol.methods.vae import VAE, divergence, standard_normal


def test_the_divergence_is_that_of_normals() -> None:
    mean, log_variance = torch.randn(5, 3), torch.randn(5, 3)
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum(1).mean()
    torch.testing.assert_close(divergence(mean, log_variance), expected)
    assert divergence(torch.zeros(2, 3), torch.zeros(2, 3)).item() == 0


def test_draws_are_places_in_the_normal_distribution() -> None:
    places = torch.tensor([0.5, 0.1, 0.975], dtype=torch.float64)
    assert standard_normal(places).tolist() == pytest.approx(norm.ppf(places).tolist(), abs=1e-9)
    assert standard_normal(torch.tensor([0.0, 1.0])).abs().max() < 5


class Flat(nn.Module):
    num_features = 2

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


class Constant(nn.Module):
    """From features to a constant."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return torch.full((len(x), 2), self.value)


class Painter(nn.Module):
    def forward(self, latent: Tensor) -> Tensor:
        return latent.view(-1, 1, 1, 2)


def test_the_loss_of_known_latents() -> None:
    """Mean 1, variance 4: a place of 0.8413 is one deviation up, so that the latent is 3."""
    method = VAE(Flat(), Constant(1.0), Constant(1.3862943611), Painter(), divergence=0.5, spread=0.25)
    view = torch.tensor([5.0, 2.0]).view(1, 1, 1, 2)
    found = method(view, torch.full((1, 2), 0.8413447460685429))
    error = ((5 - 3) ** 2 + (2 - 3) ** 2) / 2 / (2 * 0.25**2)
    kl = 2 * (1 + 4 - 1 - 1.3862943611) / 2
    assert found.item() == pytest.approx(error + 0.5 * kl / 2, rel=1e-4)
