"""Bootstrap Your Own Latent, alone and whole."""

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from byol.config.methods import BYOLConfig, Normalization
from byol.encoders.build import feature_count
from byol.methods.base import Batch, Ingredients, Method, Progress
from byol.methods.ema import LONGEST_RUN, Target, TauSchedule, ema_update, kind_of, make_target
from byol.methods.heads import MLP, output_size
from byol.methods.normalization import NORMALIZATIONS


def distance(prediction: Tensor, target: Tensor, normalization: Normalization = "l2") -> Tensor:
    """Squared distance of the normalized rows of (N, D), shape (N,).

    With `l2` that is 2 - 2 cos, in [0, 4]: Eq. 2. The other normalizations are those of Table 20.
    """
    normalize = NORMALIZATIONS[normalization]
    return (normalize(prediction) - normalize(target)).square().sum(-1)


class BYOL(Method):
    """Bootstrap Your Own Latent (arXiv:2006.07733, Section 3.1).

    The online network learns to predict, from one view of an image, the target network's
    projection of the other. The target is a moving average of the online network.

    Args:
        encoder: any module from images (N, C, H, W) to features (N, D) with an attribute `num_features` = D.
        projector: from features to projections; by default the paper's MLP, D -> 4096 -> 256.
        predictor: from projections to predictions of the same size; by default the paper's MLP, 256 -> 4096 -> 256.
        target: `ema`, a moving average that starts as a copy (Appendix J); or an encoder and a projector of the same
            shapes, for one that starts with weights of its own, as in the official code (byol_experiment.py:368-385).
            `stop-gradient` predicts the online projection itself, held fixed, as tau 0 at every step does; `online`
            lets the gradient through (Section 5, Table 5b). Neither needs a target network.
        normalization: how the loss scales predictions and targets (Table 20).


    With a loop of your own, a step is::

        loss = method(view1, view2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        method.update_target(tau)
    """

    tau = LONGEST_RUN
    """The schedule of the moving average in `byol pretrain`; a loop of your own gives tau to `update_target`."""

    advice = (
        "check that the predictor is there and learns (--method.predictor-depth 2, --method.predictor-lr 10)",
        "keep tau from 0.9 up (--method.tau)",
    )

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module | None = None,
        predictor: nn.Module | None = None,
        target: Target = "ema",
        *,
        normalization: Normalization = "l2",
    ) -> None:
        super().__init__()
        self.encoder = encoder
        if projector is None:
            projector = MLP(feature_count(encoder), 4096, 256)
        if predictor is None:
            size = output_size(projector)
            predictor = MLP(size, 4096, size)
        self.projector = projector
        self.predictor = predictor
        self.kind, self.normalization = kind_of(target), normalization
        if self.kind == "ema":
            self.target_encoder, self.target_projector = make_target(encoder, projector, target)

    @classmethod
    def build(cls, config: BYOLConfig, ingredients: Ingredients) -> Self:
        """The networks of a run; see `Method.build`."""
        target = ingredients.make_online(config) if config.start == "apart" else config.target
        encoder, projector = ingredients.make_online(config)
        predictor = ingredients.make_head(config.output, config.hidden, config.output, config.predictor_depth)
        method = cls(encoder, projector, predictor, target, normalization=config.normalization)
        method.tau = TauSchedule.of(config)
        method.lr_factors = {"projector": config.projector_lr, "predictor": config.predictor_lr}
        return method

    def forward(self, view1: Tensor, view2: Tensor, target2: Tensor | None = None) -> Tensor:
        """Mean loss of a batch (Eq. 2), in [0, 8] with `l2`; each view is (N, C, H, W).

        With `target2`, the target's projection of view 2 (N, D), only what view 1 predicts of it counts: one of the two
        directions that `terms` gives.
        """
        if target2 is not None:
            return self._one_way(self.predictor(self.projector(self.encoder(view1))), target2)
        # One pass per view: batch norm must see the two views as two batches, as in the paper.
        projections = [self.projector(self.encoder(v)) for v in (view1, view2)]
        online = [self.predictor(z) for z in projections]
        target = projections
        if self.kind == "ema":
            target = self._targets(view1, view2)
        elif self.kind == "stop-gradient":
            target = [z.detach() for z in projections]
        return self._one_way(online[0], target[1]) + self._one_way(online[1], target[0])

    def terms(self, batch: Batch) -> Sequence[tuple[Tensor, ...]]:
        """The two directions of the loss where the target is a network, else the whole of it.

        Running backward on each direction separately halves peak activation memory.
        """
        view1, view2 = batch.views
        if self.kind != "ema":
            return [(view1, view2)]
        target1, target2 = self._targets(view1, view2)
        return [(view1, view2, target2), (view2, view1, target1)]

    def _targets(self, *views: Tensor) -> list[Tensor]:
        with torch.no_grad():  # train mode all the same: the target too uses batch statistics
            return [self.target_projector(self.target_encoder(v)) for v in views]

    def _one_way(self, prediction: Tensor, target: Tensor) -> Tensor:
        return distance(prediction, target, self.normalization).mean()

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
