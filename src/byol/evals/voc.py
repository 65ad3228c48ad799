"""Pascal VOC folders as they are distributed: JPEGImages, Annotations, ImageSets, SegmentationClass."""

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from byol.data.sources.files import FileSource
from byol.errors import UserError

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""The 20 classes in VOC's own order."""


@dataclass(frozen=True)
class Objects:
    """The objects of one image."""

    boxes: Tensor
    """(K, 4) float32: left, top, right, bottom in pixels from 0, the right and bottom edge outside."""
    labels: Tensor
    """(K,) int64, numbers in `VOC_CLASSES`."""
    difficult: Tensor
    """(K,) bool: objects that are neither required nor counted as wrong."""


def voc_root(folder: str | Path) -> Path:
    """The folder that holds `JPEGImages`, wherever in a VOCdevkit the user pointed.

    Raises:
        UserError: there is none below.
    """
    root = Path(folder)
    found = [root] if (root / "JPEGImages").is_dir() else sorted(root.glob("**/JPEGImages"))
    if not found:
        raise UserError(f"{str(folder)!r} has no JPEGImages folder; give a VOC folder such as VOCdevkit/VOC2007.")
    return found[0] if found[0].name != "JPEGImages" else found[0].parent


def voc_names(root: Path, kind: str, part: str) -> list[str]:
    """Names of a part's images: the lines of `ImageSets/KIND/PART.txt`.

    Raises:
        UserError: there is no such list.
    """
    path = root / "ImageSets" / kind / f"{part}.txt"
    try:
        names = [line.split()[0] for line in path.read_text().splitlines() if line.strip()]
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); it lists a part's images.") from error
    if not names:
        raise UserError(f"{path} names no image.")
    return names


def voc_images(root: Path, names: list[str], channels: int | None) -> FileSource:
    """Images by name."""
    return FileSource(str(root), root / "JPEGImages", [f"{name}.jpg" for name in names], channels=channels)


def voc_objects(root: Path, name: str) -> Objects:
    """Boxes, classes and difficulty of the objects in one image.

    Raises:
        UserError: the annotation cannot be read, or names a class that VOC does not have.
    """
    path = root / "Annotations" / f"{name}.xml"
    boxes, labels, difficult = [], [], []
    try:
        for item in ElementTree.parse(path).getroot().iter("object"):
            labels.append(VOC_CLASSES.index(item.findtext("name", "").strip()))
            difficult.append(item.findtext("difficult", "0").strip() == "1")
            edges = [float(item.findtext(f"bndbox/{key}", "nan")) for key in ("xmin", "ymin", "xmax", "ymax")]
            boxes.append([edges[0] - 1, edges[1] - 1, edges[2], edges[3]])  # VOC counts pixels from 1, both included
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise UserError(f"{path} is no VOC annotation ({error}).") from error
    return Objects(
        torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        torch.tensor(labels, dtype=torch.long),
        torch.tensor(difficult, dtype=torch.bool),
    )


def voc_presence(root: Path, name: str) -> list[int]:
    """For each class 1 where an object of it is in the image, 0 where none is, -1 where only difficult ones are."""
    objects = voc_objects(root, name)
    present = [0] * len(VOC_CLASSES)
    for label, difficult in zip(objects.labels.tolist(), objects.difficult.tolist(), strict=True):
        if not difficult:
            present[label] = 1
        elif present[label] == 0:
            present[label] = -1
    return present
