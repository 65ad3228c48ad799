"""What one of two processes does for test_systems_together.py: `python two_processes_systems.py`, under torchrun.

Each has half of a batch. It fails where losses, gradients or buffers are not those of one process with all of it.
"""

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from byol.config.encoder import EncoderSpec
from byol.methods.amdim import AMDIM
from byol.methods.cmc import CMC
from byol.methods.colorization import Colorization
from byol.methods.cpc import CPC, Context
from byol.methods.inpainting import Inpainting
from byol.methods.local_aggregation import LocalAggregation
from byol.methods.memory_bank import MemoryBank
from byol.methods.pirl import PIRL, TilesHead

NORMALIZATION = EncoderSpec().normalization


class Small(nn.Module):
    """One convolution, without batch norm."""

    num_features = 6

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 6, 2, padding=1)

    def forward_features(self, x: Tensor) -> Tensor:
        return self.conv(x).tanh()

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_features(x).mean((2, 3))

    def forward_intermediates(self, x: Tensor, indices: list[int]) -> tuple[Tensor, list[Tensor]]:
        found = self.forward_features(x)
        return found, [found for _ in indices]

    def forward_head(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def bank() -> MemoryBank:
    return MemoryBank(20, 4, negatives=6, temperature=0.2)


def local_aggregation() -> LocalAggregation:
    made = LocalAggregation(Small(), nn.Linear(6, 4), bank(), background=5, clusters=3, clusterings=2)
    made.labels.copy_(torch.arange(20) % 3)
    return made


Batch = tuple[Tensor, Tensor, Tensor, Tensor]
"""Two views, the index, and draws."""

SYSTEMS: dict[str, tuple[Callable[[], nn.Module], Callable[[Batch], tuple[Tensor, ...]]]] = {
    "pirl": (
        lambda: PIRL(Small(), nn.Linear(6, 4), TilesHead(6, 4), bank()),
        lambda b: (b[0], b[1], b[2], b[3][:, :28]),
    ),
    "cmc": (
        lambda: CMC((Small(), nn.Linear(6, 4)), (Small(2), nn.Linear(6, 4)), (bank(), bank()), NORMALIZATION),
        lambda b: (b[0], b[2], b[3][:, :1]),
    ),
    "cpc": (
        lambda: CPC(Small(), nn.Linear(6, 3), [Context(6, 4, 2, 6) for _ in range(2)], (2, 3)),
        lambda b: (b[0],),
    ),
    "amdim": (lambda: AMDIM(Small(), nn.Linear(6, 4), nn.Conv2d(6, 4, 1)), lambda b: (b[0], b[1])),
    "inpainting": (lambda: Inpainting(Small(), nn.Conv2d(6, 3, 2), 2, 4), lambda b: (b[0], b[3][:, :4])),
    "colorization": (lambda: Colorization(Small(), nn.Conv2d(6, 261, 1), NORMALIZATION), lambda b: (b[0],)),
    "local-aggregation": (local_aggregation, lambda b: (b[0], b[2])),
}


def values(name: str, part: slice) -> dict[str, Tensor]:
    """Loss, gradients and buffers of two batches in a row, of which this process has a part."""
    make, arguments = SYSTEMS[name]
    torch.manual_seed(0)
    method, generator = make().double(), torch.Generator().manual_seed(1)
    for _ in range(2):
        views = torch.randn(2, 8, 3, 16, 16, generator=generator, dtype=torch.float64)
        index, draws = torch.randperm(20, generator=generator)[:8], torch.rand(8, 30, generator=generator)
        method.zero_grad()
        loss = method(*(one[part] for one in arguments((views[0], views[1], index, draws))))
        loss.backward()
    found = {"loss": loss.detach(), **{f"{n}.grad": p.grad for n, p in method.named_parameters() if p.grad is not None}}
    # counts of colors are means over processes: only their shares matter
    return found | {f"buffer {n}": b / b.sum() if n == "counts" else b.clone() for n, b in method.named_buffers()}


def main() -> None:
    alone = {name: values(name, slice(0, 8)) for name in SYSTEMS}
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    for name, expected in alone.items():
        for key, value in values(name, slice(4 * rank, 4 * rank + 4)).items():
            if not key.startswith("buffer"):
                dist.all_reduce(value)
                value /= 2
            torch.testing.assert_close(
                value, expected[key], rtol=1e-7, atol=1e-9, msg=lambda m, w=f"{name} {key}": w + m
            )
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
