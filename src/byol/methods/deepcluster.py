"""DeepCluster: cluster the features, learn to tell the clusters, cluster again."""

from collections.abc import Callable
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byol.config.methods import DeepClusterConfig
from byol.config.run import PretrainConfig
from byol.config.views import ViewSpec
from byol.encoders.build import feature_count
from byol.methods.base import Features, Ingredients, Method, TrainingSet
from byol.methods.kmeans import check_clusters, kmeans, whitened
from byol.methods.normalization import to_float32
from byol.runtime.seeds import seed_of

IMAGES_EACH = 128
"""Images for each cluster: 1.28 million for 10000 (Section 4.1)."""
MOST = 10_000
"""Clusters of ImageNet (Section 4.1)."""
NEVER_SEEN = -1
"""Label of an image that could not be read."""


def cluster_count(asked: int | None, images: int, most: int = MOST) -> int:
    """How many clusters so many images have, unless a number is asked for."""
    return asked if asked is not None else max(2, min(most, images // IMAGES_EACH))


class DeepCluster(Method):
    """Deep clustering for unsupervised learning of visual features (arXiv:1807.05520, Section 3).

    Before training and after every epoch the features of all images are clustered by k-means; the clusters are the
    labels of the next epoch, for which the classifier begins anew. Each image is weighed by one over the size of its
    cluster, or the network would learn the largest ones alone (Section 3.3, "trivial parametrization"); empty clusters
    are filled again (Section 3.3, "empty clusters").

    Unlike in the paper, the images keep their colors (the paper puts Sobel filters before the network), labels weigh
    the loss instead of the choice of images, and the momentum of the classifier's weights goes on when they begin anew.

    Args:
        encoder: from images (N, C, H, W) to features (N, D) with an attribute `num_features` = D.
        images: of the training set.
        clusters: k.
        components: principal components of the features that are clustered.
    """

    needs = frozenset({"index"})

    labels: Tensor
    weights: Tensor
    seed: Tensor

    def __init__(self, encoder: nn.Module, images: int, clusters: int, components: int = 256) -> None:
        super().__init__()
        self.encoder, self.projector = encoder, nn.Identity()
        self.classifier = nn.Linear(feature_count(encoder), clusters)
        self.components = components
        self.register_buffer("labels", torch.zeros(images, dtype=torch.long))
        self.register_buffer("weights", torch.ones(images))
        self.register_buffer("seed", torch.randint(2**62, ()))
        """Of the next clustering."""

    @classmethod
    def views(cls, config: PretrainConfig) -> tuple[ViewSpec, ...]:
        """One, by T."""
        return (ViewSpec(config.augment.view1, config.image_size),)

    @classmethod
    def check(cls, config: PretrainConfig, data: TrainingSet) -> None:
        """No more clusters than images."""
        assert isinstance(config.method, DeepClusterConfig)
        check_clusters(cluster_count(config.method.clusters, data.images), data.images)

    @classmethod
    def build(cls, config: DeepClusterConfig, ingredients: Ingredients) -> Self:
        """The network of a run; see `Method.build`."""
        images = ingredients.data.images
        return cls(ingredients.make_encoder(), images, cluster_count(config.clusters, images), config.components)

    def forward(self, view: Tensor, index: Tensor) -> Tensor:
        """Cross-entropy of the clusters, weighed by one over their sizes; ln k where nothing is told apart.

        Args:
            view: (N, C, H, W).
            index: (N,) int64, the number of each image.
        """
        labels = self.labels[index]
        losses = F.cross_entropy(
            to_float32(self.classifier(self.encoder(view))), labels, reduction="none", ignore_index=NEVER_SEEN
        )
        return (losses * self.weights[index]).mean()

    def before_training(self, features: Callable[[], Features]) -> None:
        """Cluster the features of the first weights."""
        self.after_epoch(features)

    @torch.no_grad()
    def after_epoch(self, features: Callable[[], Features]) -> None:
        """Cluster the features, and begin with a new classifier."""
        found, device, clusters = features(), self.labels.device, self.classifier.out_features
        seed = int(self.seed.item())
        labels = kmeans(whitened(found.values.to(device), self.components), min(clusters, len(found.values)), seed)
        self.labels.fill_(NEVER_SEEN)
        self.labels[found.indices.to(device)] = labels
        self.weights.copy_(balanced(self.labels, clusters))
        generator = torch.Generator().manual_seed(seed_of("classifier", seed))
        self.classifier.weight.copy_(0.01 * torch.randn(self.classifier.weight.shape, generator=generator))
        self.classifier.bias.zero_()
        self.seed.fill_(seed_of("next", seed) >> 1)


def balanced(labels: Tensor, clusters: int) -> Tensor:
    """The weight of each image, (n,): the same sum for each cluster that has images, 1 on average over them."""
    seen = labels != NEVER_SEEN
    sizes = torch.bincount(labels[seen], minlength=clusters)
    filled, count = (sizes > 0).sum(), seen.sum()
    return torch.where(seen, count / (filled * sizes[labels.clamp_min(0)].clamp_min(1)), 0.0)
