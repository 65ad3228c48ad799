"""BYOL with multi-crop: small local views predict the large ones too, by a predictor of their own."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from byol.config.methods import MultiCropConfig
from byol.config.run import PretrainConfig
from byol.config.views import ViewSpec
from byol.methods.base import Batch, Ingredients
from byol.methods.byol import BYOL
from byol.methods.ema import TauSchedule


class MultiCropBYOL(BYOL):
    """BYOL with global and local views and one predictor for each kind (arXiv:2602.05845).

    The target network sees the two global views alone. Each global view predicts the other, as in BYOL; each local
    view predicts both, by a predictor of its own: a predictor that both kinds share makes multi-crop worse than two
    views. The local part is averaged over the local views and counts as much as the global part.

    Args:
        networks, options: encoder, projector, predictor, target and normalization, as for `BYOL`.
        local_predictor: from the local views' projections to predictions.
    """

    def __init__(self, *networks: Any, local_predictor: nn.Module, **options: Any) -> None:
        super().__init__(*networks, **options)
        self.local_predictor = local_predictor

    @classmethod
    def views(cls, config: PretrainConfig) -> tuple[ViewSpec, ...]:
        """T and T' of large crops, then the small crops, alternately by T and T'."""
        method, both = config.method, (config.augment.view1, config.augment.view2)
        assert isinstance(method, MultiCropConfig)
        size = method.local_size or max(8, round(method.local_share * config.image_size))
        globals_ = [ViewSpec(dataclasses.replace(view, area=method.global_area), config.image_size) for view in both]
        locals_ = [
            ViewSpec(dataclasses.replace(both[number % 2], area=method.local_area), size)
            for number in range(method.local_views)
        ]
        return (*globals_, *locals_)

    @classmethod
    def build(cls, config: MultiCropConfig, ingredients: Ingredients) -> Self:  # type: ignore[override]
        """The networks of a run; see `Method.build`."""
        target = ingredients.make_online(config) if config.start == "apart" else config.target
        encoder, projector = ingredients.make_online(config)
        predictor, local_predictor = (
            ingredients.make_head(config.output, config.hidden, config.output, config.predictor_depth) for _ in range(2)
        )
        method = cls(
            *(encoder, projector, predictor, target),
            local_predictor=local_predictor,
            normalization=config.normalization,
        )
        method.tau = TauSchedule.of(config)
        rates = {"predictor": config.predictor_lr, "local_predictor": config.predictor_lr}
        method.lr_factors = {"projector": config.projector_lr, **rates}
        return method

    def terms(self, batch: Batch) -> Sequence[tuple[Tensor, ...]]:
        """The two directions of the global views; the local views go with the second.

        So the last term has a gradient for every weight, which several processes wait for.
        """
        view1, view2, *local_views = batch.views
        target1, target2 = self._fixed_targets(view1, view2)
        return [(view1, target2), (view2, target1, target2, *local_views)]

    def forward(self, view: Tensor, target: Tensor, other: Tensor | None = None, *local_views: Tensor) -> Tensor:
        """The loss of one global view, and of the local views where they are given.

        Args:
            view: a global view, (N, C, S, S).
            target: the projection of the other global view, (N, D).
            other: that of this view.
            local_views: (N, C, s, s) each.
        """
        loss = self._one_way(self.predictor(self.projector(self.encoder(view))), target)
        if other is None:
            return loss
        for local in local_views:
            prediction = self.local_predictor(self.projector(self.encoder(local)))
            both = self._one_way(prediction, target) + self._one_way(prediction, other)
            loss = loss + both / len(local_views)
        return loss

    def _fixed_targets(self, view1: Tensor, view2: Tensor) -> list[Tensor]:
        """The projections that are predicted: the target network's, or the online network's own, held fixed."""
        if self.kind == "ema":
            return self._targets(view1, view2)
        with torch.no_grad():
            return [self.projector(self.encoder(view)) for view in (view1, view2)]
