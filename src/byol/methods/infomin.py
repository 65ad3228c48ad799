"""InfoMin: MoCo v2 with the augmentation that leaves two views less in common."""

import dataclasses

from byol.config.methods import InfoMinConfig
from byol.config.run import PretrainConfig
from byol.config.views import ViewSpec
from byol.methods.moco import MoCo

BLUR = 0.5
"""Probability of a blur, as in MoCo v2."""


class InfoMin(MoCo):
    """What makes for good views for contrastive learning? (arXiv:2005.10243).

    Good views share what the task needs and nothing else: the paper's "InfoMin principle". Its augmentation is random
    crops, stronger color jitter, blur, RandAugment and loss of color, on top of MoCo v2; both views are drawn alike.

    Unlike in the paper, RandAugment is left out, and so is the jigsaw branch that its best results have (see `pirl`).
    """

    @classmethod
    def views(cls, config: PretrainConfig) -> tuple[ViewSpec, ...]:
        """Two views of the same distribution, which the method's settings decide; flips are the run's."""
        method = config.method
        assert isinstance(method, InfoMinConfig)
        strong = dataclasses.replace(
            config.augment.view1,
            area=(method.smallest, 1.0),
            jitter=0.8,
            brightness=method.strength,
            contrast=method.strength,
            saturation=method.strength,
            hue=method.strength / 4,
            gray=0.2,
            blur=BLUR,
            solarize=0.0,
        )
        return ViewSpec(strong, config.image_size), ViewSpec(strong, config.image_size)
