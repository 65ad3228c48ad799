"""From main memory to the device of training, beside what the device is doing."""

import torch
from torch import Tensor


class Upload:
    """Copies tensors to a device; to a GPU on a stream of its own, so that a batch travels while the last one trains.

    Args:
        device: where to.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def __call__(self, values: Tensor) -> Tensor:
        """The same values there. What is computed next on a GPU waits for them; the host does not."""
        if self.stream is None:
            return values.to(self.device)
        pinned = values if values.is_pinned() else values.pin_memory()  # PyTorch keeps it until the copy is done
        with torch.cuda.stream(self.stream):
            there = pinned.to(self.device, non_blocking=True)
        training = torch.cuda.current_stream(self.device)
        training.wait_stream(self.stream)
        there.record_stream(training)  # or its memory would be given away while it is read
        return there
