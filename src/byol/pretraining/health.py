"""Is it learning? Measures of collapse and progress, on views of fixed images; `verdict.py` says what they mean."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byol.encoders.modes import evaluating

PROBE_IMAGES = 256
"""Images whose two views are looked at, always the same ones."""


@dataclass(frozen=True)
class Health:
    """One look at the online network, on fixed views of fixed images, in evaluation mode."""

    spread: float
    """Standard deviation of the unit-length projections over the images, times sqrt(dimensions): 1 where they fill the
    sphere evenly, 0 where all are the same."""
    rank: float
    """Effective rank of the representation: exp of the entropy of its normalized singular values (Roy &
    Vetterli 2007), between 1 and the number of images or features."""
    agreement: float
    """Mean cosine of the two views' projections, in [-1, 1]."""
    match: float
    """Share of views whose nearest projection among the other views is their own image's, in [0, 1]."""
    chance: float
    """What `match` is for a network that sees nothing: one over the number of images."""
    separation: float = math.nan
    """How far an image's other view stands out from the views of other images: the difference of the two mean cosines,
    in standard deviations of the cosines with other images. Unlike `match` it does not end at 1."""

    def as_dict(self) -> dict[str, float]:
        """The measures by their names."""
        return asdict(self)

    def as_metrics(self) -> dict[str, float]:
        """For metrics.jsonl."""
        return {f"health/{name}": value for name, value in self.as_dict().items()}


@torch.no_grad()
def measure(represent: Callable[[Tensor], tuple[Tensor, Tensor]], view1: Tensor, view2: Tensor) -> Health:
    """Look at a network through two views (N, C, H, W) of the same N images.

    Args:
        represent: from a batch of images to representations (N, D) and projections (N, P).
        view1, view2: normalized views; row i of both is the same image.
    """
    (features1, projections1), (_, projections2) = represent(view1), represent(view2)
    return compare(features1, projections1, projections2)


@torch.no_grad()
def compare(features1: Tensor, projections1: Tensor, projections2: Tensor) -> Health:
    """The measures, from the first view's representations (N, D) and both views' projections (N, P)."""
    z1, z2 = F.normalize(projections1.float(), dim=1), F.normalize(projections2.float(), dim=1)
    with torch.autocast(z1.device.type, enabled=False):  # a collapse shows in the third digit of a cosine
        similarity = z1 @ z2.T
    own = torch.arange(len(z1), device=z1.device)
    others = similarity[~torch.eye(len(z1), dtype=torch.bool, device=z1.device)]
    return Health(
        spread=spread(z1),
        rank=effective_rank(features1.float()),
        agreement=similarity.diagonal().mean().item(),
        match=(similarity.argmax(dim=1) == own).float().mean().item(),
        chance=1 / len(z1),
        separation=((similarity.diagonal().mean() - others.mean()) / others.std().clamp_min(1e-12)).item(),
    )


@torch.no_grad()
def norms(represent: Callable[[Tensor], tuple[Tensor, Tensor]], view: Tensor) -> dict[str, float]:
    """Mean length of the representations and of the projections of a view (N, C, H, W): Figure 6, for metrics.jsonl."""
    lengths = torch.stack([x.float().norm(dim=1).mean() for x in represent(view)]).tolist()
    return dict(zip(("norm/representation", "norm/projection"), lengths, strict=True))


def spread(unit: Tensor) -> float:
    """Standard deviation over the rows of unit vectors (N, D), root mean square over D, times sqrt(D)."""
    return unit.var(dim=0, unbiased=False).sum().clamp_min(0).sqrt().item()


def effective_rank(features: Tensor) -> float:
    """exp(entropy) of the normalized singular values of the centered features (N, D); 1 where all rows are equal."""
    centered = features - features.mean(dim=0)
    if not torch.isfinite(centered).all():
        return math.nan
    values = torch.linalg.svdvals(centered.cpu().double())
    total = values.sum()
    if total <= 1e-12 * max(1.0, features.abs().max().item()):
        return 1.0
    share = values / total
    return math.exp(-(share * share.clamp_min(1e-300).log()).sum().item())


def represent_with(encoder: nn.Module, projector: nn.Module) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Representations and projections of an online network in evaluation mode, left in the mode it came in."""

    def represent(images: Tensor) -> tuple[Tensor, Tensor]:
        with evaluating(encoder, projector):
            features = encoder(images).flatten(1)
            return features, projector(features)

    return represent
