"""Exemplar: which image was this view made of? Every image is a class, its views are the examples."""

from typing import Self

import torch.nn.functional as F
from torch import Tensor, nn

from byol.config.methods import ExemplarConfig
from byol.config.run import PretrainConfig
from byol.config.views import ViewSpec
from byol.encoders.build import feature_count
from byol.methods.base import Ingredients, Method
from byol.methods.normalization import to_float32


class Exemplar(Method):
    """Discriminative unsupervised feature learning with exemplar convolutional networks (arXiv:1406.6909).

    A surrogate class is one image and its transformations (Section 2); the loss is that of a softmax over all of them.
    The classifier has a weight vector for each training image: its memory grows with the data.

    Unlike in the paper, a class is a whole image rather than a patch with strong gradients, all images are classes
    (accuracy falls from about 8000 on there), and the transformations are the run's T, without rotation and without
    the scaling of principal components of the colors.

    Args:
        encoder: from images (N, C, H, W) to features (N, D) with an attribute `num_features` = D.
        images: of the training set.
    """

    needs = frozenset({"index"})

    def __init__(self, encoder: nn.Module, images: int) -> None:
        super().__init__()
        self.encoder, self.projector = encoder, nn.Identity()
        self.classifier = nn.Linear(feature_count(encoder), images)

    @classmethod
    def views(cls, config: PretrainConfig) -> tuple[ViewSpec, ...]:
        """One, by T."""
        return (ViewSpec(config.augment.view1, config.image_size),)

    @classmethod
    def build(cls, config: ExemplarConfig, ingredients: Ingredients) -> Self:
        """The network of a run; see `Method.build`."""
        method = cls(ingredients.make_encoder(), ingredients.data.images)
        ingredients.with_first_weights(method.classifier)
        return method

    def forward(self, view: Tensor, index: Tensor) -> Tensor:
        """Cross-entropy over all images, averaged; ln n where nothing is told apart.

        Args:
            view: (N, C, H, W).
            index: (N,) int64, the number of each image.
        """
        return F.cross_entropy(to_float32(self.classifier(self.encoder(view))), index)
