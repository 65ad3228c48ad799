"""Every setting of a pretraining run: frozen, typed, total. Standard library only, so that --help is instant.

An unknown key is an error, a derived value is a method, and no field stands here that nothing reads.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from byol.config.checks import require
from byol.config.optim import OptimConfig
from byol.config.values import replace
from byol.config.views import AugmentConfig
from byol.errors import UserError

Method = Literal["byol", "infonce", "simclr", "moco", "supervised", "random"]
Normalization = Literal["l2", "layer", "none", "batch"]
TargetKind = Literal["ema", "stop-gradient", "online"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "bf16", "float32"]


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The encoder's variants and the two heads (Section 3.3)."""

    width: float = 1.0
    """Multiplies every channel of a ResNet, its stem too."""
    stem: Literal["standard", "stride2", "small"] = "standard"
    """First layer of a ResNet: standard 7x7 and max-pool; stride2: 3x3 stride 2; small: 3x3 stride 1, up to 64 px."""
    init: Literal["timm", "official"] = "timm"
    """Initial weights: timm's own (He et al.), or the official code's truncated normal."""
    init_scale: float = 1.0
    """Multiplies the initial weights of convolutions and linear layers (Section 5 says that it hardly matters)."""
    zero_init_last: bool = False
    """Start residual blocks as the identity; the paper's results did not (README of the official code)."""
    projector_depth: int = 2
    """Linear layers of the projector."""
    predictor_depth: int = 2
    """Linear layers of the predictor; 0 leaves it out, and the run collapses (Table 5b)."""
    hidden: int = 4096
    """Width of the heads' hidden layers."""
    output: int = 256
    """Size of projections and predictions."""

    def __post_init__(self) -> None:
        for name in ("width", "init_scale"):
            require(0 < getattr(self, name) < math.inf, name, getattr(self, name), "a number above 0")
        for name in ("projector_depth", "hidden", "output"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(self.predictor_depth >= 0, "predictor_depth", self.predictor_depth, "0 or more")


@dataclass(frozen=True, kw_only=True)
class TargetConfig:
    """The target network (Section 3.1)."""

    kind: TargetKind = "ema"
    """What is predicted (Section 5): ema: the projection of a moving average of the online network; stop-gradient: the
    online projection itself, held fixed; online: the same with its gradient. byol and infonce read it."""
    tau: float = 0.996
    """Share of itself that the target keeps at the first step; it climbs to 1 along half a cosine.
    0.996 is for 1000 epochs; 0.99 for 100 and 300, 0.97 for 40 (configs/byol.py:21)."""
    constant: bool = False
    """Keep tau where it starts, as in the study of the target (Table 5a)."""
    start: Literal["copy", "apart"] = "copy"
    """Begin as a copy of the online network (Appendix J), or with weights of its own (official code)."""

    def __post_init__(self) -> None:
        require(0 <= self.tau <= 1, "tau", self.tau, "from 0 (no memory) to 1 (never moves)")


TEMPERATURES: dict[Method, float] = {"infonce": 0.1, "simclr": 0.1, "moco": 0.2}
"""Temperature of the methods that have one: alpha of Tables 5b and 19, best for SimCLR; that of arXiv:2003.04297."""


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """What the loss compares and against what (Section 5, Appendix F)."""

    normalization: Normalization = "l2"
    """How byol scales predictions and targets (Table 20): l2: to unit length; layer: less their own mean, to unit
    length; batch: each feature by its mean and spread over the batch; none: not at all."""
    beta: float = 1.0
    """Weight of the negatives of infonce, from 0 (none, as BYOL) to 1 (all, as SimCLR)."""
    temperature: float | None = None
    """Divides the cosines under the exponential: alpha; by default the method's own, 0.1 for infonce and simclr, 0.2
    for moco."""

    def __post_init__(self) -> None:
        require(0 <= self.beta <= 1, "beta", self.beta, "a weight from 0 to 1")
        holds = self.temperature is None or 0 < self.temperature < math.inf
        require(holds, "temperature", self.temperature, "a number above 0, or None for the method's own")

    def temperature_of(self, method: Method) -> float:
        """The temperature of a method that has one: its own, unless one is given."""
        return TEMPERATURES[method] if self.temperature is None else self.temperature


@dataclass(frozen=True, kw_only=True)
class MoCoConfig:
    """The queue and the batch norm of MoCo v2 (arXiv:1911.05722, Section 3; arXiv:2003.04297)."""

    queue: int = 65536
    """Keys of earlier batches that serve as negatives; less than an epoch's images, or an image meets itself."""
    shuffle: bool = True
    """Keys see other batch-norm statistics than queries, so that these tell nothing: processes keep their own
    statistics and exchange images; one process splits its batch. Without it, one statistic over the whole batch."""
    splits: int = 8
    """Parts that one process splits a batch into for batch norm, for the 8 GPUs of MoCo."""

    def __post_init__(self) -> None:
        require(self.queue >= 2, "queue", self.queue, "2 keys or more")
        require(self.splits >= 1, "splits", self.splits, "1 part or more")


@dataclass(frozen=True, kw_only=True)
class LoggingConfig:
    """What is looked at while training runs, and what is kept."""

    log_every: int = 20
    """Steps between two lines of metrics.jsonl; the loss written is the mean over them."""
    health_every: int = 200
    """Steps between two looks at the spread, rank and agreement of the projections."""
    knn_every_epochs: float = 0
    """Epochs between two k-NN readings where labels are at hand; 0 reads four times over the run."""
    checkpoint_minutes: float = 10
    """Minutes between two checkpoints."""
    stop_on_collapse: bool = True
    """Stop with exit code 3 when the run has collapsed or diverged."""
    norms: bool = False
    """Write the mean norms of representations and projections at each line of metrics.jsonl (Figure 6)."""
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
    """Channels that images are given; by default 1 if they are gray, else 3, or what a .npy or TIFF file has."""

    def __post_init__(self) -> None:
        require(self.workers is None or self.workers >= 1, "workers", self.workers, "1 or more threads")
        require(self.channels is None or self.channels >= 1, "channels", self.channels, "1 or more channels")


READ_BY: dict[str, tuple[Method, ...]] = {
    "target.kind": ("byol", "infonce"),
    "optim.predictor_lr": ("byol", "infonce"),
    "optim.projector_lr": ("byol", "infonce", "simclr", "moco"),
    "loss.normalization": ("byol",),
    "loss.beta": ("infonce",),
    "loss.temperature": ("infonce", "simclr", "moco"),
    "moco.queue": ("moco",),
    "moco.shuffle": ("moco",),
    "moco.splits": ("moco",),
}
"""Settings that only some methods read: another value than the default is refused with the others."""


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """One pretraining run: the flags people type most, then a section for everything else."""

    encoder: str = "resnet50"
    """Any timm model name, or resnet10."""
    image_size: int = 224
    """Side of the square views, in pixels."""
    eval_size: int | None = None
    """Side at which the trained encoder looks at whole images; by default, and at least, that of the views. Crops
    show objects larger than whole images do: smaller views show them as large (arXiv:1906.06423), and cost less."""
    batch_size: int = 4096
    """Images per update, over all processes and micro-batches."""
    epochs: float = 1000
    """Passes over the images."""
    seed: int = 0
    """Everything random is a function of it and of the step."""
    method: Method = "byol"
    """What is learned: byol; its bridge to SimCLR (infonce), simclr, moco; supervised by labels; random: nothing."""
    device: Device = "auto"
    """Where: auto takes cuda, then mps, then cpu."""
    precision: Precision = "auto"
    """bf16 autocast with float32 weights, or float32 throughout; auto takes bf16 where it is faster."""
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    network: NetworkConfig = NetworkConfig()
    optim: OptimConfig = OptimConfig()
    target: TargetConfig = TargetConfig()
    loss: LossConfig = LossConfig()
    moco: MoCoConfig = MoCoConfig()
    watch: LoggingConfig = LoggingConfig()

    def __post_init__(self) -> None:
        require(self.image_size >= 8, "image_size", self.image_size, "8 pixels or more")
        require(self.eval_size is None or self.eval_size >= 8, "eval_size", self.eval_size, "8 pixels or more")
        require(self.batch_size >= 2, "batch_size", self.batch_size, "2 images or more (batch norm needs them)")
        require(0 < self.epochs < math.inf, "epochs", self.epochs, "a number above 0")
        require(self.seed >= 0, "seed", self.seed, "0 or more")
        micro, rest = divmod(self.batch_size, self.optim.accumulate)
        require(
            rest == 0 and micro >= 2,
            "optim.accumulate",
            self.optim.accumulate,
            f"a divisor of the batch size {self.batch_size} that leaves 2 images or more",
        )
        for name, methods in READ_BY.items():
            section, _, field = name.partition(".")
            value, default = (getattr(getattr(config, section), field) for config in (self, type(self)))
            if value != default and self.method not in methods:
                raise UserError(
                    f"{name} is {value!r}, but the method {self.method!r} does not read it; leave it out, or take the "
                    f"method {' or '.join(methods)}."
                )
        apart = self.target.start == "apart"
        if apart and (self.target.kind != "ema" or self.method not in ("byol", "infonce")):
            raise UserError(
                "target.start is 'apart', but only a target of kind 'ema' of the methods byol and infonce has a start; "
                "leave it out."
            )

    def inference_size(self) -> int:
        """Side at which the trained encoder looks at whole images, in pixels."""
        return max(self.image_size, self.eval_size or 0)

    def steps(self, epochs: float, images: int) -> int:
        """Updates in some passes over `images` images: one pass follows the other, and a batch may span two."""
        return int(epochs * images) // self.batch_size

    def total_steps(self, images: int) -> int:
        """Updates in the whole run; none for an encoder that stays as drawn."""
        return 0 if self.method == "random" else max(1, self.steps(self.epochs, images))

    def warmup_steps(self, images: int) -> int:
        """Updates over which the learning rate climbs."""
        return self.steps(min(self.optim.warmup_epochs, self.epochs / 4), images)


def overrule(recipe: PretrainConfig, settings: Mapping[str, Any]) -> PretrainConfig:
    """A recipe's config with what a user gives, as for `replace`.

    Recipes are made for BYOL: where another method is given, what it does not read of the recipe's goes back to the
    default.

    Raises:
        UserError: as `replace`; or a setting given that the method does not read.
    """
    method, plain = settings.get("method", recipe.method), PretrainConfig()
    unread: dict[str, Any] = {}
    for name, methods in READ_BY.items():
        if method not in methods:
            section, _, field = name.partition(".")
            unread[f"{section}__{field}"] = getattr(getattr(plain, section), field)
    return replace(recipe, **{**unread, **settings})
