"""The InfoNCE family between BYOL and SimCLR: negatives weighed by beta, with or without predictor and target."""

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn

from byol.config.methods import InfoNCEConfig
from byol.methods.base import Ingredients, Method, Progress
from byol.methods.byol import BYOL
from byol.methods.ema import LONGEST_RUN, Target, TauSchedule, ema_update, kind_of, make_target
from byol.methods.normalization import normalize
from byol.runtime.device import without_autocast
from byol.runtime.distributed import gather, rank


def objective(predictions: Tensor, same: Tensor, other: Tensor, *, beta: float, alpha: float) -> Tensor:
    """J(alpha, beta) of one view's predictions, to be maximized (arXiv:2006.07733, Section 5 and Appendix F.4).

    With S(i, j) the cosine of prediction i and target j,

        J = mean_i [ 2 S(i, i') - 2 alpha beta ln( sum_{j != i} exp(S(i, j) / alpha) + sum_j exp(S(i, j') / alpha) ) ]

    where j counts the images of this view and j' those of the other.

    Args:
        predictions: phi of this view, rows of unit length, (N, D).
        same: psi of the same view, rows of unit length, (N, D); row i is the same image.
        other: psi of the other view, likewise.
        beta: weight of the negatives, from 0 to 1; at 0 none are looked at.
        alpha: temperature.

    The negatives are those of all processes.
    """
    agreement = (predictions * other).sum(1)
    if beta == 0:
        return 2 * agreement.mean()
    with without_autocast(predictions.device):  # bf16 has two digits; alpha divides them
        to_same, to_other = (predictions @ gather(targets).T / alpha for targets in (same, other))
    own = torch.arange(len(predictions), device=predictions.device) + rank() * len(predictions)
    to_same = to_same.scatter(1, own.unsqueeze(1), -torch.inf)  # j != i
    log_sum = torch.cat([to_same, to_other], dim=1).logsumexp(1)
    return 2 * (agreement - beta * alpha * log_sum).mean()


class InfoNCE(Method):
    """The family of Table 5b and Appendix F.4: BYOL at beta 0 with predictor and moving target, SimCLR at beta 1
    without either.

    The loss is -J both ways, the two directions added as in BYOL: at beta 0 it is BYOL's loss less 4; with target
    `online`, no predictor and beta 1, divided by 2 alpha, it is that of `SimCLR`.

    With micro-batches (`optim.accumulate`) the pool of negatives is the micro-batch, as in the paper's study of the
    batch size; over processes it is the joined micro-batch.

    Args:
        encoder: from images (N, C, H, W) to features.
        projector: from features to projections.
        predictor: from projections to predictions; `nn.Identity()` leaves it out.
        target: what is predicted, as for `BYOL`.
        beta: weight of the negatives, from 0 to 1.
        temperature: alpha; 0.1 is that of Tables 5b and 19.
    """

    tau = LONGEST_RUN
    """The schedule of the moving average in `byol pretrain`; a loop of your own gives tau to `update_target`."""

    advice = BYOL.advice

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module,
        predictor: nn.Module,
        target: Target = "ema",
        *,
        beta: float = 1.0,
        temperature: float = 0.1,
    ) -> None:
        super().__init__()
        self.encoder, self.projector, self.predictor = encoder, projector, predictor
        self.kind, self.beta, self.temperature = kind_of(target), beta, temperature
        if self.kind == "ema":
            self.target_encoder, self.target_projector = make_target(encoder, projector, target)

    @classmethod
    def build(cls, config: InfoNCEConfig, ingredients: Ingredients) -> Self:
        """The networks of a run; see `Method.build`."""
        target = ingredients.make_online(config) if config.start == "apart" else config.target
        encoder, projector = ingredients.make_online(config)
        predictor = ingredients.make_head(config.output, config.hidden, config.output, config.predictor_depth)
        method = cls(encoder, projector, predictor, target, beta=config.beta, temperature=config.temperature)
        method.tau = TauSchedule.of(config)
        method.lr_factors = {"projector": config.projector_lr, "predictor": config.predictor_lr}
        return method

    def forward(self, view1: Tensor, view2: Tensor) -> Tensor:
        """-J both ways; each view is (N, C, H, W). In [-4, 4] at beta 0."""
        projections = [self.projector(self.encoder(v)) for v in (view1, view2)]  # one pass per view, as in BYOL
        phi = [normalize(self.predictor(z)) for z in projections]
        target = projections
        if self.kind == "ema":
            with torch.no_grad():
                target = [self.target_projector(self.target_encoder(v)) for v in (view1, view2)]
        elif self.kind == "stop-gradient":
            target = [z.detach() for z in projections]
        psi = [normalize(t) for t in target]
        first = objective(phi[0], psi[0], psi[1], beta=self.beta, alpha=self.temperature)
        second = objective(phi[1], psi[1], psi[0], beta=self.beta, alpha=self.temperature)
        return -(first + second)

    def update_target(self, tau: float | Tensor) -> None:
        """Move the target's weights to `tau * target + (1 - tau) * online` (Eq. 1), where there is such a target."""
        if self.kind == "ema":
            ema_update((self.target_encoder, self.target_projector), (self.encoder, self.projector), tau)

    def scheduled(self, progress: Progress) -> dict[str, float]:
        """tau of this step."""
        return {"tau": self.tau.at(progress)}

    def after_step(self, scheduled: Mapping[str, float | Tensor]) -> None:
        """Move the target network."""
        self.update_target(scheduled["tau"])
