"""Methods that solve a task: one made of the image itself, or the labels."""

from dataclasses import dataclass
from typing import ClassVar

from byol.config.methods.base import MethodConfig


@dataclass(frozen=True, kw_only=True)
class SupervisedConfig(MethodConfig):
    """Learning from labels, with everything else alike."""

    name: ClassVar[str] = "supervised"
    reads_labels: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class RotationConfig(MethodConfig):
    """Rotation prediction (arXiv:1803.07728)."""

    name: ClassVar[str] = "rotation"

    @property
    def views_in_memory(self) -> int:
        """One view of each image, in four turns."""
        return 4


@dataclass(frozen=True, kw_only=True)
class ExemplarConfig(MethodConfig):
    """Exemplar-CNN: every image is a class of its own (arXiv:1406.6909)."""

    name: ClassVar[str] = "exemplar"

    @property
    def views_in_memory(self) -> int:
        """One view of each image."""
        return 1
