"""Many processes: ranks, reductions, and batch norm over all of them.

`torchrun` starts the processes; this file reads what it tells them. With one process everything here is the identity.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self, TypeVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from byol.errors import UserError

T = TypeVar("T")


@dataclass(frozen=True)
class Member:
    """One process among those that train together."""

    rank: int = 0
    world_size: int = 1


def member() -> Member:
    """This process."""
    return Member(rank(), world_size())


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_first() -> bool:
    """Whether this process writes files and talks."""
    return rank() == 0


def launched() -> bool:
    """Whether torchrun started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def restarted() -> bool:
    """Whether torchrun has started this process anew after a failure (`--max-restarts`)."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT") or 0) > 0


def leave_group() -> tuple[int, int]:
    """Leave the processes that torchrun started before joining them: this one's number, and how many there are.

    What it trains from now on it trains alone, on the GPU and the cores that are its own.
    """
    return int(os.environ.pop("RANK")), int(os.environ.pop("WORLD_SIZE"))


@contextmanager
def processes(device: torch.device) -> Iterator[None]:
    """Join the other processes that torchrun started, and leave them at the end: NCCL on GPUs, gloo elsewhere."""
    if not launched() or dist.is_initialized():
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    except RuntimeError as error:
        if not _lost_another(error):
            raise
        raise UserError(
            f"Another of the {world_size()} processes has ended, so process {rank()} cannot go on; go on with the run "
            "by --resume, with as many processes as you like."
        ) from error
    finally:
        dist.destroy_process_group()


LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Socket closed", "NCCL", "timeout")
"""What gloo and NCCL say, among other words, where another process is gone."""


def _lost_another(error: RuntimeError) -> bool:
    """Whether an error of a collective operation says that another process is gone."""
    ours = isinstance(error, dist.DistError) or "gloo" in str(error)
    return ours and any(word.lower() in str(error).lower() for word in LOST)


def mean(value: Tensor) -> Tensor:
    """Mean of a tensor over the processes."""
    if world_size() == 1:
        return value
    value = value.detach().clone()
    dist.all_reduce(value)
    return value / world_size()


def all_reduce_min(value: int, device: torch.device) -> int:
    """The smallest of the processes' numbers."""
    if world_size() == 1:
        return value
    shared = torch.tensor(value, device=device)
    dist.all_reduce(shared, op=dist.ReduceOp.MIN)
    return int(shared.item())


def all_reduce_mean(value: Tensor) -> Tensor:
    """Mean of a tensor over the processes, with gradient: of a statistic that each took over equally many rows."""
    if world_size() == 1:
        return value
    result: Tensor = _AllMean.apply(value)
    return result


def gather(rows: Tensor) -> Tensor:
    """The rows of all processes, (N, ...) -> (N * world_size, ...) in the order of the ranks, with gradient.

    Every process must bring equally many. Process r finds its own from row r * N on.
    """
    if world_size() == 1:
        return rows
    result: Tensor = _Gather.apply(rows)
    return result


def shared_order(count: int, device: torch.device) -> Tensor:
    """A random order of `count` things, the same in every process: that of the first one's default generator."""
    order = torch.randperm(count, device=device)
    if world_size() > 1:
        dist.broadcast(order, src=0)
    return order


def any_rank(flag: bool, device: torch.device) -> bool:
    """Whether any process says yes; every process gets the same answer."""
    if world_size() == 1:
        return flag
    votes = torch.tensor(int(flag), device=device)
    dist.all_reduce(votes, op=dist.ReduceOp.MAX)
    return bool(votes.item())


def local_main_first(act: Callable[[], T], device: torch.device) -> T:
    """An act of every process, the first of each machine before the others: what it fetches they find on the disk."""
    first = int(os.environ.get("LOCAL_RANK", 0)) == 0
    try:
        if first:
            return act()
    finally:  # where it fails the others must not wait for ever
        any_rank(False, device)
    return act()


def gather_lines(lines: Iterable[str]) -> list[str]:
    """Every process's lines, in all of them."""
    mine = list(lines)
    if world_size() == 1:
        return mine
    theirs: list[list[str]] = [[] for _ in range(world_size())]
    dist.all_gather_object(theirs, mine)
    return [line for part in theirs for line in part]


def barrier() -> None:
    """Wait for all processes."""
    if world_size() > 1:
        dist.barrier()


BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def synchronize_batch_norm(module: nn.Module, device: torch.device) -> nn.Module:
    """Make every batch norm use the statistics of the whole batch, over all processes (official configs/byol.py:47).

    Raises:
        UserError: on a CPU, a batch norm with a forward pass of its own, which this project's form does not cover.
    """
    if world_size() == 1:
        return module
    if device.type == "cuda":
        from timm.layers import convert_sync_batchnorm

        converted: nn.Module = convert_sync_batchnorm(module)
        return converted
    from timm.layers import BatchNormAct2d

    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
                setattr(parent, name, BatchNormAcrossProcesses.like(child))  # type: ignore[arg-type]
            elif type(child) is BatchNormAct2d:
                setattr(parent, name, BatchNormActAcrossProcesses.like(child))  # type: ignore[arg-type]
            elif isinstance(child, BATCH_NORMS) and not isinstance(child, BatchNormAcrossProcesses):
                raise UserError(
                    f"{type(child).__name__} cannot share its statistics between CPU processes; "
                    "train this encoder in one process, or on GPUs."
                )
    return module


class BatchNormAcrossProcesses(nn.BatchNorm1d):
    """Batch norm over the batches of all processes, on any backend (PyTorch's own needs a GPU).

    Every process must hold equally many values per channel.
    """

    @classmethod
    def like(cls, norm: nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d) -> Self:
        """The same layer, weights and statistics included."""
        new = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        new.weight, new.bias = norm.weight, norm.bias
        new.running_mean, new.running_var = norm.running_mean, norm.running_var
        new.num_batches_tracked = norm.num_batches_tracked
        return new.train(norm.training)

    def forward(self, input: Tensor) -> Tensor:
        """(N, C), (N, C, L), (N, C, H, W) or (N, C, D, H, W) -> the same, normalized."""
        if not self.training:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        dims = [0, *range(2, input.ndim)]
        shape = [1, -1] + [1] * (input.ndim - 2)
        x = input if input.dtype == torch.float64 else input.float()
        # sum, then sum of squares around the common mean: two small reductions, and no cancellation
        mean = all_reduce_mean(x.mean(dims))
        centered = x - mean.view(shape)
        variance = all_reduce_mean(centered.square().mean(dims))
        if self.running_mean is not None and self.running_var is not None and self.momentum is not None:
            count = x.numel() // x.shape[1] * world_size()
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * count / (count - 1), self.momentum)
                if self.num_batches_tracked is not None:
                    self.num_batches_tracked.add_(1)
        out = centered * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        normalized: Tensor = out.to(input.dtype)
        return normalized


class BatchNormActAcrossProcesses(BatchNormAcrossProcesses):
    """The same, with the dropping layer and the activation that timm's `BatchNormAct2d` has behind it."""

    drop: nn.Module
    act: nn.Module

    @classmethod
    def like(cls, norm: nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d) -> Self:
        """The same layer, weights and statistics included."""
        new = super().like(norm)
        new.drop, new.act = norm.get_submodule("drop"), norm.get_submodule("act")
        return new

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) -> the same, normalized and activated."""
        activated: Tensor = self.act(self.drop(super().forward(input)))
        return activated


class _AllMean(torch.autograd.Function):
    """Mean over the processes; its gradient is the mean of theirs."""

    @staticmethod
    def forward(ctx: object, value: Tensor) -> Tensor:
        """All processes receive the same mean."""
        return mean(value)

    @staticmethod
    def backward(ctx: object, *grads: Tensor) -> Tensor:
        """Each process's value had a share of 1 / world_size in every process's mean.

        Losses are means over one process's part of the batch, and gradients are averaged over the processes after:
        so what is added up here is divided by the number of processes, once.
        """
        return mean(grads[0])


class _Gather(torch.autograd.Function):
    """Concatenation over the processes; the gradient of a row is the sum of what all processes make of it."""

    @staticmethod
    def forward(ctx: object, rows: Tensor) -> Tensor:
        """All processes receive the rows of all."""
        parts = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: object, *grads: Tensor) -> Tensor:
        """Losses are means over one process's rows, and gradients are averaged over the processes after: the sum here
        and that average make the gradient of the mean over all rows.
        """
        total = grads[0].contiguous().clone()
        dist.all_reduce(total)
        return total.chunk(world_size())[rank()]
