"""Memory in use: of tensors on a GPU; on a processor of this process, without those it started (Linux only)."""

from pathlib import Path

import torch


def now(device: torch.device) -> int:
    """Bytes in use now."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else _of_process("VmRSS")


def most(device: torch.device) -> int:
    """Most bytes in use at a time so far."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _of_process("VmHWM")


def forget(device: torch.device) -> None:
    """Count `most` from now on."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        Path("/proc/self/clear_refs").write_text("5")


def _of_process(what: str) -> int:
    """From the kernel's own lines: `getrusage` takes over what a parent process had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(what))
