"""A function as a CUDA graph: captured once, then started as one operation instead of thousands.

For small images on a GPU, where starting a kernel may take longer than the kernel. Training captures two graphs:
forward and backward of a micro-batch, and what follows the last of them (clipping, the optimizer, the moving average).
Both work on fixed memory; the numbers that change with every step are written there like the views.
"""

import gc
from collections.abc import Callable

import torch
from torch import Tensor

from byol.errors import UserError, memory_is_full

WARMUP_CALLS = 3
"""Eager warm-up calls before the CUDA graph is captured: libraries take their memory and choose their kernels in them
(PyTorch's own `make_graphed_callables` has as many)."""

Capture = Callable[[Callable[[], Tensor], torch.device], tuple[Callable[[], None], Tensor]]
"""From a function and a device to what replays it, and the tensor in which its result then is."""


def capture(function: Callable[[], Tensor], device: torch.device) -> tuple[Callable[[], None], Tensor]:
    """Capture a function as a CUDA graph; returns its replay, and the tensor that holds its result afterwards.

    Other threads may use the device meanwhile: those that decode ask it for pinned memory.

    Args:
        function: all of whose work is on the device; what went elsewhere would be missing from every replay.
        device: need not be the current one.

    Raises:
        UserError: the function does something that cannot be captured, such as waiting for the device.
    """
    gc.collect()  # an old pass in a cycle of references would tie the new one to the stream of that time
    try:
        with torch.cuda.device(device), torch.cuda.stream(torch.cuda.current_stream(device)):
            graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                result = function()
    except RuntimeError as error:
        if memory_is_full(error):
            raise
        first = str(error.__context__ or error).partition("\n")[0]  # ending a broken capture is an error of its own
        raise UserError(f"optim.cuda_graph cannot capture this run ({first}); leave it out.") from error
    return graph.replay, result


class CapturedFunction:
    """A function that is captured at its fourth call and replayed from then on.

    It may not wait for the device, nor depend on anything in Python that changes between calls but the numbers that it
    is given: they reach it as tensors of no dimensions, in double precision, on the device.

    Args:
        function: from tensors and numbers to a tensor, besides what it does to tensors that stay where they are, such
            as weights, their gradients and running statistics.
        device: of all of its work.
        capture: how; tests put a stand-in here.
    """

    def __init__(self, function: Callable[..., Tensor], device: torch.device, capture: Capture = capture) -> None:
        self._function, self._device, self._capture = function, device, capture
        self._calls = 0
        self._inputs: list[Tensor] = []
        self._replay: Callable[[], None] | None = None

    def __call__(self, *inputs: Tensor | float) -> Tensor:
        """The function's result, overwritten by the next call; the shapes of its inputs may not change."""
        self._calls += 1
        values = [v if isinstance(v, Tensor) else self._on_device(v) for v in inputs]
        if self._calls <= WARMUP_CALLS:
            return self._function(*values)
        if self._replay is None:
            self._inputs = [value.clone() for value in values]
            self._replay, self._result = self._capture(lambda: self._function(*self._inputs), self._device)
        for place, value in zip(self._inputs, values, strict=True):
            assert place.shape == value.shape  # copying would repeat a smaller one
            place.copy_(value)
        self._replay()
        return self._result

    def _on_device(self, number: float) -> Tensor:
        return torch.full((), number, dtype=torch.float64, device=self._device)  # filled there, not sent
