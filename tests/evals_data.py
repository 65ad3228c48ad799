"""Small labeled images for the tests of evaluations: classes that differ in color, under noise."""

import torch

from byol.data.sources.open import TensorSource

CPU = torch.device("cpu")
TINY = "random:resnet18@small/x0.125/16"
"""An untrained encoder of 64 features that takes milliseconds."""


def colored(per_class: int, classes: int = 3, *, size: int = 16, seed: int = 0, name: str = "toy") -> TensorSource:
    """`per_class` noisy images of each of `classes` colors, (N, 3, size, size) uint8, in mixed order."""
    generator = torch.Generator().manual_seed(seed)
    colors = torch.tensor([[200, 60, 60], [60, 200, 60], [60, 60, 200], [200, 200, 60]])[:classes]
    labels = torch.arange(per_class * classes) % classes
    noise = torch.randint(-50, 51, (len(labels), 3, size, size), generator=generator)
    images = (colors[labels][:, :, None, None] + noise).clamp(0, 255).to(torch.uint8)
    return TensorSource(images, labels.tolist(), [f"color {c}" for c in range(classes)], name)


def relabeled(source: TensorSource, labels: list[int], classes: list[str] | None = None) -> TensorSource:
    """The same images with other labels."""
    return TensorSource(source.images, labels, classes or source.classes, source.name)
