"""What this machine can do at most: matrix products in bf16 and float32, and copying memory."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

SIZES = {"cpu": (512, 1024, 2048), "cuda": (4096, 8192), "mps": (1024, 2048, 4096)}
"""Sides of the square products that are tried; the best counts."""
COPIED = {"cpu": 256 << 20, "cuda": 1 << 30, "mps": 256 << 20}
"""Bytes of the block that is copied: many times what caches hold."""


@dataclass(frozen=True)
class Ceilings:
    """Best rates measured."""

    bf16: float
    """Floating-point operations per second of a matrix product, two per multiply-add."""
    float32: float
    bandwidth: float
    """Bytes per second of a copy, those read and those written."""

    def peak(self, precision: str) -> float:
        """Operations per second in `bf16` or `float32`."""
        return self.bf16 if precision == "bf16" else self.float32


def measure_ceilings(device: torch.device, seconds: float = 6.0, tiny: bool = False) -> Ceilings:
    """Measure them, a third of the time each, with the threads and settings that a run has here.

    `tiny` takes small blocks: to see that it works, not to believe it.
    """
    sizes = (64,) if tiny else SIZES[device.type]
    copied = 1 << 20 if tiny else COPIED[device.type]
    return Ceilings(
        bf16=_products(device, torch.bfloat16, sizes, seconds / 3),
        float32=_products(device, torch.float32, sizes, seconds / 3),
        bandwidth=_copy(device, copied, seconds / 3),
    )


def synchronize(device: torch.device) -> None:
    """Wait until a device has done all it was told; a processor has done so already."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _products(device: torch.device, dtype: torch.dtype, sizes: tuple[int, ...], seconds: float) -> float:
    best = 0.0
    for size in sizes:
        least = _product(device, dtype, size, seconds / len(sizes))
        best = max(best, 2 * size**3 / least)
        if 8 * least > seconds:  # what the next size would take: bf16 is slow where it is emulated
            break
    return best


def _product(device: torch.device, dtype: torch.dtype, size: int, seconds: float) -> float:
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    before = torch.get_float32_matmul_precision()
    if device.type == "cuda":  # float32 convolutions are TF32 on GPUs that have it, by PyTorch's own choice
        torch.set_float32_matmul_precision("high")
    try:
        return _least(lambda: torch.mm(a, b, out=out), device, seconds)
    finally:
        torch.set_float32_matmul_precision(before)


def _copy(device: torch.device, size: int, seconds: float) -> float:
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    return 2 * size / _least(lambda: target.copy_(source), device, seconds)


def _least(work: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Least time of some work that is done until the time is up, three times at least."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 4 or time.perf_counter() < end:
        began = time.perf_counter()
        work()
        synchronize(device)
        times.append(time.perf_counter() - began)
    return min(times[1:])  # the first takes memory and chooses kernels
