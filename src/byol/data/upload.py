"""Copies from main memory to the training device, beside the work of the device."""

import torch
from torch import Tensor


class Upload:
    """Copies tensors to a device. A GPU gets a stream of its own, so a batch is copied while the last one trains.

    Args:
        device: the target of the copies.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def __call__(self, values: Tensor) -> Tensor:
        """The same values on the device. Later work on a GPU waits for the copy; the host does not."""
        if self.stream is None:
            return values.to(self.device)
        pinned = values if values.is_pinned() else values.pin_memory()  # PyTorch keeps it until the copy is done
        with torch.cuda.stream(self.stream):
            there = pinned.to(self.device, non_blocking=True)
        training = torch.cuda.current_stream(self.device)
        training.wait_stream(self.stream)
        there.record_stream(training)  # otherwise its memory could be reused while it is still read
        return there
