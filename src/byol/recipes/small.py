"""Settings for small images, from which the small recipes and `auto` start."""

from byol.config.encoder import EncoderSpec
from byol.config.methods import BYOLConfig
from byol.config.optim import OptimConfig
from byol.config.run import PretrainConfig
from byol.config.views import AugmentConfig, ViewConfig


def small_views(*, blur: bool = False, color: float = 1.0) -> AugmentConfig:
    """Views of small images: crops of at least a fifth of the area, color `color` times as strong as in the paper, no
    solarizing.

    At 32 px a blur of up to 2 pixels leaves nothing, and 8 % of the area are 9 x 9 pixels: SimCLR left blur out on
    CIFAR-10 (arXiv:2002.05709, Appendix B.9), and the smallest crop was chosen on held-out training images
    (docs/recipes.md).
    """
    view = ViewConfig(
        area=(0.2, 1.0),
        brightness=0.4 * color,
        contrast=0.4 * color,
        saturation=0.2 * color,
        hue=0.1 * color,
        blur=0.5 if blur else 0.0,
        sigma=(0.1, 1.0),
    )
    return AugmentConfig(view1=view, view2=view)


def small_on_cpu(epochs: float) -> PretrainConfig:
    """A shallow, narrow ResNet for small images, 1.2 M parameters: about a thousand images per second on two cores.

    Chosen on held-out training images of CIFAR-10 (docs/recipes.md): many updates of small batches, a predictor that
    learns ten times as fast as the rest (the paper's lambda, Table 21) and a target that follows as fast, color at
    half strength, and views smaller than the images, in which objects look as large as in whole images.
    """
    return PretrainConfig(
        encoder=EncoderSpec(name="resnet10", width=0.5, stem="stride2", input_size=32),
        image_size=24,
        batch_size=128,
        epochs=epochs,
        method=BYOLConfig(hidden=1024, output=128, tau=0.97, predictor_lr=10.0),
        optim=OptimConfig(name="adamw", lr=2e-3, weight_decay=0.05, warmup_epochs=1),
        augment=small_views(color=0.5),
    )
