"""An update as two CUDA graphs: recorded once, then started as two operations instead of thousands.

For small images on a GPU, where starting a kernel may take longer than the kernel. One graph is forward and backward of
a micro-batch, the other what follows the last of them: clipping, the optimizer, and the target's average. Both work on
fixed memory; the rates, which change with every step, are written there like the views.
"""

import gc
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from byol.errors import UserError, memory_is_full

WARMUP_CALLS = 3
"""Calls before the recording, which are computed as they come: libraries take their memory and choose their kernels in
them (PyTorch's own `make_graphed_callables` has as many)."""

Act = Callable[..., Tensor]
"""From tensors and numbers to a tensor, besides what it does to tensors that stay where they are, as weights, their
gradients and batch norm's averages do."""


def directly(act: Act, *inputs: Tensor | float) -> Tensor:
    """The act's result."""
    return act(*inputs)


def capture(act: Callable[[], Tensor], device: torch.device) -> tuple[Callable[[], None], Tensor]:
    """What does an act again, as a CUDA graph, and the tensor in which its result then is.

    Other threads may use the device meanwhile: those that decode ask it for pinned memory.

    Args:
        act: all of whose work is on the device; what went elsewhere would be missing from every replay.
        device: need not be the current one.

    Raises:
        UserError: the act does something that cannot be recorded, such as waiting for the device.
    """
    gc.collect()  # an old pass in a cycle of references would tie the new one to the stream of that time
    try:
        with torch.cuda.device(device), torch.cuda.stream(torch.cuda.current_stream(device)):
            graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                result = act()
    except RuntimeError as error:
        if memory_is_full(error):
            raise
        first = str(error.__context__ or error).partition("\n")[0]  # ending a broken recording is an error of its own
        raise UserError(f"optim.cuda_graph cannot record this run ({first}); leave it out.") from error
    return graph.replay, result


class Recorded:
    """An act that is recorded at its fourth call and replayed from then on.

    It may not wait for the device, nor depend on anything in Python that changes between calls but the numbers that it
    is given: they reach it as tensors of no dimensions, in double precision, on the device.
    """

    def __init__(
        self,
        device: torch.device,
        capture: Callable[[Callable[[], Tensor], torch.device], tuple[Callable[[], None], Tensor]] = capture,
    ) -> None:
        self._device, self._capture = device, capture
        self._calls = 0
        self._inputs: list[Tensor] = []
        self._replay: Callable[[], None] | None = None

    def __call__(self, act: Act, *inputs: Tensor | float) -> Tensor:
        """The act's result, overwritten by the next call; the shapes of what it is given may not change.

        Every call must bring the same act: that of the fourth is the one that is replayed.
        """
        self._calls += 1
        values = [v if isinstance(v, Tensor) else self._on_device(v) for v in inputs]
        if self._calls <= WARMUP_CALLS:
            return act(*values)
        if self._replay is None:
            self._inputs = [value.clone() for value in values]
            self._replay, self._result = self._capture(lambda: act(*self._inputs), self._device)
        for place, value in zip(self._inputs, values, strict=True):
            assert place.shape == value.shape  # copying would repeat a smaller one
            place.copy_(value)
        self._replay()
        return self._result

    def _on_device(self, number: float) -> Tensor:
        return torch.full((), number, dtype=torch.float64, device=self._device)  # filled there, not sent


@dataclass(frozen=True)
class Halves:
    """What computes the two halves of an update."""

    passes: Callable[..., Tensor] = directly
    """Forward and backward, once for every micro-batch."""
    move: Callable[..., Tensor] = directly
    """The weights' step and the target's after it, once."""


DIRECT = Halves()
"""Both as they come."""
