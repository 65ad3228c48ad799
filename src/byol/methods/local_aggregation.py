"""Local aggregation: among the nearest images, those of the same cluster come nearer."""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from byol.config.methods import LocalAggregationConfig
from byol.config.run import PretrainConfig
from byol.config.views import ViewSpec
from byol.encoders.build import feature_count
from byol.methods.base import Features, Ingredients, Method, TrainingSet
from byol.methods.kmeans import check_clusters, kmeans
from byol.methods.memory_bank import MemoryBank
from byol.methods.normalization import normalize
from byol.runtime.seeds import seed_of

IMAGES_EACH = 128
"""Images for each cluster, unless their number is given."""
MOST = 30_000
"""Clusters of ImageNet (exp_configs/la_final.json of the released code)."""


def cluster_count(asked: int | None, images: int) -> int:
    """How many clusters so many images have, unless a number is asked for."""
    return asked if asked is not None else max(2, min(MOST, images // IMAGES_EACH))


class LocalAggregation(Method):
    """Local aggregation for unsupervised learning of visual embeddings (arXiv:1903.12355).

    A memory bank holds a vector for each image. For a view's vector v of image i, the background neighbors B are the
    images with the nearest vectors, the close neighbors C those that are in the same cluster as i in any of several
    clusterings of the bank. With P(j | v) proportional to exp(v . f_j / temperature), the loss is

        -ln( P(C and B | v) / P(B | v) )

    Image i itself counts as close and as background, so that neither is empty. The bank is clustered before training,
    when it holds the vectors of the first weights, and after every epoch.

    Unlike in the paper, training does not begin with instance discrimination (ten epochs, by the
    README of the released code), and P is a sum over
    the whole bank, of which B is a part, not an estimate.

    Args:
        encoder: from images (N, C, H, W) to features.
        projector: from features to vectors (N, D).
        bank: the memory bank.
        background: k, the number of background neighbors; all images where there are fewer.
        clusters: of each clustering.
        clusterings: how many there are.
    """

    needs = frozenset({"index"})

    labels: Tensor
    seed: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module,
        bank: MemoryBank,
        *,
        background: int,
        clusters: int,
        clusterings: int,
    ) -> None:
        super().__init__()
        self.encoder, self.projector, self.bank = encoder, projector, bank
        self.background, self.clusters = background, clusters
        self.register_buffer("labels", torch.arange(len(bank)).repeat(clusterings, 1))
        """Cluster of each image in each clustering; at first each has its own."""
        self.register_buffer("seed", torch.randint(2**62, ()))
        """Of the next clusterings."""

    @classmethod
    def views(cls, config: PretrainConfig) -> tuple[ViewSpec, ...]:
        """One, by T."""
        return (ViewSpec(config.augment.view1, config.image_size),)

    @classmethod
    def check(cls, config: PretrainConfig, data: TrainingSet) -> None:
        """No more clusters than images."""
        assert isinstance(config.method, LocalAggregationConfig)
        check_clusters(cluster_count(config.method.clusters, data.images), data.images)

    @classmethod
    def build(cls, config: LocalAggregationConfig, ingredients: Ingredients) -> Self:
        """The networks of a run and the memory bank; see `Method.build`."""
        encoder, images = ingredients.make_encoder(), ingredients.data.images
        projector = ingredients.with_first_weights(nn.Linear(feature_count(encoder), config.output))
        bank = MemoryBank(images, config.output, negatives=1, temperature=config.temperature, momentum=config.momentum)
        clusters = cluster_count(config.clusters, images)
        method = cls(
            encoder,
            projector,
            bank,
            background=config.background,
            clusters=clusters,
            clusterings=config.clusterings,
        )
        method.lr_factors = {"projector": config.projector_lr}
        return method

    def forward(self, view: Tensor, index: Tensor) -> Tensor:
        """The loss, averaged; 0 where all background neighbors are close. The memory bank moves to the views.

        Args:
            view: (N, C, H, W).
            index: (N,) int64, the number of each image.
        """
        vectors = normalize(self.projector(self.encoder(view)))
        loss = self.aggregate(vectors, index)
        self.bank.move(vectors, index)
        return loss

    def aggregate(self, vectors: Tensor, index: Tensor) -> Tensor:
        """The loss of unit vectors (N, D) of the images `index` (N,)."""
        with torch.autocast(vectors.device.type, enabled=False):  # bf16 has two digits; the temperature divides them
            bank = self.bank.vectors.clone()  # it moves before the backward pass
            scores = vectors.to(bank.dtype) @ bank.T / self.bank.temperature
            background, close = self.neighbors(scores.detach(), index)
            of_close, of_all = (scores.masked_fill(~part, -torch.inf).logsumexp(1) for part in (close, background))
        return (of_all - of_close).mean()

    def neighbors(self, scores: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Which images are background neighbors B, and which close ones in B: two masks of the scores (N, images)."""
        nearest = scores.topk(min(self.background, len(self.bank))).indices
        background = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, nearest, True)
        background = background.scatter(1, index[:, None], True)
        return background, (self.labels[:, index, None] == self.labels[:, None, :]).any(0) & background

    @torch.no_grad()
    def before_training(self, features: Callable[[], Features]) -> None:
        """Fill the bank with the vectors of the first weights, and cluster it."""
        found, device = features(), self.labels.device
        vectors = normalize(self.projector(found.values.to(device))).to(self.bank.vectors.dtype)
        self.bank.vectors[found.indices.to(device)] = vectors
        self.after_epoch(features)

    @torch.no_grad()
    def after_epoch(self, features: Callable[[], Features]) -> None:
        """Cluster the bank, which holds what is known of the images: no features are computed."""
        for number, labels in enumerate(self.labels):
            labels.copy_(kmeans(self.bank.vectors, self.clusters, seed_of(int(self.seed.item()), number)))
        self.seed.fill_(seed_of("next", int(self.seed.item())) >> 1)
