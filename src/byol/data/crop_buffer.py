"""The crops of a batch, brought together by the threads that make them.

A thread that collected a batch afterwards would copy it with every core, and each of those would wait for a core that
decodes (benchmarks/threads.py).
"""

from threading import Lock

import torch
from torch import Tensor


class CropBuffer:
    """(N, C, S, S) whose rows are written by many threads: bytes, or floats in [0, 1] once a crop is of floats.

    Args:
        shape: N, C, S, S.
        pinned: in memory from which a GPU fetches by itself.
    """

    def __init__(self, shape: tuple[int, int, int, int], pinned: bool) -> None:
        self._bytes = torch.empty(shape, dtype=torch.uint8, pin_memory=pinned)
        self._floats: Tensor | None = None  # most images have 8 bits
        self._deep: set[int] = set()
        self._pinned, self._lock = pinned, Lock()

    def put(self, row: int, crop: Tensor) -> None:
        """Write a crop (C, S, S), uint8 or float32, to its row."""
        if crop.dtype == torch.uint8:
            self._bytes[row] = crop
        else:
            self._deep.add(row)
            self._as_floats()[row] = crop

    def together(self) -> Tensor:
        """All rows, once each was put; 8-bit ones among floats become floats."""
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
