"""An update as two CUDA graphs: recorded once, then started as two operations instead of thousands.

For small images on a GPU, where starting a kernel may take longer than the kernel. One graph is forward and backward of
a micro-batch, the other what follows the last of them: clipping, the optimiser, and the target's average. Both work on
fixed memory; the rates, which change with every step, are written there like the views.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from byol.errors import UserError, memory_is_full

UNRECORDED = 3
"""Calls before the recording, which are computed as they come: libraries take their memory and choose their kernels in
them (PyTorch's own `make_graphed_callables` has as many)."""

Act = Callable[..., Tensor]
"""From tensors and numbers to a tensor, besides what it does to tensors that stay where they are, as weights, their
gradients and batch norm's averages do."""


def directly(act: Act, *inputs: Tensor | float) -> Tensor:
    """The act's result."""
    return act(*inputs)


def capture(act: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    """What does an act again, as a CUDA graph, and the tensor in which its result then is.

    Other threads may use the device meanwhile: those that decode ask it for pinned memory.

    Raises:
        UserError: the act does something that cannot be recorded, such as waiting for the device.
    """
    try:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            result = act()
    except RuntimeError as error:
        if memory_is_full(error):
            raise
        first = str(error).partition("\n")[0]
        raise UserError(f"optim.cuda_graph cannot record this run ({first}); leave it out.") from error
    return graph.replay, result


class Recorded:
    """An act that is recorded at its fourth call and replayed from then on.

    It may not wait for the device, nor depend on anything in Python that changes between calls but the numbers that it
    is given: those it is recorded with are tensors of no dimensions, in double precision, on the device.
    """

    def __init__(
        self,
        device: torch.device,
        capture: Callable[[Callable[[], Tensor]], tuple[Callable[[], None], Tensor]] = capture,
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
        if self._calls <= UNRECORDED:
            return act(*inputs)
        if self._replay is None:
            self._inputs = [self._place(value) for value in inputs]
            self._replay, self._result = self._capture(lambda: act(*self._inputs))
        for place, value in zip(self._inputs, inputs, strict=True):
            if isinstance(value, Tensor):
                assert place.shape == value.shape  # copying would repeat a smaller one
                place.copy_(value)
            else:
                place.fill_(value)
        self._replay()
        return self._result

    def _place(self, value: Tensor | float) -> Tensor:
        if isinstance(value, Tensor):
            return value.clone()
        return torch.full((), value, dtype=torch.float64, device=self._device)


@dataclass(frozen=True)
class Halves:
    """What computes the two halves of an update."""

    passes: Callable[..., Tensor] = directly
    """Forward and backward, once for every micro-batch."""
    move: Callable[..., Tensor] = directly
    """The weights' step and the target's after it, once."""


DIRECT = Halves()
"""Both as they come."""
