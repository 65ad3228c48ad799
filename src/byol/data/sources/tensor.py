"""Images in memory."""

from collections.abc import Sequence

import torch
from torch import Tensor

from byol.data.formats.header import Depth, Header
from byol.data.sources.base import Source
from byol.data.sources.digest import digest, label_digest
from byol.data.sources.subset import checked
from byol.errors import UserError

__all__ = ["TensorSource"]


class TensorSource(Source):
    """Images in memory, all of one size.

    Args:
        images: (N, C, H, W), uint8, or floating point in [0, 1], which is kept as float32.
        labels: one per image, or None.
        classes: the name of each label, or None.
        name: for messages.
        groups: the patient, plate or site of each image, or None; see `Source.groups`.

    Raises:
        UserError: another shape or range, or another number of labels than images.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Sequence[int] | None = None,
        classes: list[str] | None = None,
        name: str = "tensor",
        groups: Sequence[int] | None = None,
    ) -> None:
        if images.ndim != 4 or images.numel() == 0:
            raise UserError(f"images of shape {tuple(images.shape)} were given; give (N, C, H, W), none of them 0.")
        if images.is_floating_point():
            low, high = (float(edge) for edge in images.aminmax())
            if not (low >= 0 and high <= 1):  # false for NaN too
                raise UserError(f"images with values from {low:g} to {high:g} were given; scale them to [0, 1].")
        elif images.dtype != torch.uint8:
            raise UserError(f"images of {images.dtype} were given; give torch.uint8, or floats in [0, 1].")
        for what, given in (("labels", labels), ("groups", groups)):
            if given is not None and len(given) != len(images):
                raise UserError(f"{len(given)} {what} were given for {len(images)} images; give one per image.")
        self.name = name
        self.images = images.float() if images.is_floating_point() else images
        self.channels = images.shape[1]
        self.labels = None if labels is None else [int(label) for label in labels]
        self.classes = classes
        self.groups = None if groups is None else [int(group) for group in groups]

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: int) -> bytes:
        raise NotImplementedError("images in memory have no encoded file; use image()")

    def where(self, index: int) -> str:
        return f"{self.name} image {index}"

    def image(self, index: int, shrink_to: int | None = None) -> Tensor:
        return self.images[index]

    def header(self, index: int) -> Header:
        _, channels, height, width = self.images.shape
        depth: Depth = "8-bit" if self.images.dtype == torch.uint8 else "float"
        return Header(height=height, width=width, channels=channels, depth=depth)

    def state(self, index: int) -> str:
        return ""  # the fingerprint has the pixels

    def subset(self, indices: Sequence[int]) -> "TensorSource":
        """These images: a view where `indices` is a range with step 1, else a copy."""
        chosen = checked(indices, len(self))
        if isinstance(indices, range) and indices.step == 1:
            images = self.images[indices.start : indices.stop]
        else:
            images = self.images[torch.tensor(chosen, dtype=torch.long, device=self.images.device)]
        labels = None if self.labels is None else [self.labels[index] for index in chosen]
        groups = None if self.groups is None else [self.groups[index] for index in chosen]
        return TensorSource(images, labels, self.classes, self.name, groups)

    def fingerprint(self) -> str:
        # There are no names and no file sizes here, so the pixels themselves count.
        pixels = self.images.detach().cpu().contiguous().numpy().tobytes()
        kind = f"{tuple(self.images.shape)} {self.images.dtype}"
        told = [] if self.groups is None else [label_digest(self.groups, None)]
        return digest([kind, pixels, label_digest(self.labels, self.classes), *told])
