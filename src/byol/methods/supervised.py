"""Learning from labels with everything else alike: what the methods without labels are measured against."""

from typing import Self

import torch.nn.functional as F
from torch import Tensor, nn

from byol.config.methods import SupervisedConfig
from byol.config.run import PretrainConfig
from byol.encoders.build import feature_count
from byol.errors import UserError
from byol.methods.base import Ingredients, Method, TrainingSet
from byol.methods.normalization import to_float32


class Supervised(Method):
    """An encoder and a linear classifier, trained by cross-entropy on both views with BYOL's encoder, views, optimizer
    and schedule.

    Args:
        encoder: from images (N, C, H, W) to features (N, D) with an attribute `num_features` = D.
        classes: how many labels there are, from 0 on.
    """

    needs = frozenset({"labels"})
    views_agree = False  # images of a class may well become alike, in as few directions as there are classes

    def __init__(self, encoder: nn.Module, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = nn.Identity()  # what the health measures look at: the features themselves
        self.classifier = nn.Linear(feature_count(encoder), classes)

    @classmethod
    def check(cls, config: PretrainConfig, data: TrainingSet) -> None:
        """Two classes or more, counted from 0."""
        labels = data.labels
        if labels is None:
            found = f"no labels ({data.remark})" if data.remark else "no labels"
        elif -1 in labels:
            found = f"{list(labels).count(-1)} images without a label"
        elif len(set(labels)) < 2:
            found = "one class only"
        elif not 0 <= min(labels) <= max(labels) < data.images:
            found = f"labels from {min(labels)} to {max(labels)}, which do not count classes from 0 on"
        else:
            return
        raise UserError(
            f"The method supervised learns from labels, but {data.name!r} has {found}; give a folder with a sub-folder "
            "per class, Parquet with a label column, or another --method."
        )

    @classmethod
    def build(cls, config: SupervisedConfig, ingredients: Ingredients) -> Self:
        """The network of a run; see `Method.build`."""
        assert ingredients.data.classes is not None, "`check` asks for labels before anything is built"
        method = cls(ingredients.make_encoder(), ingredients.data.classes)
        ingredients.with_first_weights(method.classifier)
        return method

    def forward(self, view1: Tensor, view2: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy, the two views added and the batch averaged; views (N, C, H, W), labels (N,) of int64."""
        first, second = (F.cross_entropy(to_float32(self.classifier(self.encoder(v))), labels) for v in (view1, view2))
        return first + second
