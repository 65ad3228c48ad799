"""SeLa: labels that the network gives itself, equally many images to each."""

from collections.abc import Callable
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byol.config.methods import SelfLAConfig
from byol.config.run import PretrainConfig
from byol.config.views import ViewSpec
from byol.encoders.build import feature_count
from byol.methods.base import Features, Ingredients, Method, TrainingSet
from byol.methods.kmeans import check_clusters
from byol.methods.normalization import to_float32
from byol.runtime.distributed import gather

IMAGES_EACH = 128
"""Images for each label, unless their number is given."""
MOST = 3000
"""Labels of each head for ImageNet (main.py of the released code)."""
ROUNDS = 1000
"""Rounds of scaling, at most."""
TOLERANCE = 0.1
"""Largest sum of relative changes at which the scaling has ended."""
NEVER_SEEN = -1
"""Label of an image that could not be read."""


def label_count(asked: int | None, images: int) -> int:
    """How many labels so many images have, unless a number is asked for."""
    return asked if asked is not None else max(2, min(MOST, images // IMAGES_EACH))


def balanced_labels(log_probabilities: Tensor, sharpness: float) -> Tensor:
    """The label of each image by optimal transport, (n, K) -> (n,) int64 (Sinkhorn-Knopp).

    The matrix P**sharpness is scaled by rows and columns until each image has a share of 1 / n and each label one of
    1 / K; an image's label is the largest value of its row.
    """
    scores = sharpness * log_probabilities.double()
    images, labels = scores.shape
    columns = torch.zeros(labels, dtype=scores.dtype, device=scores.device)
    for _ in range(ROUNDS):
        rows = -(scores + columns).logsumexp(1, keepdim=True)
        # logarithms of the sums of labels, of which each is to be n / K
        sums = (scores + rows + columns).logsumexp(0)
        columns = columns - sums + torch.tensor(images / labels, dtype=scores.dtype).log()
        if float((sums.exp() * labels / images - 1).abs().sum()) < TOLERANCE:
            break
    return (scores + columns).argmax(1)


class SelfLA(Method):
    """SeLa: simultaneous clustering and representation learning (arXiv:1911.05371).

    Before training and after every epoch, the images get new labels: those that fit what the classifiers say best, with
    equally many images for each label. So it cannot end with one label for all, which is where clustering and learning
    one loss together would end. Several classifiers have a labeling each.

    Unlike in the paper, labels are renewed after every epoch instead of at set times, often at first (100 in 200
    epochs in main.py of the released code), from features without augmentation, and images keep T's augmentation.

    Args:
        encoder: from images (N, C, H, W) to features (N, D) with an attribute `num_features` = D.
        images: of the training set.
        labels: K, of each head.
        heads: classifiers.
        sharpness: exponent of the probabilities.
    """

    needs = frozenset({"index"})

    labels: Tensor

    def __init__(
        self, encoder: nn.Module, images: int, *, labels: int, heads: int = 10, sharpness: float = 25.0
    ) -> None:
        super().__init__()
        self.encoder, self.projector, self.sharpness = encoder, nn.Identity(), sharpness
        self.classifiers = nn.ModuleList(nn.Linear(feature_count(encoder), labels) for _ in range(heads))
        self.register_buffer("labels", torch.zeros(heads, images, dtype=torch.long))

    @classmethod
    def views(cls, config: PretrainConfig) -> tuple[ViewSpec, ...]:
        """One, by T."""
        return (ViewSpec(config.augment.view1, config.image_size),)

    @classmethod
    def check(cls, config: PretrainConfig, data: TrainingSet) -> None:
        """No more labels than images."""
        assert isinstance(config.method, SelfLAConfig)
        check_clusters(label_count(config.method.clusters, data.images), data.images)

    @classmethod
    def build(cls, config: SelfLAConfig, ingredients: Ingredients) -> Self:
        """The networks of a run; see `Method.build`."""
        images = ingredients.data.images
        labels = label_count(config.clusters, images)
        method = cls(ingredients.make_encoder(), images, labels=labels, heads=config.heads, sharpness=config.sharpness)
        ingredients.with_first_weights(method.classifiers)
        return method

    def forward(self, view: Tensor, index: Tensor) -> Tensor:
        """Cross-entropy of the labels, averaged over images and heads; ln K where nothing is told apart.

        Args:
            view: (N, C, H, W).
            index: (N,) int64, the number of each image.
        """
        features = self.encoder(view)
        losses = [
            F.cross_entropy(to_float32(classifier(features)), labels[index], reduction="none", ignore_index=NEVER_SEEN)
            for classifier, labels in zip(self.classifiers, self.labels, strict=True)
        ]
        return torch.stack(losses).mean()

    def before_training(self, features: Callable[[], Features]) -> None:
        """Label the images by the first weights."""
        self.after_epoch(features)

    @torch.no_grad()
    def after_epoch(self, features: Callable[[], Features]) -> None:
        """Label the images anew."""
        found, device = features(), self.labels.device
        values, indices = found.values.to(device), found.indices.to(device)
        self.labels.fill_(NEVER_SEEN)
        for head, classifier in enumerate(self.classifiers):
            labels = balanced_labels(to_float32(classifier(values)).log_softmax(1), self.sharpness)
            self.labels[head, indices] = gather(labels)[: len(labels)]  # the first process's, in every process
