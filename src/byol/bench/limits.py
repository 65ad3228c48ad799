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
from byol.data.batch import Batch
from byol.errors import UserError
from byol.methods.base import Method, TrainingSet
from byol.methods.table import method_class
from byol.pretraining.state import build_state

PRODUCTS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
"""Layers whose outputs are written to memory."""
IMAGE_DIMS = 4
"""Dimensions of a batch of images; features have two."""
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


def limit_of(config: PretrainConfig, precision: str) -> Limit:
    """The limit of one update of a run, in one process; nothing is computed and no memory taken.

    Args:
        config: of the run.
        precision: `bf16` or `float32`.

    Raises:
        UserError: a method whose step cannot be followed without computing it.
    """
    parts = config.optim.accumulate
    return count(on_paper(config), batch_on_paper(config), VALUE_BYTES[precision], moments(config.optim), parts)


def on_paper(config: PretrainConfig) -> Method:
    """The method of a run with shapes only: no weights are drawn, no memory is taken."""
    plain = replace(config, optim__activation_checkpointing=False)  # what is computed twice need not be
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        data = TrainingSet(config.batch_size, labels=[0, 1])
        return build_state(plain, data, torch.device("meta")).method.train()


def batch_on_paper(config: PretrainConfig) -> Batch:
    """A micro-batch of a run, with shapes only."""
    method, count = method_class(config.method), config.batch_size // config.optim.accumulate
    with torch.device("meta"):
        views = tuple(
            torch.empty(count, config.encoder.channels, view.size, view.size) for view in method.views(config)
        )
        numbers = torch.empty(count, dtype=torch.long)
    labels, index = (numbers if need in method.needs else None for need in ("labels", "index"))
    return Batch(views, labels, index)


def moments(optim: OptimConfig) -> int:
    """Values that the optimizer keeps per weight: one momentum, or AdamW's two."""
    if optim.name == "adamw":
        return 2
    return 0 if optim.name == "sgd" and optim.momentum == 0 else 1


def count(method: Method, batch: Batch, value_bytes: int, moments: int, micro_batches: int = 1) -> Limit:
    """The limit of an update of `micro_batches` micro-batches like `batch`.

    The networks are the children of a method. With W the weights of a network, A the outputs of its convolutions and
    linear layers, V the values of the images it is given, and b the bytes of a value, each pass moves at least

    - forward: W and V read, A written and read once: b (W + V + 2 A);
    - backward: W, V and A read, the gradients of A written and read once: b (W + V + 3 A);

    and an update moves 4 W for gradients written, 4 W (3 + 2 moments) in the optimizer (gradient read, weight and
    moments read and written), and 8 bytes of each weight that no gradient reaches, as a target has them; where b < 4
    the last two also write the copy in b bytes that the next passes read.

    Raises:
        UserError: a method whose step cannot be followed without computing it.
    """
    online, target, backward = _passes(method, batch)
    learned = sum(p.numel() for p in method.parameters() if p.requires_grad)
    kept = sum(p.numel() for p in method.parameters() if not p.requires_grad)
    copied = value_bytes if value_bytes < MASTER_BYTES else 0

    def forward(seen: Passes) -> Work:
        values = seen.weights + seen.images + 2 * seen.outputs
        return Work(micro_batches * seen.flops, micro_batches * value_bytes * values)

    values = online.weights + online.images + 3 * online.outputs
    parts = {
        "online forward": forward(online),
        "target forward": forward(target),
        "backward": Work(micro_batches * backward, micro_batches * value_bytes * values + MASTER_BYTES * learned),
        "optimizer": Work(0, learned * (MASTER_BYTES * (3 + 2 * moments) + copied)),
        "target update": Work(0, kept * (2 * MASTER_BYTES + copied)),
    }
    precision = next(name for name, size in VALUE_BYTES.items() if size == value_bytes)
    return Limit(parts, micro_batches * len(batch.views[0]), precision)


@dataclass
class Passes:
    """What the passes of some networks do, added up."""

    flops: int = 0
    weights: int = 0
    images: int = 0
    outputs: int = 0


def _passes(method: Method, batch: Batch) -> tuple[Passes, Passes, int]:
    """Passes with a gradient, passes without, and the operations of the backward pass, of one micro-batch."""
    online, target = Passes(), Passes()
    with FlopCounterMode(display=False) as counter, _watched(method, online, target, counter):
        try:
            losses = [method(*term) for term in method.terms(batch)]
            forward = counter.get_total_flops()
            for loss in losses:
                loss.backward()
        except (NotImplementedError, RuntimeError) as error:
            raise UserError(
                f"The limit of {type(method).__name__} cannot be counted ({' '.join(str(error).split())[:80]}); give "
                "--method byol."
            ) from error
        return online, target, counter.get_total_flops() - forward


@contextmanager
def _watched(method: Method, online: Passes, target: Passes, counter: FlopCounterMode) -> Iterator[None]:
    """Add up what the children of a method do: where gradients are recorded in `online`, else in `target`."""
    handles = []
    before: list[int] = []

    def passes() -> Passes:
        return online if torch.is_grad_enabled() else target

    def begin(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        before.append(counter.get_total_flops())
        passes().weights += sum(p.numel() for p in module.parameters())
        passes().images += sum(x.numel() for x in inputs if x.ndim == IMAGE_DIMS)

    def end(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        passes().flops += counter.get_total_flops() - before.pop()

    def product(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        passes().outputs += output.numel()

    for network in method.children():
        handles += [network.register_forward_pre_hook(begin), network.register_forward_hook(end)]
        handles += [m.register_forward_hook(product) for m in network.modules() if isinstance(m, PRODUCTS)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
