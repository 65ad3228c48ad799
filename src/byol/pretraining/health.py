"""Is it learning? Measures of collapse and progress, and the verdict in words."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byol.methods.base import Method
from byol.methods.byol import BYOL

PROBE_IMAGES = 256
"""Images whose two views are looked at, always the same ones."""

COLLAPSED_SPREAD = 0.1
"""Spread of the projections below which they all say the same. Runs that learned stayed above 0.4; on the embedded
photographs, a run without a predictor (--method.predictor-depth 0) falls below 0.1 within some 120 updates."""
COLLAPSED_RANK = 1.5
"""Effective rank of the representation below which it is a single number."""
WEAK_MATCH = 5.0
"""Times chance that views must find their partner, or little was learned that survives augmentation: an untrained
network does so two or three times as often as chance."""
SHRUNKEN_RANK = 5.0
"""Effective rank of the representation below which it has all but collapsed: it is tens in a network that has learned
nothing, and stays so in one that learns; with a predictor that never learns it fell to 3
(results/paper/targets-cpu.jsonl)."""
RANKED_IMAGES = 64
"""Images from which on that is said: few images have few directions."""


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
        """For metrics.jsonl."""
        return asdict(self)


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
        modes = encoder.training, projector.training
        encoder.eval(), projector.eval()
        try:
            features = encoder(images).flatten(1)
            return features, projector(features)
        finally:
            encoder.train(modes[0]), projector.train(modes[1])

    return represent


Word = Literal["healthy", "weak", "collapsed", "diverged", "untrained"]


@dataclass(frozen=True)
class Verdict:
    """What the measures say of a run, in words."""

    word: Word
    sentence: str
    advice: str

    @property
    def stops(self) -> bool:
        """Whether going on is a waste."""
        return self.word in ("collapsed", "diverged")


def judge(
    health: Sequence[Health],
    losses: Sequence[float],
    gradient_norms: Sequence[float],
    method: type[Method] = BYOL,
) -> Verdict:
    """The verdict on a run so far, from its measures in the order they were taken (the last counts most).

    Two looks in a row must agree on a collapse: a network passes through strange places in its first steps. A method
    under which views of an image need not become alike is judged by collapse and divergence only.
    """
    if any(not math.isfinite(v) for v in [*losses[-1:], *gradient_norms[-1:]]):
        return Verdict(
            "diverged",
            "Diverged: the loss or its gradient is no longer a number.",
            "Start again with a third of the learning rate (--optim.lr), a longer warm-up (--optim.warmup-epochs), "
            "or --precision float32.",
        )
    if not health:
        return Verdict("weak", "Too short a run to say anything: no health measure was taken.", "Train longer.")
    last = health[-1]
    if len(health) >= 2 and all(_collapsed(h) for h in health[-2:]):
        return Verdict(
            "collapsed",
            f"Collapsed: the network says the same of every image (spread {last.spread:.3f} of 1, effective rank "
            f"{last.rank:.1f}, views find their partner {last.match:.0%} of the time).",
            _advice(method, "raise the learning rate if it is very low, or the batch size if it is below 32"),
        )
    words = _in_words(last)
    if not method.views_agree:
        return Verdict("healthy", f"Healthy: {words}.", "")
    if last.rank < SHRUNKEN_RANK and last.chance <= 1 / RANKED_IMAGES:
        return Verdict(
            "weak",
            f"Weak, and nearly collapsed: the representation has shrunk to a few directions; {words}.",
            _advice(method, "see whether the images differ at all (byol views)"),
        )
    if last.match < WEAK_MATCH * last.chance:
        return Verdict(
            "weak",
            f"Weak: {words}.",
            "It has not collapsed, but has learned little that survives augmentation: train longer (--epochs, "
            "--budget), or look at the views (byol views) for an augmentation that destroys what matters in your "
            "images.",
        )
    return Verdict("healthy", f"Healthy: {words}.", "")


def _advice(method: type[Method], rest: str) -> str:
    """One sentence: what the method advises, and what holds for all."""
    sentence = ", ".join([*method.advice, rest])
    return f"{sentence[0].upper()}{sentence[1:]}."


def untrained(look: Health) -> Verdict:
    """What is said of an encoder that took no step."""
    return Verdict("untrained", f"Untrained, as asked: no step was taken; {_in_words(look)}.", "")


def _in_words(h: Health) -> str:
    return (
        f"views find their own image among {round(1 / h.chance)} in {h.match:.0%} of cases "
        f"(chance {h.chance:.1%}), spread {h.spread:.2f} of 1, effective rank {h.rank:.0f}"
    )


def _collapsed(h: Health) -> bool:
    return not math.isfinite(h.rank) or h.spread < COLLAPSED_SPREAD or h.rank < COLLAPSED_RANK
