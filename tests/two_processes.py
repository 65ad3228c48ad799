"""What one of two processes does for test_distributed.py: `python two_processes.py IMAGES OUT`.

It finds its place in torchrun's variables, and writes `values-RANK.safetensors` and, through rank 0, a whole run in
`OUT/run`; another over the images in `OUT/bad`, read anew each epoch, in `OUT/bad-run`.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

import byol
from byol.methods.byol import BYOL
from byol.methods.infonce import InfoNCE
from byol.methods.moco import MoCo
from byol.methods.simclr import SimCLR
from byol.runtime import distributed
from conftest import TINY
from small_networks import gradients, online, predictor, views

RUN = {**TINY, "optim__name": "sgd", "logging__log_every": 1, "logging__health_every": 2, "epochs": 1}
SHAPES = {"flat": (12, 5), "maps": (8, 4, 3, 2), "rows": (8, 4, 7), "activated": (8, 4, 3, 2)}


def batch(kind: str) -> tuple[Tensor, Tensor]:
    """Values far from zero and a weight for each of them in the loss, both for the joined batch."""
    generator = torch.Generator().manual_seed(4)
    x = 100 + 3 * torch.randn(SHAPES[kind], generator=generator, dtype=torch.float64)
    return x, torch.randn(SHAPES[kind], generator=generator, dtype=torch.float64)


def norm(kind: str) -> nn.Module:
    """A batch norm with weights that matter."""
    made: dict[str, Callable[[], nn.Module]] = {
        "flat": lambda: nn.BatchNorm1d(5),
        "maps": lambda: nn.BatchNorm2d(4),
        "rows": lambda: nn.BatchNorm1d(4),
        "activated": lambda: BatchNormAct2d(4, act_layer=nn.SiLU),
    }
    layer = made[kind]()
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(0.5, 2, layer.num_features))
        layer.bias.copy_(torch.linspace(-1, 1, layer.num_features))
    return nn.Sequential(layer).double()


def through(layer: nn.Module, x: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """Two passes in training, their gradients, and one in evaluation."""
    x = x.clone().requires_grad_()
    out = layer(layer(x))  # the second pass feels the first one's gradient
    (out * weight).sum(tuple(range(1, x.ndim))).mean().backward()
    values = {"out": out.detach(), "x.grad": x.grad}
    values |= {f"{name}.grad": p.grad for name, p in layer.named_parameters()}
    values |= {name: value.clone() for name, value in layer.named_buffers()}
    with torch.no_grad():
        values["evaluated"] = layer.eval()(x)
    return {name: value.contiguous() for name, value in values.items() if value is not None}


METHODS: dict[str, Callable[[], nn.Module]] = {
    "byol, batch": lambda: BYOL(*online(), predictor(), normalization="batch"),
    "infonce, ema": lambda: InfoNCE(*online(), predictor(), beta=0.5, temperature=0.2),
    "infonce, online": lambda: InfoNCE(*online(), predictor(), target="online", temperature=0.2),
    "simclr": lambda: SimCLR(*online(), temperature=0.2),
    "moco": lambda: MoCo(*online(), queue=20, shuffle=False).double(),
    "moco, shuffled": lambda: MoCo(*online(), queue=20, splits=4).double(),
}
"""Methods without batch norm, which see one thing whether one process has the batch of 8 or two have 4 each."""


def method_values(make: Callable[[], nn.Module], part: slice) -> dict[str, Tensor]:
    """Loss, gradients and buffers of two batches in a row, of which this process has a part."""
    method = make()
    for seed in range(2):
        v1, v2 = (v[part] for v in views(8, seed))
        loss = method(v1, v2)
    found = {"loss": loss.detach(), **{f"{name}.grad": g for name, g in gradients(method, loss).items()}}
    return found | {name: value.clone() for name, value in method.named_buffers()}


def shuffled_keys(rank: int, world: int) -> Tensor:
    """The queue after one batch of 8 through networks with batch norm of each process's own."""
    method = MoCo(*online(norm=True), queue=20, splits=2).double()
    torch.manual_seed(11 + rank)  # the first process's order is everyone's
    v1, v2 = (v[rank * 8 // world : (rank + 1) * 8 // world] for v in views(8))
    method(v1, v2)
    return method.queue[:8].clone()


def main(images: str, out: str) -> None:
    with distributed.processes(torch.device("cpu")):
        rank, values = distributed.rank(), {}
        for kind in SHAPES:
            x, weight = batch(kind)
            half = len(x) // 2
            part = slice(rank * half, (rank + 1) * half)
            layer = distributed.synchronize_batch_norm(norm(kind), torch.device("cpu"))
            values |= {f"{kind}/{name}": v for name, v in through(layer, x[part], weight[part]).items()}
        for name, make in METHODS.items():
            part = slice(4 * rank, 4 * rank + 4)
            values |= {f"{name}/{key}": v.contiguous() for key, v in method_values(make, part).items()}
        values["shuffled keys"] = shuffled_keys(rank, 2)
        values["mean"] = distributed.mean(torch.tensor([1.0 + rank, 10.0 * rank]))
        cpu = torch.device("cpu")
        votes = [
            distributed.any_rank(rank == 1, cpu),
            distributed.any_rank(False, cpu),
            distributed.any_rank(True, cpu),
        ]
        values["agree"] = torch.tensor(votes)
        values["least"] = torch.tensor(distributed.all_reduce_min(7 - rank, cpu))
        fetched, there = Path(out) / "fetched", []

        def fetch() -> bool:
            there.append(fetched.is_file())
            time.sleep(0.5 * (rank == 0))
            fetched.touch()
            return fetched.is_file()

        assert distributed.local_main_first(fetch, cpu)
        values["found what the first fetched"] = torch.tensor(there)
        values["who"] = torch.tensor([rank, distributed.world_size(), int(distributed.is_first())])
        save_file(values, Path(out) / f"values-{rank}.safetensors")
        byol.pretrain(images, recipe="cifar10-cpu", out=Path(out) / "run", quiet=True, **RUN)
        again = {**RUN, "optim__activation_checkpointing": True}
        byol.pretrain(images, recipe="cifar10-cpu", out=Path(out) / "recomputed", quiet=True, **again)
        streamed = {**RUN, "data__memory": "never", "logging__health_every": 10, "logging__stop_on_collapse": False}
        byol.pretrain(Path(out) / "bad", recipe="cifar10-cpu", out=Path(out) / "bad-run", quiet=True, **streamed)


if __name__ == "__main__":
    main(*sys.argv[1:])
