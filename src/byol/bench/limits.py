"""The limit: the fewest floating-point operations and bytes that one update of BYOL needs.

Operations are those of the matrix products, convolutions among them, counted directly (2 per multiply-add). Bytes
follow a model in which everything else is free: norms, activations and losses are done while a product writes or reads
its values, and nothing is copied or cast twice. Less is possible only where values stay in the caches from one product
to the next, or where a fast algorithm (Winograd) multiplies less than a direct convolution.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from byol.bench.ceilings import Ceilings
from byol.config.optim import OptimConfig
from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.encoders.build import parameter_count
from byol.errors import UserError
from byol.methods.byol import BYOL
from byol.pretraining.train import build

VIEWS = 2
"""Passes of each network in an update: one per view (Section 3.1)."""
MASTER_BYTES = 4
"""Bytes of a weight, of its gradient and of its moments: float32 whatever the passes compute in."""
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


def limit_of(config: PretrainConfig, in_chans: int, precision: str) -> Limit:
    """The limit of one update of a run, in one process; nothing is computed and no memory taken.

    Args:
        config: networks, image size, batch size, micro-batches, optimizer.
        in_chans: channels of the images.
        precision: `bf16` or `float32`.
    """
    parts = config.optim.accumulate
    shape = (config.batch_size // parts, in_chans, config.image_size, config.image_size)
    return count(on_paper(config, in_chans), shape, VALUE_BYTES[precision], moments(config.optim), parts, precision)


def on_paper(config: PretrainConfig, in_chans: int) -> BYOL:
    """The networks of a run with shapes only: no weights are drawn, no memory is taken."""
    plain = replace(config, optim__activation_checkpointing=False)  # what is computed twice need not be
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        method = build(plain, in_chans, torch.device("meta")).method.train()
    if not isinstance(method, BYOL):
        raise UserError(
            f"The limit is counted for BYOL only, not for the method {config.method!r}; give --method byol."
        )
    return method


def moments(optim: OptimConfig) -> int:
    """Values that the optimizer keeps per weight: one momentum, or AdamW's two."""
    if optim.name == "adamw":
        return 2
    return 0 if optim.name == "sgd" and optim.momentum == 0 else 1


def count(
    method: BYOL,
    view_shape: tuple[int, ...],
    value_bytes: int,
    moments: int,
    micro_batches: int = 1,
    precision: str = "float32",
) -> Limit:
    """The limit of an update of `micro_batches` micro-batches, whose views have `view_shape` (N, C, H, W) each.

    With W the weights of a network, A the outputs of its convolutions and linear layers, V the values of a view, and b
    the bytes of a value, a pass of one view moves at least

    - forward: W and V read, A written and read once: b (W + V + 2 A);
    - backward: W, V and A read, the gradients of A written and read once: b (W + V + 3 A);

    and an update moves 4 W for gradients written, 4 W (3 + 2 moments) in the optimizer (gradient read, weight and
    moments read and written), and 8 bytes of each target weight; where b < 4 the last two also write the copy in b
    bytes that the next passes read.
    """
    online = nn.Sequential(method.encoder, method.projector, method.predictor)
    target = nn.Sequential(method.target_encoder, method.target_projector)
    forward, backward, outputs = _products(online, view_shape)
    target_forward, _, target_outputs = _products(target, view_shape)

    passes, view = VIEWS * micro_batches, torch.Size(view_shape).numel()
    weights = parameter_count(online)
    kept = sum(p.numel() for p in target.parameters())
    copied = value_bytes if value_bytes < MASTER_BYTES else 0
    parts = {
        "online forward": Work(passes * forward, passes * value_bytes * (weights + view + 2 * outputs)),
        "target forward": Work(passes * target_forward, passes * value_bytes * (kept + view + 2 * target_outputs)),
        "backward": Work(
            passes * backward,
            passes * value_bytes * (weights + view + 3 * outputs) + MASTER_BYTES * weights,
        ),
        "optimizer": Work(0, weights * (MASTER_BYTES * (3 + 2 * moments) + copied)),
        "target update": Work(0, kept * (2 * MASTER_BYTES + copied)),
    }
    return Limit(parts, micro_batches * view_shape[0], precision)


def _products(network: nn.Module, view_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Operations of one pass forward, of one backward, and values that its products give out."""
    device = next(network.parameters()).device
    trains = any(p.requires_grad for p in network.parameters())
    with torch.set_grad_enabled(trains), _outputs_of(network) as sizes, FlopCounterMode(display=False) as counter:
        out = network(torch.empty(view_shape, device=device))
        forward = counter.get_total_flops()
        outputs = sum(sizes)
        if trains:
            out.sum().backward()
        backward = counter.get_total_flops() - forward
    return forward, backward, outputs


@contextmanager
def _outputs_of(network: nn.Module) -> Iterator[list[int]]:
    """Gather how many values each convolution and linear layer gives out."""
    sizes: list[int] = []

    def seen(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        sizes.append(output.numel())

    products = (nn.modules.conv._ConvNd, nn.Linear)
    handles = [m.register_forward_hook(seen) for m in network.modules() if isinstance(m, products)]
    try:
        yield sizes
    finally:
        for handle in handles:
            handle.remove()
