"""Images with a class for every pixel: Parquet with a mask column, a VOC folder, or a folder of images and masks."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

from byol.data.sources.digest import digest
from byol.data.sources.open import Source, open_source
from byol.errors import BadImage, UserError
from byol.evals.dense import IGNORE, MapSource
from byol.evals.voc import VOC_CLASSES, voc_images, voc_names, voc_root

MASK_NAMES = ("mask", "label", "segmentation", "annotation")
UNLABELED = ("unlabelled", "unlabeled", "void", "ignore")
"""Class names whose pixels are ignored."""


class MaskSource(MapSource):
    """Images and their masks.

    Args:
        base: the images.
        masks: one encoded mask (a gray or palette PNG of class numbers) per image.
        classes: names of the classes, from number 0.
        ignore: numbers that are ignored, besides `IGNORE`.
    """

    def __init__(self, base: Source, masks: Sequence[bytes | Path], classes: list[str], ignore: set[int]) -> None:
        assert len(base) == len(masks), "one mask per image"
        super().__init__(base)
        self._masks = masks
        self._ignore = ignore
        self.labels = None
        self.classes: list[str] = classes

    def map(self, index: int) -> Tensor:
        """(H, W) int64 in [0, classes) or `IGNORE`.

        Raises:
            UserError: the mask cannot be read, or has a number that is no class.
        """
        mask = self._masks[index]
        try:
            blob = mask.read_bytes() if isinstance(mask, Path) else mask
            with Image.open(io.BytesIO(blob)) as image:
                if image.mode not in ("L", "P", "I", "I;16", "1"):
                    raise BadImage(f"it is a color image of mode {image.mode}, not class numbers")
                values = torch.from_numpy(np.array(image).astype(np.int64))
        except (OSError, BadImage, ValueError) as error:
            raise UserError(
                f"The mask of {self.where(index)} cannot be read ({error}); give PNGs of class numbers."
            ) from error
        for number in self._ignore:
            values[values == number] = IGNORE
        wrong = values[(values >= len(self.classes)) & (values != IGNORE)]
        if len(wrong) or int(values.min()) < 0:
            raise UserError(
                f"The mask of {self.where(index)} has the number {int(wrong[0]) if len(wrong) else int(values.min())}, "
                f"but there are {len(self.classes)} classes, 0 to {len(self.classes) - 1}, and {IGNORE} for none."
            )
        return values

    def subset(self, indices: Sequence[int]) -> "MaskSource":
        """These images with their masks."""
        masks = [self._masks[index] for index in indices]
        return MaskSource(self._base.subset(indices), masks, self.classes, self._ignore)

    def fingerprint(self) -> str:
        sizes = [str(mask.stat().st_size if isinstance(mask, Path) else len(mask)) for mask in self._masks]
        return digest([self._base.fingerprint(), *sizes, json.dumps(self.classes)])


def open_masks(data: str | Path, channels: int = 3) -> MaskSource:
    """Images with masks.

    Args:
        data: a Parquet file with an `image` and a `mask` column (class names in its metadata's `classes`, one of them
            `unlabeled` is ignored); a VOC folder, with a part of ImageSets/Segmentation after a colon
            (`VOC2012:train`); or a folder with `images` and `masks`, files of the same names, and `classes.txt`.
        channels: of the images.

    Raises:
        UserError: the data has no masks, or not in one of these layouts.
    """
    path, _, part = str(data).partition(":")
    if path.endswith(".parquet"):
        return _parquet(Path(path), channels)
    if (Path(path) / "images").is_dir():
        return _folder(Path(path), channels)
    root = voc_root(path)
    names = voc_names(root, "Segmentation", part or "train")
    masks = [root / "SegmentationClass" / f"{name}.png" for name in names]
    return MaskSource(voc_images(root, names, channels), masks, ["background", *VOC_CLASSES], set())


def _parquet(path: Path, channels: int) -> MaskSource:
    base = open_source(path, channels)
    schema = pq.read_schema(path)
    column = next((name for name in MASK_NAMES if name in schema.names), None)
    if column is None:
        raise UserError(f"{path} has no mask column, only {', '.join(schema.names)}; call it 'mask'.")
    rows = pq.read_table(path, columns=[column]).column(column).to_pylist()
    masks = [row["bytes"] if isinstance(row, dict) else row for row in rows]
    stored = (schema.metadata or {}).get(b"classes")
    if stored is None:
        raise UserError(f"{path} does not name its classes; put a JSON list under 'classes' into the file's metadata.")
    names: list[str] = json.loads(stored)
    return MaskSource(base, masks, *_split(names))


def _folder(folder: Path, channels: int) -> MaskSource:
    base = open_source(folder / "images", channels)
    masks = [folder / "masks" / (Path(base.where(index)).stem + ".png") for index in range(len(base))]
    missing = next((mask for mask in masks if not mask.is_file()), None)
    if missing is not None:
        raise UserError(f"There is no mask {missing}; give one PNG per image, of the same name.")
    listed = folder / "classes.txt"
    if not listed.is_file():
        raise UserError(f"There is no {listed}; name one class per line, in the order of their numbers.")
    return MaskSource(base, masks, *_split(listed.read_text().split("\n")))


def _split(names: list[str]) -> tuple[list[str], set[int]]:
    """The named classes, and the numbers to ignore; these must come last, so that the others keep their numbers.

    Raises:
        UserError: an unlabeled class is not the last.
    """
    names = [name.strip() for name in names if name.strip()]
    kept = [name for name in names if name.lower() not in UNLABELED]
    if names[: len(kept)] != kept:
        raise UserError(f"The classes {names} have an unlabeled one among the others; put it last.")
    return kept, set(range(len(kept), len(names)))
