"""Scales: encoder, data and schedule, the same for all tables. To tune a scale, change its function here."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from byol.augment.color import blur_taps
from byol.config.encoder import EncoderSpec
from byol.config.methods import BYOLConfig
from byol.config.optim import OptimConfig
from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.config.views import AugmentConfig
from byol.errors import UserError, nearest
from byol.evals.semi import SemiConfig
from byol.recipes.presets import official, small_on_gpu
from byol.recipes.small import small_views

LOOKS = 20
"""Health measurements per training; the verdict needs two in a row."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Everything that a cell does not set: encoder, data, schedule, evaluation."""

    name: str
    what: str
    config: PretrainConfig
    """The settings of BYOL's own row; a cell changes some of them."""
    images: int | None
    """Number of training images, the first of the set; None takes all."""
    everything: AugmentConfig
    """Views with all of the paper's operations, for the table that removes them one by one."""
    encoders: Mapping[tuple[str, int], tuple[str, float]]
    """The paper's architecture and width to the encoder and width used instead; missing ones are left out."""
    images_per_second: float
    """Training speed of one cell, for the cost estimate until a run has measured it."""
    train_images: int
    """Number of training images, for the same estimate."""
    evaluation_seconds: float
    """Duration of k-NN and logistic regression, for the same estimate."""
    penalties: tuple[float, ...] = tuple(10.0**power for power in range(-4, 5))
    """l2 penalties of the logistic regression: nine powers of ten within the paper's 45 penalties (Appendix D.2)."""
    semi: SemiConfig = field(default_factory=SemiConfig)
    """Fine-tuning with few labels."""
    printed: bool = False
    """Whether its commands are printed instead of run."""
    base: str = ""
    """Name of the scale that this one is a shorter or a longer run of: what that one cannot show, this one cannot."""
    shorter: str = ""
    """Name of the scale with fewer epochs and otherwise equal settings, if the report is to compare the two."""

    def estimated_seconds(self) -> float:
        """Estimated duration of one cell, before one has run."""
        return self.config.epochs * self.train_images / self.images_per_second + self.evaluation_seconds


def cpu() -> Scale:
    """The first 20,000 training images of CIFAR-10 and a narrow ResNet-10; one core per cell.

    Chosen among a dozen candidates on held-out training images that no cell uses (docs/paper.md,
    `benchmarks/choose_paper_scale.py`). The recipe cifar10-cpu has the same network and batch, half the color
    distortion, and a predictor that learns ten times as fast as the rest; without it, BYOL needs a longer schedule to
    differ from a target that never moves. Views of half the image side are the cheapest for their accuracy, and too
    small for blur. tau and output size are the paper's.
    """
    images = 20_000
    config = PretrainConfig(
        encoder=EncoderSpec(name="resnet10", width=0.5, stem="stride2", input_size=32),
        image_size=16,
        batch_size=128,
        epochs=10,
        method=BYOLConfig(hidden=1024, output=256, tau=0.99, predictor_lr=10.0),
        optim=OptimConfig(name="adamw", lr=2e-3, weight_decay=0.05, warmup_epochs=1),
        augment=small_views(color=0.5),
    )
    return Scale(
        name="cpu",
        what="a part of CIFAR-10 and a narrow ResNet; minutes per cell on one core, cells in parallel",
        config=watched(config, images),
        images=images,
        everything=with_everything(config.augment, config.image_size),
        encoders={
            ("ResNet-50", 1): ("resnet10", 0.5),
            ("ResNet-101", 1): ("resnet18", 0.5),
            ("ResNet-152", 1): ("resnet34", 0.5),
            ("ResNet-50", 2): ("resnet10", 1.0),
        },
        images_per_second=1150,
        train_images=images,
        evaluation_seconds=10,
        semi=SemiConfig(lrs=(0.02, 0.1), epochs=(30,), baseline=False),
    )


def cpu_long() -> Scale:
    """`cpu` at four times its epochs, with nothing else changed: how the length of a run changes the order of rows."""
    short = cpu()
    assert short.images is not None
    config = watched(replace(short.config, epochs=4 * short.config.epochs), short.images)
    what = "cpu at four times the epochs, to show the effect of short runs"
    return dataclasses.replace(short, name="cpu-long", what=what, config=config, base=short.name, shorter=short.name)


def cpu_short() -> Scale:
    """`cpu` at three tenths of its epochs, with nothing else changed: for tables of many rows, such as `pretext`."""
    whole = cpu()
    assert whole.images is not None
    config = watched(replace(whole.config, epochs=3), whole.images)
    what = "cpu at three epochs instead of ten, for tables of many rows"
    return dataclasses.replace(whole, name="cpu-short", what=what, config=config, base=whole.name)


def small() -> Scale:
    """CIFAR-10 and ResNet-18 on one GPU."""
    images = 50_000
    config = replace(small_on_gpu(epochs=50), method__tau=0.99)
    return Scale(
        name="small",
        what="CIFAR-10 and ResNet-18 with the small stem; minutes per cell on one GPU",
        config=watched(config, images),
        images=None,
        everything=with_everything(config.augment, config.image_size),
        encoders={
            ("ResNet-50", 1): ("resnet18", 1.0),
            ("ResNet-101", 1): ("resnet34", 1.0),
            ("ResNet-152", 1): ("resnet50", 1.0),
            ("ResNet-50", 2): ("resnet18", 2.0),
            ("ResNet-101", 2): ("resnet34", 2.0),
            ("ResNet-50", 3): ("resnet18", 3.0),
        },
        images_per_second=8_000,
        train_images=images,
        evaluation_seconds=30,
        semi=SemiConfig(lrs=(0.02, 0.1), epochs=(30,), baseline=False),
    )


def paper() -> Scale:
    """The paper's own setting: ResNet-50 on ImageNet, 300 epochs at batch 4096 (Section 5; configs/byol.py:21)."""
    config = official(300, lr=0.3, weight_decay=1e-6, tau=0.99)
    architectures = [(f"ResNet-{depth}", width) for depth in (50, 101, 152, 200) for width in (1, 2, 3, 4)]
    return Scale(
        name="paper",
        what="ImageNet, ResNet-50, 300 epochs; printed as torchrun commands",
        config=replace(config, logging__stop_on_collapse=False),
        images=None,
        everything=config.augment,
        encoders={(name, width): (name.lower().replace("-", ""), float(width)) for name, width in architectures},
        images_per_second=1000 * 1_281_167 / (8 * 3600),  # Section 3.3: 1000 epochs in 8 hours, on 512 TPU v3 cores
        train_images=1_281_167,
        evaluation_seconds=0,
        printed=True,
    )


def with_everything(augment: AugmentConfig, side: int) -> AugmentConfig:
    """The same crops and colors, with the probabilities of blur and solarization of T and T' (Table 6).

    sigma is at most 1 pixel, half the paper's. In proportion to the image that is still several times the paper's blur:
    its 2 pixels of 224 would be a sixth of a pixel at 20, without effect. Views below 20 pixels have no blur, because
    the kernel, a tenth of the side, is a single pixel.
    """
    blurred = blur_taps(side) > 1
    return replace(
        augment,
        view1=replace(augment.view1, blur=1.0 if blurred else 0.0, solarize=0.0, sigma=(0.1, 1.0)),
        view2=replace(augment.view2, blur=0.1 if blurred else 0.0, solarize=0.2, sigma=(0.1, 1.0)),
    )


def watched(config: PretrainConfig, images: int) -> PretrainConfig:
    """The config with health measured over the whole run. Collapsed runs go on: a row is the result of all epochs."""
    every = max(1, config.total_steps(images) // LOOKS)
    return replace(config, logging__health_every=every, logging__log_every=every, logging__stop_on_collapse=False)


SCALES: dict[str, Callable[[], Scale]] = {
    "cpu": cpu,
    "cpu-short": cpu_short,
    "cpu-long": cpu_long,
    "small": small,
    "paper": paper,
}


def scale_named(name: str) -> Scale:
    """The scale of this name.

    Raises:
        UserError: there is no such scale.
    """
    if name not in SCALES:
        raise UserError(f"There is no scale {name!r}.{nearest(name, SCALES)} The scales are: {', '.join(SCALES)}.")
    return SCALES[name]()
