"""Every setting of a pretraining run: frozen, typed, total. Standard library only, so that --help is instant.

An unknown key is an error, a derived value is a method, and no field stands here that nothing reads.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

from byol.config.adapt import AdaptConfig
from byol.config.axes import Axes
from byol.config.checks import require
from byol.config.encoder import EncoderSpec
from byol.config.methods import AnyMethodConfig, BYOLConfig
from byol.config.optim import OptimConfig
from byol.config.reading import ReadingConfig
from byol.config.views import AugmentConfig

Keep = Literal["auto", "best", "last"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "bf16", "float32"]


@dataclass(frozen=True, kw_only=True)
class LoggingConfig:
    """What is looked at while training runs, and what is kept."""

    log_every: int = 20
    """Steps between two lines of metrics.jsonl; the loss written is the mean over them."""
    health_every: int = 200
    """Steps between two looks at the spread, rank and agreement of the projections."""
    knn_every_epochs: float = 0
    """Epochs between two k-NN readings where labels are at hand; 0 reads four times over the run, with a patience of N
    4 + N times."""
    checkpoint_minutes: float = 10
    """Minutes between two checkpoints."""
    stop_on_collapse: bool = True
    """Stop with exit code 3 when the run has collapsed or diverged."""
    norms: bool = False
    """Write the mean norms of representations and projections at each line of metrics.jsonl (Figure 6)."""
    page: bool = False
    """Keep the run's page, report.html, up to date while the run goes on; it reloads itself in a browser."""
    pictures: bool = True
    """Show training images in the run's page: views, neighbors before and after training, a map."""
    tensorboard: bool = False
    """Write TensorBoard event files into the run folder (pip install 'byol[tensorboard]')."""
    wandb: bool = False
    """Report to Weights & Biases (pip install 'byol[wandb]')."""

    def __post_init__(self) -> None:
        for name in ("log_every", "health_every"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 step or more")
        require(self.knn_every_epochs >= 0, "knn_every_epochs", self.knn_every_epochs, "0 or more epochs")
        require(self.checkpoint_minutes > 0, "checkpoint_minutes", self.checkpoint_minutes, "more than 0 minutes")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How images are held and fed."""

    memory: Literal["auto", "always", "never"] = "auto"
    """Decode every image once and keep it: auto does so where they fit in a quarter of the free memory."""
    workers: int | None = None
    """Threads that decode; by default one per core, 16 at most."""
    channels: int | None = None
    """Channels that images are given; by default 1 if they are gray, else 3, or what a .npy or TIFF file has. 2 or 4
    also takes the opacity of gray or color images for a channel, which else is blended with white."""
    axes: Axes = "auto"
    """Axes of .npy arrays and of TIFF pages that the file does not name: hwc or chw, where the last or the first one is
    channels, or dhw, where the first one is depth or time and its first plane is read; auto goes by their sizes."""
    range: tuple[float, float] | None = None
    """Values in [0, 1] that become 0 and 1 before anything else, for images that use a small part of their range; 0 1
    leaves them as they are. By default auto chooses."""
    reading: ReadingConfig = ReadingConfig()

    def __post_init__(self) -> None:
        require(self.workers is None or self.workers >= 1, "workers", self.workers, "1 or more threads")
        require(self.channels is None or self.channels >= 1, "channels", self.channels, "1 or more channels")
        if self.range is not None:
            low, high = self.range
            require(0 <= low < high <= 1, "range", self.range, "two values from 0 to 1, the lower one first")

    @property
    def stretch(self) -> tuple[float, float] | None:
        """The range that is stretched; None where images stay as they are."""
        return None if self.range == (0, 1) else self.range


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """One pretraining run: the flags people type most, then a section for everything else."""

    encoder: EncoderSpec = EncoderSpec()
    image_size: int = 224
    """Side of the square views, in pixels."""
    batch_size: int = 4096
    """Images per update, over all processes and micro-batches: the effective batch size."""
    epochs: float = 1000
    """Passes over the images; 0 leaves the encoder as it is."""
    seed: int = 0
    """Everything random is a function of it and of the step."""
    method: AnyMethodConfig = BYOLConfig()
    device: Device = "auto"
    """Where: auto takes cuda, then mps, then cpu."""
    precision: Precision = "auto"
    """Mixed precision (bf16 autocast with float32 weights), or float32 throughout; auto takes bf16 where it is
    faster."""
    keep: Keep = "auto"
    """Which encoder is kept where labels are read: the last, or the best-read one, start weights included; auto keeps
    the best where a run goes on from trained weights, or has a patience."""
    patience: int | None = None
    """End the run once so many readings on labels in a row are no better than the best before them, and keep the
    encoder of that one; by default it takes its whole length. `--logging.knn-every-epochs` says how often it is
    read."""
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    optim: OptimConfig = OptimConfig()
    adapt: AdaptConfig = AdaptConfig()
    logging: LoggingConfig = LoggingConfig()

    def __post_init__(self) -> None:
        require(self.image_size >= 8, "image_size", self.image_size, "8 pixels or more")
        require(self.batch_size >= 2, "batch_size", self.batch_size, "2 images or more (batch norm needs them)")
        require(0 <= self.epochs < math.inf, "epochs", self.epochs, "0 or more")
        require(self.seed >= 0, "seed", self.seed, "0 or more")
        require(self.patience is None or self.patience >= 1, "patience", self.patience, "1 or more readings")
        micro, rest = divmod(self.batch_size, self.optim.accumulate)
        require(
            rest == 0 and micro >= 2,
            "optim.accumulate",
            self.optim.accumulate,
            f"a divisor of the batch size {self.batch_size} that leaves 2 images or more",
        )

    def inference_size(self) -> int:
        """Side of the whole images that the trained encoder takes, in pixels."""
        return max(self.image_size, self.encoder.input_size or 0)

    def read_encoder(self) -> EncoderSpec:
        """The spec of the encoder that the run trains: of images whose range is stretched already."""
        return dataclasses.replace(self.encoder.untrained(), input_size=self.inference_size())

    def trained_encoder(self) -> EncoderSpec:
        """The spec of the encoder that the run exports: of images as they are stored."""
        spec = self.read_encoder()
        if self.data.stretch is None:
            return spec
        low, high = self.data.stretch
        # the encoder takes images as they are stored: its normalization does the stretching too
        mean = tuple(low + (high - low) * value for value in spec.mean)
        return dataclasses.replace(spec, mean=mean, std=tuple((high - low) * value for value in spec.std))

    def steps(self, epochs: float, images: int) -> int:
        """Updates in some passes over `images` images: one pass follows the other, and a batch may span two."""
        return int(epochs * images) // self.batch_size

    def total_steps(self, images: int) -> int:
        """Updates in the whole run."""
        return max(1, self.steps(self.epochs, images)) if self.epochs else 0

    def warmup_steps(self, images: int) -> int:
        """Updates over which the learning rate climbs."""
        return self.steps(min(self.optim.warmup_epochs, self.epochs / 4), images)

    def frozen_steps(self, images: int) -> int:
        """Updates at the start in which the encoder is frozen."""
        return int(self.adapt.frozen * self.total_steps(images))
