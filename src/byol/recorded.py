"""The passes of an update as one CUDA graph: recorded once, then started as one operation instead of thousands.

For small images on a GPU, where starting a kernel may take longer than the kernel. What is recorded is forward and
backward over fixed memory; the optimiser and the target's average stay outside: their rates change with every step, and
each is a few kernels over all weights anyway.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from byol.errors import UserError, memory_is_full

UNRECORDED = 3
"""Calls before the recording, which are computed as they come: libraries take their memory and choose their kernels in
them (PyTorch's own `make_graphed_callables` has as many)."""

Act = Callable[..., Tensor]
"""From some tensors to one, besides what it does to tensors that stay where they are, as weights, their gradients and
batch norm's averages do."""


def directly(act: Act, *inputs: Tensor) -> Tensor:
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

    It may not wait for the device, nor depend on anything in Python that changes between calls.
    """

    def __init__(self, capture: Callable[[Callable[[], Tensor]], tuple[Callable[[], None], Tensor]] = capture) -> None:
        self._capture = capture
        self._calls = 0
        self._inputs: list[Tensor] = []
        self._replay: Callable[[], None] | None = None

    def __call__(self, act: Act, *inputs: Tensor) -> Tensor:
        """The act's result, overwritten by the next call; the shapes of what it is given may not change.

        Every call must bring the same act: that of the fourth is the one that is replayed.
        """
        self._calls += 1
        if self._calls <= UNRECORDED:
            return act(*inputs)
        if self._replay is None:
            self._inputs = [value.clone() for value in inputs]
            self._replay, self._result = self._capture(lambda: act(*self._inputs))
        for place, value in zip(self._inputs, inputs, strict=True):
            assert place.shape == value.shape  # copying would repeat a smaller one
            place.copy_(value)
        self._replay()
        return self._result
