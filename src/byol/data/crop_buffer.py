"""The crops of a batch, written to one tensor by the threads that make them.

Collecting a batch afterwards would be slower: PyTorch would copy with every core, and wait for the cores that decode
(benchmarks/threads.py).
"""

from threading import Lock

import torch
from torch import Tensor


class CropBuffer:
    """(N, C, S, S) whose rows many threads write: uint8, or float32 in [0, 1] once any crop has floats.

    Args:
        shape: N, C, S, S.
        pinned: whether the memory is page-locked, so that a copy to a GPU runs beside the host.
    """

    def __init__(self, shape: tuple[int, int, int, int], pinned: bool) -> None:
        self._bytes = torch.empty(shape, dtype=torch.uint8, pin_memory=pinned)
        self._floats: Tensor | None = None  # most images have 8 bits
        self._deep: set[int] = set()
        self._pinned, self._lock = pinned, Lock()

    def put(self, row: int, crop: Tensor) -> None:
        """Write a crop (C, S, S), uint8 or float32 in [0, 1], to its row."""
        if crop.dtype == torch.uint8:
            self._bytes[row] = crop
        else:
            self._deep.add(row)
            self._as_floats()[row] = crop

    def together(self) -> Tensor:
        """All rows, after each was written. Where some have floats, the 8-bit ones become floats too."""
        if not self._deep:
            return self._bytes
        floats = self._as_floats()
        for row in set(range(len(floats))) - self._deep:
            torch.div(self._bytes[row], 255, out=floats[row])
        return floats

    def _as_floats(self) -> Tensor:
        with self._lock:
            if self._floats is None:
                self._floats = torch.empty(self._bytes.shape, pin_memory=self._pinned)
            return self._floats
