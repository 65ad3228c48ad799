"""The limit: the fewest floating-point operations and bytes that one update of a method needs.

Operations are those of the matrix products, convolutions among them, counted directly (2 per multiply-add). Bytes
follow a model in which everything else is free: norms, activations and losses are computed while a product writes or
reads its values, and nothing is copied or cast twice. Less is possible only where values stay in the caches from one
product to the next, or where a fast algorithm (Winograd) multiplies less than a direct convolution.
"""

from dataclasses import dataclass

from byol.bench.ceilings import Ceilings
from byol.bench.dry_run import PRODUCTS, DryStep, batch_on_meta, build_on_meta, dry_step
from byol.config.optim import OptimConfig
from byol.config.run import PretrainConfig
from byol.encoders.build import parameter_count
from byol.methods.base import Method, TrainingSet

MASTER_BYTES = 4
"""Bytes of a weight, of its gradient and of its moments: float32, whatever the passes compute in."""
VALUE_BYTES = {"bf16": 2, "float32": 4}
"""Bytes of a value that the passes read and write."""


@dataclass(frozen=True)
class Work:
    """Operations and bytes of memory traffic."""

    flops: int
    bytes: int

    def __add__(self, other: "Work") -> "Work":
        return Work(self.flops + other.flops, self.bytes + other.bytes)

    def seconds(self, peak: float, bandwidth: float) -> float:
        """The roofline: least time at `peak` operations and `bandwidth` bytes per second, each used to the full."""
        return max(self.flops / peak, self.bytes / bandwidth)


@dataclass(frozen=True)
class Limit:
    """What one update of a batch needs at least, part by part."""

    parts: dict[str, Work]
    """`online forward`, `target forward`, `backward`, `optimizer`, `target update`."""
    images: int
    """Images of the batch."""
    precision: str
    """`bf16` or `float32`: what the passes compute in."""

    @property
    def total(self) -> Work:
        return sum(self.parts.values(), Work(0, 0))

    def seconds(self, ceilings: Ceilings) -> float:
        """Least time of an update on a machine with these ceilings."""
        return self.total.seconds(ceilings.peak(self.precision), ceilings.bandwidth)

    def images_per_second(self, ceilings: Ceilings) -> float:
        """Most images per second there."""
        return self.images / self.seconds(ceilings)

    def bound_by_memory(self, ceilings: Ceilings) -> bool:
        """Whether traffic takes longer than arithmetic there."""
        return self.total.bytes / ceilings.bandwidth > self.total.flops / ceilings.peak(self.precision)


@dataclass(frozen=True)
class Arithmetic:
    """What an update computes with."""

    precision: str
    """`bf16` or `float32`: that of the passes."""
    moments: int
    """Values that the optimizer keeps per weight."""
    micro_batches: int = 1
    """Micro-batches of an update, all alike."""


def limit_of(config: PretrainConfig, data: TrainingSet) -> Limit:
    """The limit of one update of a run, in one process; nothing is computed and no memory taken.

    Args:
        config: of the run; its precision is `bf16` or `float32`.
        data: what is known of the training images.

    Raises:
        UserError: the method's step does not run on shapes alone.
    """
    batch, method = batch_on_meta(config), build_on_meta(config, data)
    arithmetic = Arithmetic(config.precision, moments(config.optim), config.optim.accumulate)
    return count(method, dry_step(method, batch), len(batch.views[0]), arithmetic)


def moments(optim: OptimConfig) -> int:
    """Values that the optimizer keeps per weight: one momentum, or AdamW's two."""
    if optim.name == "adamw":
        return 2
    return 0 if optim.name == "sgd" and optim.momentum == 0 else 1


def count(method: Method, step: DryStep, images: int, arithmetic: Arithmetic) -> Limit:
    """The limit of an update whose micro-batches each have `images` images and call what `step` calls.

    A pass with gradients enabled is `online forward`, one without is `target forward`; products outside the networks,
    such as those of a contrastive loss, count their operations as `online forward` and no bytes. With W the weights of
    a network, A the outputs of its convolutions and linear layers, V the values of the images that it is given (0 for a
    head), and b the bytes of a value, a pass moves at least

    - forward: W and V read, A written and read once: b (W + V + 2 A);
    - backward: W, V and A read, the gradients of A written and read once: b (W + V + 3 A).

    An update moves 4 W for gradients written, 4 W (3 + 2 moments) in the optimizer (gradient read, weight and moments
    read and written), and 8 bytes of each weight that no gradient reaches (`target update`). Where b < 4 the last two
    also write the copy in b bytes that the next passes read.
    """
    width, repeats = VALUE_BYTES[arithmetic.precision], arithmetic.micro_batches
    trained = parameter_count(method)
    kept = sum(p.numel() for p in method.parameters()) - trained
    copied = width if width < MASTER_BYTES else 0
    products = [call for call in step.layers if isinstance(call.layer, PRODUCTS)]

    def forward(learns: bool) -> int:
        """Bytes of the passes with, or without, gradients."""
        read = sum(p.weights + p.image_values for p in step.passes if p.learns == learns)
        return repeats * width * (read + 2 * sum(call.outputs for call in products if call.learns == learns))

    target = sum(p.flops for p in step.passes if not p.learns)
    read_again = sum(p.weights + p.image_values for p in step.passes if p.propagates)
    back = read_again + 3 * sum(call.outputs for call in products if call.propagates)
    parts = {
        "online forward": Work(repeats * (step.forward - target), forward(learns=True)),
        "target forward": Work(repeats * target, forward(learns=False)),
        "backward": Work(repeats * step.backward, repeats * width * back + MASTER_BYTES * trained),
        "optimizer": Work(0, trained * (MASTER_BYTES * (3 + 2 * arithmetic.moments) + copied)),
        "target update": Work(0, kept * (2 * MASTER_BYTES + copied)),
    }
    return Limit(parts, repeats * images, arithmetic.precision)
