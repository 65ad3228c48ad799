"""Images with boxes: Parquet with a box and a label column, or a VOC folder."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import torch
from torch import Tensor

from byol.data.sources.digest import digest
from byol.data.sources.open import Source, open_source
from byol.errors import UserError
from byol.evals.dense import DenseSource
from byol.evals.metrics import IOU_HALF, area_under_ranking, box_iou
from byol.evals.voc import VOC_CLASSES, Objects, voc_images, voc_names, voc_objects, voc_root

BOX_NAMES = ("box", "boxes", "bbox")


class BoxSource(DenseSource):
    """Images and the objects in each.

    Args:
        base: the images.
        objects: boxes, classes and difficulty, one per image.
        classes: names of the classes.
    """

    def __init__(self, base: Source, objects: list[Objects], classes: list[str]) -> None:
        assert len(base) == len(objects), "one set of objects per image"
        super().__init__(base)
        self.objects = objects
        self.labels = None
        self.classes: list[str] = classes

    def check(self) -> None:
        """Check that every box lies in its image and has an area.

        Raises:
            UserError: one does not.
        """
        for index, objects in enumerate(self.objects):
            header = self.header(index)
            edges = torch.tensor([header.width, header.height, header.width, header.height])
            inside = (objects.boxes >= 0) & (objects.boxes <= edges)
            good = inside.all(dim=1) & (objects.boxes[:, 2:] > objects.boxes[:, :2]).all(dim=1)
            if not good.all():
                box = [f"{edge:g}" for edge in objects.boxes[~good][0].tolist()]
                raise UserError(
                    f"{self.where(index)} is {header.width} x {header.height} px, but has the box {', '.join(box)} "
                    "(left, top, right, bottom); boxes must lie in the image and have an area, so repair or remove it."
                )

    def subset(self, indices: Sequence[int]) -> "BoxSource":
        """These images with their boxes."""
        return BoxSource(self._base.subset(indices), [self.objects[index] for index in indices], self.classes)

    def fingerprint(self) -> str:
        boxes = torch.cat([objects.boxes for objects in self.objects])
        labels = torch.cat([objects.labels for objects in self.objects])
        return digest([self._base.fingerprint(), boxes.numpy().tobytes(), labels.numpy().tobytes()])


def open_boxes(data: str | Path, channels: int = 3) -> BoxSource:
    """Images with boxes.

    Args:
        data: a Parquet file with an image, a label and a box column, the box as left, top, right, bottom in pixels from
            0, these pixels included; or a VOC folder, with a part of ImageSets/Main after a colon
            (`VOC2007:trainval`).
        channels: of the images.

    Raises:
        UserError: the data has no boxes, or not in one of these layouts.
    """
    path, _, part = str(data).partition(":")
    if not path.endswith(".parquet"):
        root = voc_root(path)
        names = voc_names(root, "Main", part or "trainval")
        return BoxSource(
            voc_images(root, names, channels), [voc_objects(root, name) for name in names], list(VOC_CLASSES)
        )
    base = open_source(path, channels)
    names = pq.read_schema(path).names
    column = next((name for name in BOX_NAMES if name in names), None)
    if column is None or base.labels is None or -1 in base.labels:
        raise UserError(f"{path} needs a box and a label in each row, but has {', '.join(names)}.")
    rows = pq.read_table(path, columns=[column]).column(column).to_pylist()
    objects = [_objects(row, label) for row, label in zip(rows, base.labels, strict=True)]
    return BoxSource(base, objects, base.classes or [str(number) for number in range(max(base.labels) + 1)])


def _objects(row: list[float] | list[list[float]], label: int) -> Objects:
    """One box, or several of the image's class."""
    boxes = torch.tensor(row, dtype=torch.float32).view(-1, 4)
    boxes = boxes + torch.tensor([0.0, 0.0, 1.0, 1.0])  # the last pixel is included, so the edge lies after it
    count = len(boxes)
    return Objects(boxes, torch.full((count,), label), torch.zeros(count, dtype=torch.bool))


Found = Sequence[dict[str, Tensor]]
"""The detections in each image: `boxes` (K, 4), `labels` (K,) from 0 and `scores` (K,)."""


def voc_average_precision(
    found: Found, truth: Sequence[Objects], label: int, *, eleven_points: bool, overlap: float = IOU_HALF
) -> float:
    """Average precision of one class over all images, by VOC's rules.

    In falling order of scores, each box is matched to the object that it overlaps most. It is a hit if the overlap is
    large enough and the object has not been found yet, and neither hit nor miss if the object is difficult.
    """
    ranked: list[tuple[float, bool]] = []
    positives = 0
    for answer, objects in zip(found, truth, strict=True):
        here = objects.labels == label
        boxes, difficult = objects.boxes[here], objects.difficult[here]
        positives += int((~difficult).sum())
        mine = answer["labels"] == label
        order_by_score = answer["scores"][mine].argsort(descending=True, stable=True)
        taken = [False] * len(boxes)
        overlaps = box_iou(answer["boxes"][mine][order_by_score], boxes)
        for row, score in zip(overlaps, answer["scores"][mine][order_by_score].tolist(), strict=True):
            best = int(row.argmax()) if len(boxes) else -1
            if best < 0 or float(row[best]) < overlap:
                ranked.append((score, False))
            elif not difficult[best]:
                ranked.append((score, not taken[best]))
                taken[best] = True
    ranked.sort(key=lambda pair: -pair[0])
    return area_under_ranking(torch.tensor([float(hit) for _, hit in ranked]), positives, eleven_points=eleven_points)
