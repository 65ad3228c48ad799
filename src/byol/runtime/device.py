"""What this machine is, and what `auto` takes on it: the device, the precision, the memory at hand."""

import ctypes
import os
import platform
import re
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from byol.config.run import Device, Precision
from byol.errors import UserError

CGROUP = Path("/sys/fs/cgroup")
"""Where Linux tells a container's own limits."""


def choose_device(asked: Device) -> tuple[torch.device, str]:
    """The device of training and the reason: cuda, then mps, then cpu, unless one was asked for.

    Raises:
        UserError: a device that this machine or this build of PyTorch does not have.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if asked == "auto":
        name = next(name for name, there in available.items() if there)
        missing = [n for n in ("cuda", "mps") if not available[n] and name == "cpu"]
        why = f"no {' or '.join(missing)} device here" if missing else f"{name} is available"
    else:
        name, why = asked, "asked for"
        if not available[name]:
            have = ", ".join(n for n, there in available.items() if there)
            raise UserError(f"The device {name!r} is not available here; this machine has: {have}.")
    if name == "cuda":
        index, there = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
        if index >= there > 0:
            raise UserError(
                f"This is process {index + 1} of this machine, which has {there} GPUs; start {there} at most."
            )
        return torch.device("cuda", index), why
    return torch.device(name), why


def choose_precision(asked: Precision, device: torch.device) -> tuple[Precision, str]:
    """bf16 autocast or float32, and the reason: `auto` takes bf16 where the hardware multiplies it.

    On a processor that is not faster for every encoder; a run times its own (`byol.pretraining.precision`).
    """
    if asked != "auto":
        return asked, "asked for"
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16", "this GPU multiplies bf16 in hardware"
        return "float32", "this GPU has no bf16 units"
    if device.type == "cpu":
        features = cpu_features()
        for flag, words in (("amx_bf16", "AMX"), ("avx512_bf16", "AVX-512")):
            if flag in features:
                return "bf16", f"this processor multiplies bf16 in hardware ({words})"
        return "float32", "this processor has no bf16 units"
    return "float32", f"bf16 is not tried on {device.type}"


def autocast(device: torch.device, bf16: bool) -> AbstractContextManager[object]:
    """bf16 where PyTorch holds it to be safe, or nothing."""
    return torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext()


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Computation in the tensors' own precision; nothing on a device that has no autocast, such as meta."""
    return torch.autocast(device.type, enabled=False) if torch.amp.is_autocast_available(device.type) else nullcontext()


def cpu_features() -> frozenset[str]:
    """Flags of the processor as Linux names them; empty where /proc/cpuinfo is missing."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return frozenset()
    for line in path.read_text(errors="replace").splitlines():
        if line.startswith(("flags", "Features")):
            return frozenset(line.split(":", 1)[1].split())
    return frozenset()


def free_memory(device: torch.device) -> int:
    """Bytes that this process can still take: of the GPU, or its part of main memory (4 GB where nobody tells)."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    path = Path("/proc/meminfo")
    found = [
        int(line.split()[1]) * 1024
        for line in (path.read_text().splitlines() if path.is_file() else [])
        if line.startswith("MemAvailable")
    ]
    limit, used, stat = (CGROUP / f"memory.{name}" for name in ("max", "current", "stat"))
    if limit.is_file() and used.is_file() and limit.read_text().strip().isdigit():
        of_files = re.search(r"^inactive_file (\d+)$", stat.read_text() if stat.is_file() else "", re.MULTILINE)
        given_back = int(of_files[1]) if of_files else 0  # what was read from files goes when memory is asked for
        found.append(max(0, int(limit.read_text()) - int(used.read_text()) + given_back))
    return min(found, default=4 << 30) // _local_processes()


def _local_processes() -> int:
    """Processes that torchrun started on this machine; they share its memory and cores."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def make_ready(device: torch.device) -> None:
    """What a process sets once before it trains."""
    keep_freed_memory()
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # shapes never change, so the fastest kernels are found once


def keep_freed_memory() -> None:
    """Have glibc keep freed memory for the next step instead of handing it back to the system.

    A step on a processor frees and takes the same hundreds of megabytes again and again, and every page that comes back
    from the system must be cleared and mapped anew: a sixth of a small network's step. Does nothing where the C library
    is another.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: never shrink the heap
        mallopt(-4, 0)  # M_MMAP_MAX: large blocks, too, come from the heap


def load() -> float:
    """Programs that want a core, as a mean over the last minute; 0 where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def cores() -> int:
    """Processor cores for this process: those it may use, shared with the other processes of a run on this machine."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, there // _local_processes())


def describe() -> dict[str, object]:
    """The machine and the versions, for result files."""
    import timm
    import torchvision

    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in (Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else [])
            if line.startswith("model name")
        ),
        platform.processor() or platform.machine(),
    )
    return {
        "cpu": model,
        "cores": cores(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "timm": timm.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }
