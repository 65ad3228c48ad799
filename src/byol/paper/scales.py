"""Scales: encoder, data and schedule, the same for every table. To tune one, change its function here."""

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
"""Health measures over a cell's training: the verdict wants two in a row."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What fills a table's cells in."""

    name: str
    what: str
    config: PretrainConfig
    """The setting of BYOL's own row; a cell says what it changes in it."""
    images: int | None
    """Training images that are taken, the first ones; None takes all."""
    everything: AugmentConfig
    """Views with each of the paper's operations in them, for the table that removes them one by one."""
    encoders: Mapping[tuple[str, int], tuple[str, float]]
    """For the paper's architecture and width, the encoder and width that stand for it; what is missing is left out."""
    images_per_second: float
    """Of one cell, for the estimate of costs until a run has measured them."""
    train_images: int
    """How many `images` are, for the same estimate."""
    evaluation_seconds: float
    """Of k-NN and logistic regression, for the same estimate."""
    penalties: tuple[float, ...] = tuple(10.0**power for power in range(-4, 5))
    """Of the logistic regression: nine of the decades that the paper's 45 penalties span (Appendix D.2)."""
    semi: SemiConfig = field(default_factory=SemiConfig)
    """Fine-tuning with few labels."""
    printed: bool = False
    """Whether its commands are printed, and never run from here."""
    shorter: str = ""
    """The scale that this one is a longer run of; the report compares rows that both have."""

    def estimated_seconds(self) -> float:
        """What one cell takes, as far as can be known before one was run."""
        return self.config.epochs * self.train_images / self.images_per_second + self.evaluation_seconds


def cpu() -> Scale:
    """CIFAR-10's first training images and a narrow ResNet-10: one core a cell.

    Chosen among a dozen candidates on training images that no cell is trained or tested on (docs/paper.md,
    `benchmarks/choose_paper_scale.py`): network and batch are those of the recipe cifar10-cpu, and so are half the
    color and a predictor that learns ten times as fast as the rest, without which BYOL needs a longer schedule to be
    told from a target that never moves. Views of half the images' side cost least for what they teach; they are too
    small for any blur. tau and output are the paper's.
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
        what="a part of CIFAR-10 and a narrow ResNet; minutes a cell on one core, cells side by side",
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
    """`cpu` at four times its epochs and nothing else: what of the order of rows is owed to the length of a run."""
    short = cpu()
    assert short.images is not None
    config = watched(replace(short.config, epochs=4 * short.config.epochs), short.images)
    what = "cpu at four times the epochs, to tell what a short run hides"
    return dataclasses.replace(short, name="cpu-long", what=what, config=config, shorter=short.name)


def small() -> Scale:
    """CIFAR-10 and ResNet-18 on one GPU."""
    images = 50_000
    config = replace(small_on_gpu(epochs=50), method__tau=0.99)
    return Scale(
        name="small",
        what="CIFAR-10 and ResNet-18 with the small stem; minutes a cell on one GPU",
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
    """The paper's own: ResNet-50 on ImageNet, 300 epochs at batch 4096 (Section 5; configs/byol.py:21)."""
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
    """The same crops and colors, with the probabilities of blur and solarizing of T and T' (Table 6).

    The blur is at most 1 pixel wide, half of the paper's: in proportion to the image it is still several times the
    paper's, whose 2 pixels of 224 would be a sixth of a pixel of 20 and change nothing. Views of less than 20 pixels
    have none: the kernel, a tenth of the side, is a single pixel there.
    """
    blurred = blur_taps(side) > 1
    return replace(
        augment,
        view1=replace(augment.view1, blur=1.0 if blurred else 0.0, solarize=0.0, sigma=(0.1, 1.0)),
        view2=replace(augment.view2, blur=0.1 if blurred else 0.0, solarize=0.2, sigma=(0.1, 1.0)),
    )


def watched(config: PretrainConfig, images: int) -> PretrainConfig:
    """Measures over the whole run; a collapsed one runs on, since the row is what the whole schedule makes of it."""
    every = max(1, config.total_steps(images) // LOOKS)
    return replace(config, logging__health_every=every, logging__log_every=every, logging__stop_on_collapse=False)


SCALES: dict[str, Callable[[], Scale]] = {"cpu": cpu, "cpu-long": cpu_long, "small": small, "paper": paper}


def scale_named(name: str) -> Scale:
    """A scale by its name.

    Raises:
        UserError: there is none of that name.
    """
    if name not in SCALES:
        raise UserError(f"There is no scale {name!r}.{nearest(name, SCALES)} The scales are: {', '.join(SCALES)}.")
    return SCALES[name]()
